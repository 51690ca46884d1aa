"""A client whose library has BoringSSL linked into a module of its own: asks for the first URL, says `ready`, waits for a line, asks for the others on
the same connection."""

import sys

from curl_cffi import requests

session = requests.Session(verify=False)


def ask(url):
    response = session.get(url)
    assert response.status_code == 200, response.status_code


ask(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for url in sys.argv[2:]:
    ask(url)
