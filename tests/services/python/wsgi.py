"""The test routes as a WSGI application, for gunicorn."""

import time


def app(environ, start_response):
    _, name, *rest = environ["PATH_INFO"].split("/")
    if name == "bytes":
        size = int(rest[0])
        start_response("200 OK", [("Content-Length", str(size))])
        return (b"x" * min(65536, size - at) for at in range(0, size, 65536))
    if name == "chunked":
        size = int(rest[0])
        start_response("200 OK", [])
        return (b"x" * min(8192, size - at) for at in range(0, size, 8192))
    if name == "status":
        code = int(rest[0])
        body = b"" if code in (204, 304) else b"status"
        headers = [] if code in (204, 304) else [("Content-Length", str(len(body)))]
        start_response(f"{code} Chosen", headers)
        return [body]
    if name == "upload":
        total = 0
        while part := environ["wsgi.input"].read(65536):
            total += len(part)
        body = str(total).encode()
    elif name == "slow":
        time.sleep(int(rest[0]) / 1000)
        body = b"slow"
    elif name == "echo":
        body = rest[0].encode()
    else:
        start_response("404 Not Found", [("Content-Length", "0")])
        return [b""]
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
