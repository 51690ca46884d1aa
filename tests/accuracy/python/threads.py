"""A service on http.server: a thread for each connection. Calls that are made at the same time have a new thread each, or,
with --executor, all calls are made by the threads of one executor."""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import shape
import urllib3

POOL = urllib3.PoolManager(maxsize=shape.POOL or 512, block=shape.POOL > 0, retries=False)


def call(base, position):
    response = POOL.request("GET", f"{base}{position}")
    if response.status == 503:
        response = POOL.request("GET", f"{base}{position + 5}")
    if response.status != 200:
        raise OSError(f"answered with {response.status}")
    return int(response.data)


def by_threads(calls):
    if len(calls) == 1:
        return call(*calls[0])
    answers = []
    threads = [threading.Thread(target=lambda c=c: answers.append(call(*c))) for c in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answers)


def by_executor(calls):
    return sum(EXECUTOR.map(lambda c: call(*c), calls))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def do_GET(self):
        request, position = shape.parse(self.path)
        time.sleep(shape.delay(request, position))
        if shape.refused(request, position):
            return self.answer(503, 0)
        served = 1
        for first, calls in shape.groups(request, position):
            time.sleep(shape.think(request, first))
            served += make(calls)
        self.answer(200, served)

    def answer(self, status, number):
        body = str(number).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


make = by_threads
if "--executor" in sys.argv:
    EXECUTOR = ThreadPoolExecutor(64)
    make = by_executor

if __name__ == "__main__":
    Server((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
