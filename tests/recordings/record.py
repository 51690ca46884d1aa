#!/usr/bin/env python3
"""Makes the recordings in this folder anew (as root, with nginx, Node, Go and curl installed):

    record.py GEOPHONE ANONYMISE [NAME...]

GEOPHONE is the agent's binary, ANONYMISE that of its example of this name. Each recording is checked against what the client did:
every request must be one span on the server's side and one on the client's, with method, path, status and sizes, and what was
exported live must be what a replay gives."""
import collections, http.client, json, os, pathlib, shutil, signal, socket, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent
SERVERS = HERE / "servers"
PORT, APP = 18080, 18081


def wait_for(port, host="127.0.0.1"):
    for _ in range(500):
        try:
            socket.create_connection((host, port)).close()
            return time.sleep(0.2)
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}")


class Scene:
    """Servers in a folder of their own, and what the client did."""

    def __init__(self, folder):
        self.folder, self.processes, self.did = folder, [], []

    def start(self, *command, **more):
        self.processes.append(subprocess.Popen(command, cwd=self.folder, stderr=subprocess.DEVNULL, **more))
        return self.processes[-1]

    def nginx(self):
        files = self.folder / "files"
        files.mkdir(exist_ok=True)
        (files / "index.html").write_bytes(b"i" * 612)
        (files / "large.bin").write_bytes(b"l" * 300_000)
        text = (SERVERS / "nginx.conf").read_text().replace("PORT", str(PORT)).replace("APP", str(APP))
        (self.folder / "nginx.conf").write_text(text)
        self.start("nginx", "-p", str(self.folder), "-c", "nginx.conf")
        wait_for(PORT)

    def go(self):
        binary = self.folder / "shop"
        environment = {**os.environ, "GOFLAGS": "-trimpath", "GO111MODULE": "off"}
        subprocess.run(["go", "build", "-o", binary, SERVERS / "server.go"], check=True, env=environment)
        self.start(str(binary), str(PORT))
        wait_for(PORT)

    def node(self):
        shutil.copy(SERVERS / "server.js", self.folder)
        self.start("node", "server.js", str(PORT))
        wait_for(PORT)

    def python(self, where):
        shutil.copy(SERVERS / "server.py", self.folder)
        self.start(sys.executable, "server.py", str(where))
        if isinstance(where, int):
            wait_for(where)
        else:
            time.sleep(0.7)

    def note(self, method, path, status, sent=None, received=None, sides="CS"):
        self.did += [(side, method, path, status, sent, received) for side in sides]

    def ask(self, connection, method, path, body=None, headers={}):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        received = len(answer.read())
        self.note(method, path.split("?")[0], answer.status, len(body) if body else None, received)
        return answer

    def curl(self, *args, method="GET", path, status, sent=None, received=None):
        done = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", *args], stdout=subprocess.PIPE, text=True)
        assert done.stdout.split()[0] == str(status), (args, done)
        self.note(method, path, status, sent, int(done.stdout.split()[1]) if received is None else received)


def client():
    return http.client.HTTPConnection("127.0.0.1", PORT)


def nginx_keep_alive(scene):
    scene.nginx()
    yield
    connection = client()
    for _ in range(3):
        answer = scene.ask(connection, "GET", "/")
    scene.ask(connection, "GET", "/large.bin")
    scene.ask(connection, "HEAD", "/large.bin")
    scene.ask(connection, "GET", "/", headers={"If-None-Match": answer.headers["ETag"]})
    scene.ask(connection, "GET", "/missing?token=1")
    scene.ask(connection, "POST", "/index.html", body=b"12345")
    scene.ask(connection, "GET", "/large.bin", headers={"Range": "bytes=10-19"})
    connection.close()


