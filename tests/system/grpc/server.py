"""A gRPC server: says its port, then one line for each call that ended.

usage: server.py [--tls CERT KEY]
"""

import sys
import threading
import time
from concurrent import futures

import grpc


def say(*words):
    print(*words, flush=True)


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    context.send_initial_metadata((("said", metadata.get("say", "-")),))
    context.set_trailing_metadata((("length", str(len(request))), ("bytes-bin", b"\0\1\xff")))
    say("unary", context.time_remaining() is not None)
    return request[::-1]


def down(request, context):
    count, size = map(int, request.split())
    for number in range(count):
        yield bytes([number % 256]) * size
    say("down", count)


def up(requests, context):
    total = sum(len(message) for message in requests)
    say("up", total)
    return str(total).encode()


def both(requests, context):
    for message in requests:
        yield message[::-1]
    say("both")


def fail(request, context):
    context.set_trailing_metadata((("why", "asked"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "tired: müde")


def wait(requests, context):
    """Silent until it is cancelled; an answer to the first message tells that it is under way."""
    over = threading.Event()
    context.add_callback(over.set)
    try:
        yield next(requests)
    finally:
        # Also where the call is over before the library comes back for the next answer.
        over.wait(30)
        say("wait", "over" if over.is_set() else "forgotten")


def pause(requests, context):
    """Keeps silent for as long as each message says."""
    for message in requests:
        time.sleep(float(message))
        yield message


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Down": grpc.unary_stream_rpc_method_handler(down),
    "Up": grpc.stream_unary_rpc_method_handler(up),
    "Both": grpc.stream_stream_rpc_method_handler(both),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Wait": grpc.stream_stream_rpc_method_handler(wait),
    "Pause": grpc.stream_stream_rpc_method_handler(pause),
}

server = grpc.server(
    futures.ThreadPoolExecutor(max_workers=64),
    options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", HANDLERS),))
if sys.argv[1:2] == ["--tls"]:
    chain, key = (open(path, "rb").read() for path in sys.argv[2:4])
    credentials = grpc.ssl_server_credentials([(key, chain)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
say(port)
sys.stdin.read()
server.stop(0)
