"""An asyncio service whose bytes say which task sends them: tasks.py HOST PORT.

Every response says `task=ID parent=ID;` of the task that writes it and of the one that started that. While the task of a connection
holds the event loop, another thread sends `task=0;` of its own. IDs are addresses, as `id` gives them in CPython.
"""
import asyncio
import socket
import sys
import threading


def elsewhere(port):
    """A thread without tasks."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /task=0; HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n")
        while connection.recv(1000):
            pass


async def answer(writer, parent):
    task = id(asyncio.current_task())
    await asyncio.sleep(0)
    body = f"task={task} parent={parent};".encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def sink(listener):
    """Answers by a thread, because the event loop waits for whom it answers."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\ntask=0;")


async def serve(reader, writer):
    own = id(asyncio.current_task())
    while await reader.readline():
        while (await reader.readline()).strip():
            pass
        await asyncio.create_task(answer(writer, own))
        thread = threading.Thread(target=elsewhere, args=(sink_port,))
        thread.start()
        thread.join()
        await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2]), reuse_address=True)
    await asyncio.sleep(1000)
    server.close()


sink_listener = socket.create_server(("127.0.0.1", 0))
sink_port = sink_listener.getsockname()[1]
threading.Thread(target=sink, args=(sink_listener,), daemon=True).start()
asyncio.run(main())