def nginx_proxy(scene):
    scene.python(APP)
    scene.nginx()
    yield
    connection = client()
    for size in (3, 40_000):
        scene.ask(connection, "GET", f"/app/sized/{size}", headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
        scene.note("GET", f"/sized/{size}", 200, None, size)
    scene.ask(connection, "POST", "/app/sized/1", body=b"abc")
    scene.note("POST", "/sized/1", 204, 3, None)
    connection.close()


def nginx_pipelining(scene):
    scene.nginx()
    yield
    requests = b"".join(b"GET /?%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(5)) + b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET /missing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", PORT)) as connection:
        # The last ones come in pieces that end where no line does.
        connection.sendall(requests[:170])
        for at in range(170, len(requests), 23):
            time.sleep(0.003)
            connection.sendall(requests[at : at + 23])
        while connection.recv(65536):
            pass
    for _ in range(5):
        scene.note("GET", "/", 200, None, 612)
    scene.note("HEAD", "/", 200)
    scene.note("GET", "/missing", 404, None, 153)


def python_http_1_0(scene):
    scene.python(PORT)
    yield
    url = f"http://127.0.0.1:{PORT}"
    scene.curl(f"{url}/sized/700", path="/sized/700", status=200)
    scene.curl(f"{url}/unsized/30000", path="/unsized/30000", status=200)
    scene.curl(f"{url}/sized/0", path="/sized/0", status=200)
    scene.curl("-I", f"{url}/sized/5", method="HEAD", path="/sized/5", status=200, received=0)
    scene.curl(f"{url}/missing", path="/missing", status=404)
    scene.curl("-d", "a=b", f"{url}/sized/1", method="POST", path="/sized/1", status=204, sent=3)


