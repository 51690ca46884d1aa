#!/usr/bin/env python3
"""Makes the recordings of databases anew (as root, with PostgreSQL, Redis, MariaDB and their command lines installed, in an environment with
psycopg, asyncpg, redis, PyMySQL and mysql-connector-python):

    databases.py GEOPHONE ANONYMISE [NAME...]

Each is checked against what the client did, and what was exported live against a replay, as in record.py."""
import asyncio, collections, glob, json, os, pathlib, shutil, signal, socket, subprocess, sys, tempfile, time

from record import HERE, PORT, Scene, wait_for


def databases(scene, user):
    shutil.chown(scene.folder, user, user)
    scene.folder.chmod(0o755)


def run(*command, **more):
    return subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)


def postgres(scene):
    databases(scene, "postgres")
    binaries = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
    data = str(scene.folder / "data")
    run("runuser", "-u", "postgres", "--", f"{binaries}/initdb", "-D", data, "-A", "trust", "-U", "shop")
    scene.start("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", f"{binaries}/postgres", "-D", data, "-p", str(PORT), "-k", str(scene.folder), "-c", "fsync=off", stdout=subprocess.DEVNULL)
    wait_for(PORT)
    psql(scene, "CREATE TABLE users (id int PRIMARY KEY, name text)")
    psql(scene, "INSERT INTO users SELECT n, repeat('x', 100) FROM generate_series(1, 1000) n")


