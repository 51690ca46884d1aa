"""The test routes on http.server: one thread a connection. Arguments: HOST PORT [--http10] [--tls CERTIFICATE KEY]."""

import socket
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def route(self):
        _, name, *rest = self.path.split("?")[0].split("/")
        if name == "echo":
            self.answer(200, rest[0].encode())
        elif name == "status":
            code = int(rest[0])
            self.answer(code, b"" if code in (204, 304) else b"status")
        elif name == "bytes":
            self.head(200, [("Content-Length", rest[0])])
            self.fill(int(rest[0]))
        elif name == "chunked":
            self.head(200, [("Transfer-Encoding", "chunked")])
            left = int(rest[0])
            while left:
                n = min(left, 8192)
                self.wfile.write(b"%x\r\n" % n + b"x" * n + b"\r\n")
                left -= n
            self.wfile.write(b"0\r\n\r\n")
        elif name == "close":
            self.close_connection = True
            self.head(200, [])
            self.fill(int(rest[0]))
        elif name == "upload":
            self.answer(200, str(self.consume()).encode())
        elif name == "slow":
            time.sleep(int(rest[0]) / 1000)
            self.answer(200, b"slow")
        else:
            self.answer(404, b"no such route")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = route

    def head(self, code, headers):
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def answer(self, code, body):
        self.head(code, [] if code in (204, 304) else [("Content-Length", str(len(body)))])
        if self.command != "HEAD":
            self.wfile.write(body)

    def fill(self, left):
        while left and self.command != "HEAD":
            n = min(left, 65536)
            self.wfile.write(b"x" * n)
            left -= n

    def consume(self):
        total = 0
        if self.headers.get("Transfer-Encoding") == "chunked":
            while n := int(self.rfile.readline().split(b";")[0], 16):
                total += n
                while n:
                    n -= len(self.rfile.read(min(n, 65536)))
                self.rfile.readline()
            self.rfile.readline()
        else:
            left = int(self.headers.get("Content-Length", 0))
            while left:
                part = self.rfile.read(min(left, 65536))
                if not part:
                    break
                left -= len(part)
                total += len(part)
        return total


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


if __name__ == "__main__":
    host, port = sys.argv[1], int(sys.argv[2])
    if "--http10" in sys.argv:
        Handler.protocol_version = "HTTP/1.0"
    if ":" in host:
        Server.address_family = socket.AF_INET6
    server = Server((host, port), Handler)
    if "--tls" in sys.argv:
        at = sys.argv.index("--tls")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[at + 1], sys.argv[at + 2])
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()
