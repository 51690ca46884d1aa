"""Takes profiles as Pyroscope does, by a decoder of its own, and misbehaves first if it is told to.

    pyroscope.py PORT FOLDER [ANSWER...]

ANSWER is the status of the first request, of the second and so on, or `hang`; all that follow are answered with 200. What is answered with
200 is written to FOLDER: the profile to N.pb.gz, and a line of JSON to requests.jsonl. Only the standard library.
"""

import gzip
import json
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, folder, answers = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
lock = threading.Lock()
files = 0


def fields(message):
    """The fields of a protobuf message that are bytes: (number, value)."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 != 2:
            raise ValueError(f"field {key >> 3} is no message, text or bytes")
        length = varint()
        if at + length > len(message):
            raise ValueError("cut short")
        yield key >> 3, message[at : at + length]
        at += length


def keep(profile):
    global files
    files += 1
    name = f"{folder}/{files}.pb.gz"
    with open(name, "wb") as file:
        file.write(profile)
    if profile[:2] != b"\x1f\x8b" or not gzip.decompress(profile):
        raise ValueError("not gzip")
    return name


def pushed(body):
    """`push.v1.PushRequest`: series = 1; of each: labels = 1 (name = 1, value = 2), samples = 2 (raw_profile = 1, ID = 2)."""
    for number, series in fields(body):
        assert number == 1, number
        labels, profiles = {}, []
        for number, value in fields(series):
            if number == 1:
                pair = dict(fields(value))
                labels[pair[1].decode()] = pair[2].decode()
            else:
                assert number == 2, number
                sample = dict(fields(value))
                assert sample[2].decode(), "no id"
                profiles.append(keep(sample[1]))
        yield {"labels": labels, "profiles": profiles}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with lock:
            answer = answers.pop(0) if answers else "200"
        if answer == "hang":
            time.sleep(600)
        if answer == "200":
            self.take(body)
        self.send_response(int(answer))
        self.send_header("content-type", self.headers["content-type"])
        self.send_header("content-length", "0")
        self.end_headers()

    def take(self, body):
        url = urllib.parse.urlsplit(self.path)
        with lock, open(f"{folder}/requests.jsonl", "a") as log:
            if url.path == "/push.v1.PusherService/Push":
                assert self.headers["content-type"] == "application/proto"
                entries = list(pushed(body))
            else:
                assert url.path == "/ingest", url.path
                query = dict(urllib.parse.parse_qsl(url.query, strict_parsing=True))
                entries = [{"query": query, "profiles": [keep(body)]}]
            for entry in entries:
                headers = {name.lower(): value for name, value in self.headers.items()}
                log.write(json.dumps({**entry, "headers": headers}) + "\n")

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
