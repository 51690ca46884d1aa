"""An HTTP/1.1 server, one thread for each connection, whose endpoints are known by the functions that they spend their time in:

    python endpoints.py PORT

/light/ID, /medium/ID and /heavy/ID burn one, two and four parts of processor time. Each answer says what the thread itself has
measured from when it had read the request, in nanoseconds: "X-Cpu", its processor time.
"""

import socket
import sys
import threading
import time

PART = 30000


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


def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pending = b""
    while True:
        while b"\r\n\r\n" not in pending:
            more = connection.recv(65536)
            if not more:
                return
            pending += more
        before = time.thread_time_ns()
        head, pending = pending.split(b"\r\n\r\n", 1)
        ENDPOINTS[head.split(b" ")[1].decode().split("/")[1]]()
        cpu = time.thread_time_ns() - before
        connection.sendall(f"HTTP/1.1 200 OK\r\nX-Cpu: {cpu}\r\nContent-Length: 2\r\n\r\nok".encode())


def main():
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


main()
