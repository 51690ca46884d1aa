"""An asyncio service whose bytes say which task sends them: tasks.py HOST PORT.

Every response says `task=ID parent=ID;` of the task that writes it and of the one that started that. While the task of a connection
holds the event loop, another thread sends `task=0;` of its own. A thread of a pool, which the connection's task waits for, sends
`task=ID parent=ID;` of what it was given and of that task, and one that the former waits for the same of itself. IDs are addresses, as
`id` gives them in CPython.
"""
import asyncio
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor


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


def item():
    """What the thread of a pool was given."""
    frame = sys._getframe()
    while frame.f_code.co_name != "_worker":
        frame = frame.f_back
    return id(frame.f_locals["work_item"])


def given(parent, more):
    """Says whose it is, and leaves as much to another pool."""
    with socket.create_connection(("127.0.0.1", sink_port)) as connection:
        text = f"GET /task={item()} parent={parent}; HTTP/1.1\r\nHost: given\r\nConnection: close\r\n\r\n"
        connection.sendall(text.encode())
        while connection.recv(1000):
            pass
    if more:
        inner.submit(given, item(), False).result()


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
        await asyncio.get_running_loop().run_in_executor(pool, given, own, True)
        await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2]), reuse_address=True)
    await asyncio.sleep(1000)
    server.close()


pool, inner = ThreadPoolExecutor(4), ThreadPoolExecutor(2)
sink_listener = socket.create_server(("127.0.0.1", 0))
sink_port = sink_listener.getsockname()[1]
threading.Thread(target=sink, args=(sink_listener,), daemon=True).start()
asyncio.run(main())
