"""Lookups of names. `ask SERVER PORT NAME`: with a socket that is connected to nobody. `HOST PORT`: a server that looks up what it is asked
for, as the machine is configured."""

import http.server
import socket
import struct
import sys


def ask(server, port, name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = struct.pack(">HHHHHH", 4711, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.sendto(query, (server, port))
        assert sock.recv(512)[:2] == query[:2]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = socket.getaddrinfo(self.path[1:], 80, socket.AF_INET)[0][4][0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if sys.argv[1] == "ask":
    ask(sys.argv[2], int(sys.argv[3]), sys.argv[4])
else:
    http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
