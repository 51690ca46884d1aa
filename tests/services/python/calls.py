"""gRPC without generated code: `calls.py serve HOST PORT` and `calls.py call HOST:PORT`, as services/http2 does in Go.

What a method does is in its name: KIND_MESSAGES_ANSWERS_SIZE_CODE_NUMBER.
"""

import sys
from concurrent import futures

import grpc

CODES = {code.value[0]: code for code in grpc.StatusCode}


def parse(method):
    kind, *numbers = method.rpartition("/")[2].split("_")
    return kind, *(int(number) for number in numbers[:4])


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        kind, _, answers, size, code = parse(details.method)

        def handle(requests, context):
            sent = 0
            for _ in requests:
                if kind == "chat" and sent < answers:
                    sent += 1
                    yield b"x" * size
            for _ in range(sent, answers):
                yield b"x" * size
            if code:
                context.abort(CODES[code], "as asked: 100%")

        return grpc.stream_stream_rpc_method_handler(handle)


def serve(host, port):
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers([Handler()])
    server.add_insecure_port(f"{host}:{port}")
    server.start()
    server.wait_for_termination()


def one(channel, method):
    kind, messages, _, size, _ = parse(method)
    message = b"x" * size
    try:
        if kind == "unary":
            channel.unary_unary(method)(message, timeout=20)
        else:
            for _ in channel.stream_stream(method)(iter([message] * messages), timeout=20):
                pass
    except grpc.RpcError as error:
        return error.code().value[0]
    return 0


def call(address):
    names = sys.stdin.read().split()
    with grpc.insecure_channel(address) as channel, futures.ThreadPoolExecutor(4) as pool:
        for method, code in zip(names, pool.map(lambda method: one(channel, method), names)):
            print(method, code)


if sys.argv[1] == "serve":
    serve(sys.argv[2], sys.argv[3])
else:
    call(sys.argv[2])
