"""A server of a protocol that nobody knows: frames of a length (two bytes) and that many bytes, which it sends back in
reverse. Arguments: HOST PORT serve|talk; `talk` is the client, which sends 200 frames and checks the answers."""

import os
import socket
import struct
import sys
import threading


def exactly(connection, size):
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            return None
        data += part
    return data


def serve(connection):
    while header := exactly(connection, 2):
        body = exactly(connection, struct.unpack(">H", header)[0])
        connection.sendall(header + body[::-1])
    connection.close()


def main():
    host, port, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if mode == "talk":
        connection = socket.create_connection((host, port))
        for i in range(200):
            body = os.urandom(100 + i)
            header = struct.pack(">H", len(body))
            connection.sendall(header + body)
            assert exactly(connection, len(header + body)) == header + body[::-1]
        return
    listener = socket.create_server((host, port))
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,)).start()


main()
