"""The test routes over TLS on asyncio, which feeds OpenSSL from memory. Arguments: HOST PORT CERTIFICATE KEY."""

import asyncio
import ssl
import sys


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            _, target, _ = head[0].split(" ")
            length = next((int(line.split(":")[1]) for line in head if line.lower().startswith("content-length:")), 0)
            await reader.readexactly(length)
            _, name, *rest = target.split("?")[0].split("/")
            body = {"echo": lambda: rest[0].encode(), "bytes": lambda: b"x" * int(rest[0]), "upload": lambda: str(length).encode()}[name]()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def main(host, port, certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(serve, host, int(port), ssl=context, limit=1 << 22)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:5]))
