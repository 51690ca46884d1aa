"""The endpoints of `endpoints.py`, served by asyncio's tasks on one thread, which take turns in the middle of each request:

    python endpoints_asyncio.py PORT

Half of the work is done by the task of the connection, half by one that it starts and waits for.
"""

import asyncio
import sys

PART = 8000


def spin(rounds):
    value = 0
    for _ in range(rounds):
        value = (value * 636413622 + 1442695041) & 0xFFFFFFFF
    return value


def burn_light():
    return spin(PART) + 1


def burn_medium():
    return spin(2 * PART) + 1


def burn_heavy():
    return spin(4 * PART) + 1


ENDPOINTS = {"light": burn_light, "medium": burn_medium, "heavy": burn_heavy}


async def work(burn):
    burn()
    await asyncio.sleep(0)
    burn()


async def serve(reader, writer):
    while line := await reader.readline():
        while (await reader.readline()).strip():
            pass
        burn = ENDPOINTS[line.split(b" ")[1].decode().split("/")[1]]
        await work(burn)
        await asyncio.create_task(work(burn))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=128)
    await server.serve_forever()


asyncio.run(main())
