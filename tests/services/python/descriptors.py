"""A server whose connections travel between processes and descriptors. Arguments: HOST PORT MODE.

fork  the connection is accepted by the parent and served by a child that is forked for it
late  a child is forked for each request, after the parent has read it, and writes the answer
pass  the connection is accepted by one process and handed to another over a Unix socket (SCM_RIGHTS)
dup   requests are read from the descriptor, answers written to a duplicate under another number

Every answer is the process id of the process that writes it.
"""

import os
import signal
import socket
import sys
import threading


def read_request(connection):
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(4096)
        if not part:
            return None
        head += part
    return head


def answer(connection):
    body = str(os.getpid()).encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def serve(connection):
    while read_request(connection):
        answer(connection)
    connection.close()


def fork(connection):
    if os.fork() == 0:
        serve(connection)
        os._exit(0)
    connection.close()


def late(connection):
    while read_request(connection):
        child = os.fork()
        if child == 0:
            answer(connection)
            os._exit(0)
        os.waitpid(child, 0)
    connection.close()


def dup(connection):
    writer = socket.socket(fileno=os.dup(connection.fileno()))
    while read_request(connection):
        answer(writer)
    writer.close()
    connection.close()


def receiver(channel):
    while True:
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
        if not descriptors:
            os._exit(0)
        for descriptor in descriptors:
            threading.Thread(target=serve, args=(socket.socket(fileno=descriptor),)).start()


def main():
    host, port, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    listener = socket.create_server((host, port), backlog=128)
    if mode == "pass":
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.fork() == 0:
            here.close()
            listener.close()
            receiver(there)
        there.close()
    elif mode == "fork":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        if mode == "pass":
            socket.send_fds(here, [b"x"], [connection.fileno()])
            connection.close()
        elif mode == "fork":
            fork(connection)
        else:
            threading.Thread(target=late if mode == "late" else dup, args=(connection,)).start()


main()
