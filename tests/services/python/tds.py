"""What stands for SQL Server: answers logins, batches, procedures and transactions as TDS 7.4 wants it. HOST PORT.

It understands of SQL only what the tests ask: who asks are real clients, so that what they send is what they send to the real one.
"""

import re
import socketserver
import struct
import sys

BATCH, RPC, ANSWER, ATTENTION, TRANSACTION, LOGIN, PRELOGIN = 1, 3, 4, 6, 14, 16, 18
COLLATION = bytes.fromhex("0904d00034")
EXECUTESQL, PREPARE, EXECUTE, PREPEXEC, UNPREPARE = 10, 11, 12, 13, 15
SELECT, INSERT, NONE = 0xC1, 0xC3, 0
MORE, ERROR, COUNT, CANCELED = 1, 2, 0x10, 0x20


def wide(text):
    return text.encode("utf-16-le")


def short(text):
    return bytes([len(text)]) + wide(text)


def token(kind, body):
    return bytes([kind]) + struct.pack("<H", len(body)) + body


def done(status=0, command=NONE, rows=0, kind=0xFD):
    return struct.pack("<BHHQ", kind, status, command, rows)


def changed(kind, new, old=b"\0"):
    return token(0xE3, bytes([kind]) + new + old)


def error(number, text):
    body = struct.pack("<iBBH", number, 1, 16, len(text)) + wide(text) + short("peer") + short("") + struct.pack("<I", 1)
    return token(0xAA, body)


def rows(count):
    """A number and a name, so many times."""
    number = struct.pack("<IH", 0, 9) + b"\x26\x04" + short("id")
    name = struct.pack("<IH", 0, 9) + b"\xe7" + struct.pack("<H", 200) + COLLATION + short("name")
    row = lambda n: b"\xd1\x04" + struct.pack("<i", n) + struct.pack("<H", 12) + wide("secret")
    return b"\x81\x02\x00" + number + name + b"".join(row(n) for n in range(count))


def parameters(body):
    """The texts among a procedure's parameters, up to the first that is neither text nor a number."""
    while body:
        kind, body = body[2 + 2 * body[0]], body[3 + 2 * body[0] :]
        if kind == 0x26:
            body = body[2 + body[1] :]
            continue
        if kind != 0xE7:
            return
        (most, length), value = struct.unpack("<H5xH", body[:9]), body[9:]
        if most == 0xFFFF:
            # In chunks, of which there is one.
            size = struct.unpack("<I", body[15:19])[0]
            yield body[19 : 19 + size].decode("utf-16-le")
            body = body[19 + size + (4 if size else 0) :]
        else:
            yield value[:length].decode("utf-16-le")
            body = value[length:]