def psql(scene, *commands):
    more = [part for command in commands for part in ("-c", command)]
    return subprocess.run(["psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(PORT), "-U", "shop", "-d", "postgres", *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)


def postgres_psql(scene):
    postgres(scene)
    yield
    # Encryption is asked for first, and refused.
    psql(scene, "SELECT name FROM users WHERE id = 42", "UPDATE users SET name = 'secret' WHERE id IN (1, 2, 3)", "SELECT 1/0",
         "BEGIN; INSERT INTO users VALUES (2000, 'y'); ROLLBACK", "SELECT * FROM users", "COPY users TO STDOUT")
    scene.note("SELECT users", None, 1)
    scene.note("UPDATE users")
    scene.note("SELECT", "22012")
    scene.note("BEGIN INSERT users ROLLBACK")
    # More than is captured of a call, the first time.
    scene.note("SELECT users", None, None)
    scene.note("COPY users")


def postgres_psycopg(scene):
    import psycopg
    postgres(scene)
    yield
    with psycopg.connect(f"host=127.0.0.1 port={PORT} user=shop dbname=postgres", autocommit=True) as connection:
        for n in range(7):
            # Prepared under a name from the sixth time on.
            connection.execute("SELECT name FROM users WHERE id = %s", [n + 1]).fetchall()
            if n == 5:
                scene.note("PREPARE SELECT users")
            scene.note("SELECT users", None, 1)
        with connection.pipeline():
            for n in range(3):
                connection.execute("INSERT INTO users VALUES (%s, 'z')", [3000 + n])
        for n in range(3):
            scene.note("INSERT users")
        try:
            with connection.pipeline():
                connection.execute("INSERT INTO users VALUES (1, 'z')")
                connection.execute("DELETE FROM users WHERE id = 1")
        except psycopg.errors.UniqueViolation:
            pass
        scene.note("INSERT users", "23505")
        scene.note("DELETE users")
        with connection.transaction():
            scene.note("BEGIN")
            with connection.cursor("large") as cursor:
                cursor.execute("SELECT * FROM users ORDER BY id")
                scene.note("DECLARE SELECT users")
                while cursor.fetchmany(400):
                    scene.note("FETCH", None, ...)
                scene.note("FETCH", None, ...)
            scene.note("CLOSE")
        scene.note("COMMIT")


def postgres_asyncpg(scene):
    import asyncpg
    postgres(scene)

    async def work():
        connection = await asyncpg.connect(host="127.0.0.1", port=PORT, user="shop", database="postgres", ssl=False)
        for n in range(3):
            await connection.fetch("SELECT name FROM users WHERE id = $1", n + 1)
        await connection.executemany("UPDATE users SET name = $1 WHERE id = $2", [("a", 1), ("b", 2), ("c", 3)])
        async with connection.transaction():
            await connection.execute("DELETE FROM users WHERE id > 900")
        try:
            await connection.fetch("SELECT missing FROM users")
        except asyncpg.UndefinedColumnError:
            pass
        await connection.close()

    yield
    asyncio.run(work())
    scene.note("PREPARE SELECT users")
    for _ in range(3):
        scene.note("SELECT users", None, 1)
    scene.note("PREPARE UPDATE users")
    for _ in range(3):
        scene.note("UPDATE users")
    scene.note("BEGIN")
    scene.note("DELETE users")
    scene.note("COMMIT")
    scene.note("PREPARE SELECT users", "42703")


def redis_server(scene):
    databases(scene, "redis")
    scene.start("redis-server", "--port", str(PORT), "--save", "", "--dir", str(scene.folder), stdout=subprocess.DEVNULL)
    wait_for(PORT)


def redis_py(scene):
    import redis
    redis_server(scene)
    yield
    client = redis.Redis(port=PORT, db=2)
    # Each of its three connections begins like this; Redis 7.0 does not know all of it.
    for _ in range(3):
        for name, code in (("HELLO", None), ("CLIENT MAINT_NOTIFICATIONS", "ERR"), ("CLIENT SETINFO", "ERR"), ("CLIENT SETINFO", "ERR"), ("SELECT", None)):
            scene.note(name, code)
    client.set("user:1", "secret")
    scene.note("SET")
    client.set("large", "x" * 100_000)
    scene.note("SET")
    client.get("large")
    scene.note("GET")
    try:
        client.incr("user:1")
    except redis.ResponseError:
        pass
    scene.note("INCRBY", "ERR")
    pipe = client.pipeline(transaction=True)
    pipe.hset("h", "a", 1).hset("h", "b", 2).hgetall("h").execute()
    for name in ("MULTI", "HSET", "HSET", "HGETALL", "EXEC"):
        scene.note(name)
    pipe = client.pipeline(transaction=False)
    for n in range(20):
        pipe.lpush("list", n)
        scene.note("LPUSH")
    pipe.execute()
    messages = client.pubsub()
    messages.subscribe("news", "sport")
    scene.note("SUBSCRIBE")
    for _ in range(2):
        messages.get_message(timeout=1)
    client.publish("news", "hello")
    scene.note("PUBLISH")
    assert messages.get_message(timeout=1)["data"] == b"hello"
    messages.close()
    client.lrange("list", 0, -1)
    scene.note("LRANGE")
    client.close()


def redis_cli(scene):
    redis_server(scene)
    yield
    text = "set a 1\nget a\nlpush l a b c\nlrange l 0 -1\nincr l\nobject encoding l\nhello 3\nhset h f v\nhgetall h\nzadd z 1.5 m\nzscore z m\n"
    subprocess.run(["redis-cli", "-p", str(PORT)], input=text, text=True, stdout=subprocess.DEVNULL, check=True)
    for name, code in [("COMMAND DOCS", None), ("set", None), ("get", None), ("lpush", None), ("lrange", None), ("incr", "WRONGTYPE"), ("object encoding", None), ("hello", None), ("hset", None), ("hgetall", None), ("zadd", None), ("zscore", None)]:
        scene.note(name, code)


def mariadb(scene):
    databases(scene, "mysql")
    data = str(scene.folder / "data")
    run("mariadb-install-db", "--user=mysql", f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db")
    scene.start("mariadbd", "--no-defaults", "--user=mysql", f"--datadir={data}", f"--port={PORT}", f"--socket={scene.folder}/sock", "--bind-address=127.0.0.1", stdout=subprocess.DEVNULL)
    wait_for(PORT)
    run("mariadb", "--no-defaults", "-S", f"{scene.folder}/sock", "-e", "CREATE DATABASE shop; USE shop; CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT seq, repeat('x', 100) FROM seq_1_to_1000; CREATE USER 'app'@'%' IDENTIFIED BY 'pw'; GRANT ALL ON *.* TO 'app'@'%'")


def mariadb_pymysql(scene):
    import pymysql
    mariadb(scene)
    yield
    connection = pymysql.connect(host="127.0.0.1", port=PORT, user="app", password="pw", database="shop", client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS, local_infile=True)
    scene.note("SET")
    scene.note("SET")
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM users WHERE id = 42")
        scene.note("SELECT users", None, 1)
        cursor.execute("SELECT * FROM users")
        # More than is captured of a call, the first time.
        scene.note("SELECT users")
        cursor.execute("INSERT INTO users VALUES (2000, 'secret')")
        scene.note("INSERT users")
        try:
            cursor.execute("INSERT INTO users VALUES (1, 'secret')")
        except pymysql.err.IntegrityError:
            pass
        scene.note("INSERT users", "1062")
        cursor.execute("SELECT 1; SELECT id FROM users LIMIT 2; DELETE FROM users WHERE id = 2000")
        while cursor.nextset():
            pass
        scene.note("SELECT SELECT users DELETE users", None, 3)
    connection.ping()
    scene.note("PING")
    connection.select_db("mysql")
    scene.note("USE mysql")
    connection.commit()
    scene.note("COMMIT")
    connection.close()


def mariadb_prepared(scene):
    import mysql.connector
    mariadb(scene)
    yield
    # Without the names of this machine and user.
    mysql.connector.connection.MySQLConnection._add_default_conn_attrs = lambda self: None
    connection = mysql.connector.connect(host="127.0.0.1", port=PORT, user="app", password="pw", database="shop", ssl_disabled=True, use_pure=True)
    scene.note("SET")
    scene.note("SET")
    with connection.cursor(prepared=True) as cursor:
        for n in range(3):
            cursor.execute("SELECT name FROM users WHERE id < %s", (n + 2,))
            cursor.fetchall()
    scene.note("PREPARE SELECT users")
    for n in range(3):
        scene.note("SELECT users", None, n + 1)
        scene.note("RESET STATEMENT")
    # On closing.
    scene.note("PING")
    connection.close()


SCENES = [postgres_psql, postgres_psycopg, postgres_asyncpg, redis_py, redis_cli, mariadb_pymysql, mariadb_prepared]


def note(scene):
    scene.note = lambda name, code=None, rows=None: scene.did.extend((side, name, code, rows) for side in "CS")


def summary(line):
    span = json.loads(line)
    a = span["attributes"]
    return (span["kind"][0], span["name"], a.get("db.response.status_code", a.get("error.type")), a.get("db.response.returned_rows"))


def record(scene_of, agent, anonymise):
    name = scene_of.__name__.replace("_", "-")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        scene = Scene(pathlib.Path(folder))
        note(scene)
        acts = scene_of(scene)
        try:
            next(acts)
        except BaseException:
            for process in scene.processes:
                process.terminate()
            raise
        scene.did.clear()
        raw, out = scene.folder / "raw.rec", scene.folder / "live.json"
        with open(out, "wb") as live:
            tracer = subprocess.Popen([agent, "run", "--output", "json", "--record", raw, "--port", str(PORT)], stdout=live, stderr=subprocess.PIPE, text=True)
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
    did = [item for item in scene.did if item[3] is not ...]
    open_ended = {item[:3] for item in scene.did if item[3] is ...}
    count = collections.Counter
    live, replay = count(map(summary, lines)), count(map(summary, again))
    known = count({item: n for item, n in live.items() if item[:3] not in open_ended})
    for what, difference in (("live but not in the replay", live - replay), ("in the replay but not live", replay - live),
                             ("done but no span", count(did) - known), ("a span of nothing that was done", known - count(did))):
        for item in difference.elements():
            print(f"  {what}: {item}")
    holes = count(str(json.loads(line)["attributes"].get("geophone.incomplete")) for line in lines)
    print(f"  incomplete: {dict(holes)}")
    if replayed.returncode:
        print(replayed.stderr)


if __name__ == "__main__":
    agent, anonymise, *names = sys.argv[1:]
    for scene_of in SCENES:
        if not names or scene_of.__name__ in names:
            record(scene_of, agent, anonymise)