def go_keep_alive(scene):
    scene.go()
    yield
    # The next request comes right behind the answer, where Go's background read takes its first byte alone.
    with socket.create_connection(("127.0.0.1", PORT)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for n in range(60):
            connection.sendall(b"GET /item/%d HTTP/1.1\r\nHost: shop\r\n\r\n" % n)
            answer = b""
            while not answer.endswith(b"/item/%d\n" % n):
                answer += connection.recv(65536)
            scene.note("GET", f"/item/{n}", 200, None, len(f"this is /item/{n}\n"))
    connection = client()
    scene.ask(connection, "GET", "/stream")
    scene.ask(connection, "GET", "/nothing")
    scene.ask(connection, "POST", "/upload", body=b"z" * 5000)
    connection.close()


def curl_expect(scene):
    scene.go()
    yield
    (scene.folder / "upload.bin").write_bytes(b"u" * 90_000)
    upload, url = str(scene.folder / "upload.bin"), f"http://127.0.0.1:{PORT}"
    scene.curl("-H", "Expect: 100-continue", "-T", upload, f"{url}/upload", method="PUT", path="/upload", status=201, sent=90_000)
    scene.curl("-H", "Expect: 100-continue", "-T", upload, f"{url}/refuse", method="PUT", path="/refuse", status=401, sent=...)
    # Chunked, without a length.
    with open(upload, "rb") as file:
        done = subprocess.run(["curl", "-s", "-o", "/dev/null", "-T", "-", f"{url}/upload"], stdin=file)
        assert done.returncode == 0
    scene.note("PUT", "/upload", 201, 90_000, 7)


def node_chunked(scene):
    scene.node()
    yield
    connection = client()
    for n in (0, 1, 3, 10):
        scene.ask(connection, "GET", f"/chunks/{n}")
    scene.ask(connection, "POST", "/echo", body=b"e" * 20_000)
    scene.ask(connection, "GET", "/broken")
    connection.close()
    connection = client()
    connection.request("POST", "/echo", iter([b"one", b"", b"three"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert connection.getresponse().read() == b"onethree"
    scene.note("POST", "/echo", 200, 8, 8)
    connection.close()


def websocket(scene):
    scene.node()
    yield
    with socket.create_connection(("127.0.0.1", PORT)) as connection:
        connection.sendall(b"GET /chat?room=1 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 101")
        # What looks like a request is none any more.
        for text in (b"\x81\x05hello", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x82\x7e\x08\x00" + b"\0" * 2048):
            connection.sendall(text)
            left = len(text)
            while left:
                left -= len(connection.recv(left))
    scene.note("GET", "/chat", 101)


def ipv6(scene):
    scene.python(f"v6:{PORT}")
    yield
    scene.curl("-g", f"http://[::1]:{PORT}/sized/10", path="/sized/10", status=200)
    scene.curl("-g", f"http://[::1]:{PORT}/missing", path="/missing", status=404)


def unix_socket(scene):
    path = "/run/geophone-recording.sock"
    pathlib.Path(path).unlink(missing_ok=True)
    scene.python(path)
    yield
    scene.curl("--unix-socket", path, "http://app/sized/10", path="/sized/10", status=200)
    scene.curl("--unix-socket", path, "http://app/unsized/2000", path="/unsized/2000", status=200)
    scene.curl("--unix-socket", path, "-d", "abc", "http://app/sized/1", method="POST", path="/sized/1", status=204, sent=3)
    pathlib.Path(path).unlink()


def older_connection(scene):
    scene.nginx()
    connection, half = client(), client()
    scene.ask(connection, "GET", "/")
    half.connect()
    half.send(b"GET /half HTTP/1.1\r\nHos")
    scene.did.clear()
    yield
    for _ in range(3):
        scene.ask(connection, "GET", "/")
    # Of this request nobody saw the beginning: only what comes after it is known.
    half.send(b"t: a\r\n\r\n")
    time.sleep(0.1)
    assert b"404" in half.sock.recv(65536)
    half.send(b"GET /whole HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(0.1)
    assert b"404" in half.sock.recv(65536)
    scene.note("GET", "/whole", 404, None, 153)
    connection.close()
    half.close()


SCENES = [nginx_keep_alive, nginx_proxy, nginx_pipelining, python_http_1_0, go_keep_alive, curl_expect, node_chunked, websocket, ipv6, unix_socket, older_connection]


def summary(line):
    span = json.loads(line)
    a = span["attributes"]
    get = lambda *keys: next((a[key] for key in keys if key in a), None)
    size = lambda key: a.get(key) or None
    return (span["kind"][0], a["http.request.method"], get("url.path") or "/" + a["url.full"].split("?")[0].split("/", 3)[3],
            get("http.response.status_code"), size("http.request.body.size"), size("http.response.body.size"))


def record(scene_of, agent, anonymise):
    name = scene_of.__name__.replace("_", "-")
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(pathlib.Path(folder))
        acts = scene_of(scene)
        next(acts)
        raw, out = scene.folder / "raw.rec", scene.folder / "live.json"
        choice = ["--exe", "python*,curl"] if scene_of is unix_socket else ["--port", f"{PORT},{APP}"]
        with open(out, "wb") as live:
            tracer = subprocess.Popen([agent, "run", "--output", "json", "--record", raw, *choice], stdout=live, stderr=subprocess.PIPE, text=True)
        for line in tracer.stderr:
            if line.startswith("capturing"):
                break
        try:
            for _ in acts:
                pass
            time.sleep(0.5)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate()
            for process in scene.processes:
                process.terminate()
                process.wait()
        lines = out.read_text().splitlines()
        final = HERE / f"{name}.rec"
        subprocess.run([anonymise, raw, final], check=True)
        content = final.read_bytes()
        for secret in (socket.gethostname(), str(HERE.parent.parent), folder):
            assert secret.encode() not in content, f"{name}: {secret} is in it"
        replayed = subprocess.run([agent, "replay", "--output", "json", final], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        again = replayed.stdout.splitlines()
    print(f"{name}: {len(content)} bytes, {len(lines)} spans")
    count = lambda list: collections.Counter(list)
    did = count((s, m, p, t, n or None if n is not ... else ..., r or None) for s, m, p, t, n, r in scene.did)
    live, replay = count(map(summary, lines)), count(map(summary, again))
    for what, difference in (("live but not in the replay", live - replay), ("in the replay but not live", replay - live),
                             ("done but no span", did - live), ("a span of nothing that was done", live - did)):
        for item in difference.elements():
            print(f"  {what}: {item}")
    if replayed.returncode:
        print(replayed.stderr)


if __name__ == "__main__":
    agent, anonymise, *names = sys.argv[1:]
    for scene_of in SCENES:
        if not names or scene_of.__name__ in names:
            record(scene_of, agent, anonymise)