class Client(socketserver.BaseRequestHandler):
    """One connection."""

    def handle(self):
        self.prepared = {}
        self.begun = 0
        while message := self.message():
            kind, body = message
            self.answer(kind, body)

    def exactly(self, count):
        data = bytearray()
        while len(data) < count:
            more = self.request.recv(count - len(data))
            if not more:
                return None
            data += more
        return bytes(data)

    def message(self):
        """All packets of one message."""
        body = b""
        while header := self.exactly(8):
            kind, status, length = struct.unpack(">BBH", header[:4])
            part = self.exactly(length - 8)
            if part is None:
                return None
            body += part
            if status & 1:
                return kind, body
        return None

    def send(self, body):
        """A message, in packets of 4096 bytes."""
        parts = [body[at : at + 4088] for at in range(0, len(body), 4088)]
        packets = [
            struct.pack(">BBHHBB", ANSWER, at == len(parts) - 1, len(part) + 8, 57, (at + 1) % 256, 0) + part
            for at, part in enumerate(parts)
        ]
        self.request.sendall(b"".join(packets))

    def answer(self, kind, body):
        if kind == PRELOGIN:
            # Version; encryption is not supported; an instance; a thread; MARS is off.
            options = [(0, bytes([16, 0, 16, 66, 0, 0])), (1, b"\x02"), (2, b"\0"), (3, b""), (4, b"\0")]
            at, table, data = 5 * len(options) + 1, b"", b""
            for option, value in options:
                table += struct.pack(">BHH", option, at + len(data), len(value))
                data += value
            self.send(table + b"\xff" + data)
        elif kind == LOGIN:
            at, length = struct.unpack("<HH", body[68:72])
            database = body[at : at + 2 * length].decode("utf-16-le") or "master"
            acknowledged = b"\x01\x74\x00\x00\x04" + short("Microsoft SQL Server\0\0") + bytes([16, 0, 16, 66])
            changes = changed(1, short(database), short("master")) + changed(7, b"\x05" + COLLATION)
            self.send(changes + token(0xAD, acknowledged) + changed(4, short("4096"), short("4096")) + done())
        elif kind == TRANSACTION:
            self.transaction(struct.unpack("<H", body[22:24])[0])
        elif kind == BATCH:
            self.run(body[22:].decode("utf-16-le"))
        elif kind == RPC:
            self.call(body[22:])
        elif kind == ATTENTION:
            self.send(done(CANCELED))

    def transaction(self, what):
        """Begins one, or ends it."""
        if what == 5:
            self.begun += 1
            self.send(changed(8, b"\x08" + struct.pack("<Q", self.begun)) + done(0, 0xD4))
        else:
            kind = 9 if what == 7 else 10
            self.send(changed(kind, b"\0", b"\x08" + struct.pack("<Q", self.begun)) + done(0, 0xD5))

    def run(self, text, procedure=False):
        """Answers a text, by the table that it names."""
        end = b"\x79\0\0\0\0" + done(kind=0xFE) if procedure else b""
        more = MORE if procedure else 0
        kind = 0xFF if procedure else 0xFD
        if text.startswith("WAITFOR"):
            # Until it is to be stopped.
            self.message()
            return self.send(done(CANCELED))
        if "nobody" in text:
            end = b"\x79\1\0\0\0" + done(ERROR, kind=0xFE) if procedure else b""
            return self.send(error(208, "Invalid object name 'nobody'.") + done(more | ERROR, SELECT, kind=kind) + end)
        if found := re.search(r"TOP \((\d+)\)", text):
            count = int(found[1])
            return self.send(rows(count) + done(more | COUNT, SELECT, count, kind) + end)
        if text.startswith("INSERT"):
            return self.send(done(more | COUNT, INSERT, 1, kind) + end)
        if found := re.match(r"use \[?(\w+)", text, re.IGNORECASE):
            return self.send(changed(1, short(found[1]), short("shop")) + done(0, 0xE3))
        self.send(done(more, kind=kind) + end)

    def call(self, body):
        """A procedure, which has a name or a number."""
        length = struct.unpack("<H", body[:2])[0]
        if length != 0xFFFF:
            return self.send(rows(1) + done(MORE | COUNT, SELECT, 1, 0xFF) + b"\x79\0\0\0\0" + done(kind=0xFE))
        number = struct.unpack("<H", body[2:4])[0]
        texts = list(parameters(body[6:]))
        # The text of a statement comes first, or behind a handle and what declares its parameters.
        text = next(iter(texts if number == EXECUTESQL else texts[1:]), "")
        if number == EXECUTESQL:
            return self.run(text, procedure=True)
        handle = struct.pack("<i", 1 + len(self.prepared))
        given = b"\xac\0\0\0\1" + struct.pack("<IH", 0, 0) + b"\x26\x04\x04" + handle
        if number == PREPARE:
            self.prepared[handle] = text
            return self.send(b"\x79\0\0\0\0" + given + done(kind=0xFE))
        if number == PREPEXEC:
            self.prepared[handle] = text
            count = rows(1) + done(MORE | COUNT, SELECT, 1, 0xFF)
            return self.send(count + b"\x79\0\0\0\0" + given + done(kind=0xFE))
        if number == EXECUTE:
            known = next((text for handle, text in self.prepared.items() if handle in body[6:20]), "")
            return self.run(known, procedure=True)
        self.send(b"\x79\0\0\0\0" + done(kind=0xFE))


class Server(socketserver.ThreadingTCPServer):
    """All of them."""

    allow_reuse_address = daemon_threads = True


if __name__ == "__main__":
    with Server((sys.argv[1], int(sys.argv[2])), Client) as server:
        server.serve_forever()
