#!/usr/bin/env python3
"""Makes the recording of lookups anew (as root, with dnsmasq and Node installed):

    names.py GEOPHONE ANONYMISE

It is checked against what the client did, and what was exported live against a replay, as in record.py."""
import socket, struct, subprocess, sys, time

from databases import record
from record import PORT, wait_for


def query(number, name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)


def udp():
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.settimeout(5)
    return found


def dns_lookups(scene):
    long = ["x" * 200] * 4
    scene.start("dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--bind-interfaces", "--conf-file=/dev/null",
                "--user=root", "--pid-file=", f"--port={PORT}", "--listen-address=127.0.0.1", "--address=/example.org/192.0.2.1",
                "--address=/example.org/2001:db8::1", "--address=/missing.example.org/", "--cname=shop.example.org,www.example.org",
                "--txt-record=long.example.net," + ",".join(long))
    wait_for(PORT)
    yield
    # A resolver of its own (c-ares), which asks again by TCP when an answer was cut.
    script = f"""const dns = require('dns').promises; dns.setServers(['127.0.0.1:{PORT}']);
        (async () => {{
            await dns.resolve4('www.example.org');
            await dns.resolve6('www.example.org');
            await dns.resolve4('missing.example.org').catch(() => {{}});
            await dns.resolveTxt('long.example.net');
        }})()"""
    subprocess.run(["node", "-e", script], check=True)
    for name in ("QUERY A", "QUERY AAAA"):
        scene.note(name)
    scene.note("QUERY A", "NXDOMAIN")
    # By UDP, and then by TCP.
    scene.note("QUERY TXT")
    scene.note("QUERY TXT")
    # A socket that is connected, one that is not, and two queries on one before any answer.
    with udp() as connected:
        connected.connect(("127.0.0.1", PORT))
        connected.send(query(1, "connected.example.org"))
        connected.recv(512)
        scene.note("QUERY A")
    with udp() as free:
        free.sendto(query(2, "free.example.org"), ("127.0.0.1", PORT))
        free.recv(512)
        scene.note("QUERY A")
        for number in (3, 4):
            free.sendto(query(number, f"both{number}.example.org"), ("127.0.0.1", PORT))
            scene.note("QUERY A")
        time.sleep(0.1)
        free.recv(512), free.recv(512)


if __name__ == "__main__":
    record(dns_lookups, *sys.argv[1:])
