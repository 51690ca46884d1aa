"""A service under gunicorn's forked workers, which do one thing at a time; calls by a requests session, one after the other."""

import time

import requests
import shape

SESSION = requests.Session()


def call(base, position):
    response = SESSION.get(f"{base}{position}")
    if response.status_code == 503:
        response = SESSION.get(f"{base}{position + 5}")
    response.raise_for_status()
    return int(response.text)


def app(environ, start_response):
    number, position = shape.parse(environ["PATH_INFO"])
    time.sleep(shape.delay(number, position))
    status, served = "200 OK", 1
    if shape.refused(number, position):
        status, served = "503 Service Unavailable", 0
    else:
        for first, calls in shape.groups(number, position):
            time.sleep(shape.think(number, first))
            served += sum(call(*c) for c in calls)
    body = str(served).encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
