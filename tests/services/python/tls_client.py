"""A client over TLS, by two libraries' ways: `threads` gives OpenSSL the sockets, `asyncio` feeds it from memory. Two connections in turns
on one thread. Reads what to send as JSON, one line; says `ready` when connected and warm, waits for a line, prints its account."""

import asyncio
import http.client
import json
import ssl
import sys
import time


def insecure():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def account(request, target, start, status, body, port):
    return {
        "method": request["method"], "target": target, "traceparent": "", "request_body": request["body"],
        "status": status, "response_body": len(body), "response_text": body[:64].decode("latin-1"),
        "start": start, "end": time.time_ns(), "port": port,
    }


def ready():
    print("ready", flush=True)
    sys.stdin.readline()


def plan_of(plan, prefix, rounds):
    for round in range(rounds):
        for index, request in enumerate(plan["requests"]):
            for connection in range(2):
                yield connection, request, request["target"].replace("{id}", f"{prefix}-{round}-{index}-{connection}")


def threads(plan):
    host, port = plan["host"], plan["port"]
    connections = [http.client.HTTPSConnection(host, port, context=insecure()) for _ in range(2)]
    for connection in connections:
        connection.connect()

    def send(prefix, rounds):
        sent = []
        waiting = []
        for index, request, target in plan_of(plan, prefix, rounds):
            connection = connections[index]
            start = time.time_ns()
            connection.request(request["method"], target, body=b"x" * request["body"] if request["body"] else None)
            waiting.append((connection, request, target, start))
            if len(waiting) == 2:
                for connection, request, target, start in waiting:
                    response = connection.getresponse()
                    body = response.read()
                    sent.append(account(request, target, start, response.status, body, connection.sock.getsockname()[1]))
                waiting = []
        return sent

    send("warm", plan["warmup"])
    ready()
    return send("id", plan["rounds"])


async def tasks(plan):
    host, port = plan["host"], plan["port"]
    connections = [await asyncio.open_connection(host, port, ssl=insecure()) for _ in range(2)]

    async def exchange(index, request, target):
        reader, writer = connections[index]
        start = time.time_ns()
        head = f"{request['method']} {target} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        if request["body"]:
            head += f"Content-Length: {request['body']}\r\n"
        writer.write(head.encode() + b"\r\n" + b"x" * request["body"])
        await writer.drain()
        answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        length = next(int(line.split(":")[1]) for line in answer if line.lower().startswith("content-length:"))
        body = await reader.readexactly(length)
        status = int(answer[0].split(" ")[1])
        return account(request, target, start, status, body, writer.get_extra_info("sockname")[1])

    async def send(prefix, rounds):
        async def one(connection):
            return [await exchange(*step) for step in plan_of(plan, prefix, rounds) if step[0] == connection]
        return sum(await asyncio.gather(one(0), one(1)), [])

    await send("warm", plan["warmup"])
    ready()
    return await send("id", plan["rounds"])


if __name__ == "__main__":
    plan = json.loads(sys.stdin.readline())
    print(json.dumps(threads(plan) if sys.argv[1] == "threads" else asyncio.run(tasks(plan))), flush=True)
