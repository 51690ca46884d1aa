"""A server of Python's http.server, which closes each connection: /sized/N, /unsized/N (ends with the connection), /missing.
The argument is a port of 127.0.0.1, `v6:PORT`, or the path of a Unix socket."""
import http.server, socket, socketserver, sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        kind, _, size = self.path.strip("/").partition("/")
        if kind not in ("sized", "unsized"):
            return self.send_error(404)
        self.send_response(200)
        if kind == "sized":
            self.send_header("Content-Length", size)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"x" * int(size))

    do_HEAD = do_GET

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def address_string(self):
        return "client"

    def log_message(self, *_):
        pass


class V6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


where = sys.argv[1]
if where.startswith("/"):
    server = Unix(where, Handler)
elif where.startswith("v6:"):
    server = V6(("::1", int(where[3:])), Handler)
else:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(where)), Handler)
server.serve_forever()
