"""Calls of all kinds through the proxy; each is a word of the command line.

usage: client.py [--tls AUTHORITY] PORT HOST CALL...
"""

import sys
import threading
import time

import grpc

MIB = 1 << 20
authority = None
if sys.argv[1] == "--tls":
    authority = sys.argv[2]
    del sys.argv[1:3]
port, host, *calls = sys.argv[1:]
options = [
    ("grpc.default_authority", host),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
]
if authority:
    with open(authority, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    options.append(("grpc.ssl_target_name_override", host))
    channel = grpc.secure_channel(f"[::1]:{port}", credentials, options=options)
else:
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)


def method(kind, name):
    return getattr(channel, kind)(f"/test.Test/{name}")


def expect(what, got, expected):
    assert got == expected, f"{what}: {got!r}, expected {expected!r}"


def failure(call):
    """The error of a call that must fail."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("a call that had to fail went well")


def unary():
    result, call = method("unary_unary", "Unary").with_call(
        b"abc", metadata=(("say", "hello"),), timeout=20
    )
    expect("message", result, b"cba")
    expect("initial metadata", dict(call.initial_metadata()).get("said"), "hello")
    trailing = dict(call.trailing_metadata())
    expect("trailing metadata", trailing.get("length"), "3")
    expect("binary metadata", trailing.get("bytes-bin"), b"\0\1\xff")
    expect("empty message", method("unary_unary", "Unary")(b"", timeout=20), b"")


def down():
    messages = list(method("unary_stream", "Down")(b"100 1000", timeout=20))
    expect("messages", [(m[0], len(m)) for m in messages], [(n, 1000) for n in range(100)])
    expect("no message", list(method("unary_stream", "Down")(b"0 0", timeout=20)), [])


def up():
    total = method("stream_unary", "Up")(iter([b"x" * 1000] * 100), timeout=20)
    expect("bytes", total, b"100000")
    expect("no message", method("stream_unary", "Up")(iter([]), timeout=20), b"0")


def both():
    """Each message waits for the answer to the one before."""
    turn = threading.Semaphore(1)

    def requests():
        for number in range(50):
            assert turn.acquire(timeout=20)
            yield f"<{number}".encode()

    seen = []
    for answer in method("stream_stream", "Both")(requests(), timeout=30):
        seen.append(answer)
        turn.release()
    expect("answers", seen, [f"<{number}".encode()[::-1] for number in range(50)])


def large():
    message = bytes(range(256)) * (40 * MIB // 256)
    answer = method("unary_unary", "Unary")(message, timeout=120)
    assert answer == message[::-1], f"{len(answer)} bytes, expected {len(message)}"
    total = method("stream_unary", "Up")(iter([b"x" * (8 * MIB)] * 6), timeout=120)
    expect("bytes", total, str(48 * MIB).encode())
    got = [len(m) for m in method("unary_stream", "Down")(b"6 8388608", timeout=120)]
    expect("sizes", got, [8 * MIB] * 6)


def many():
    """Two hundred calls at a time."""
    stub = method("unary_unary", "Unary")
    futures = [(n, stub.future(b"%d" % n, timeout=60)) for n in range(200)]
    for number, future in futures:
        expect("answer", future.result(), (b"%d" % number)[::-1])


def fail():
    error = failure(lambda: method("unary_unary", "Fail")(b"", timeout=20))
    expect("code", error.code(), grpc.StatusCode.FAILED_PRECONDITION)
    expect("details", error.details(), "tired: müde")
    expect("metadata", dict(error.trailing_metadata()).get("why"), "asked")
    error = failure(lambda: method("unary_unary", "Nothing")(b"", timeout=20))
    expect("unknown method", error.code(), grpc.StatusCode.UNIMPLEMENTED)


def deadline():
    began = time.monotonic()
    error = failure(lambda: list(method("stream_stream", "Wait")(iter([b"a"]), timeout=0.5)))
    expect("code", error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
    assert time.monotonic() - began < 10


def cancel():
    call = method("stream_stream", "Wait")(iter([b"a"]), timeout=30)
    expect("first", next(call), b"a")
    call.cancel()
    expect("code", failure(lambda: next(call)).code(), grpc.StatusCode.CANCELLED)


def pause():
    """A stream that is silent for longer than the other limits allow."""
    answers = list(method("stream_stream", "Pause")(iter([b"0", b"3", b"0"]), timeout=30))
    expect("answers", answers, [b"0", b"3", b"0"])


def silent():
    """A stream that is silent for longer than the limit of bodies."""
    call = method("stream_stream", "Pause")(iter([b"0", b"20"]), timeout=30)
    expect("first", next(call), b"0")
    print(failure(lambda: next(call)).code().name)


def refused():
    """What the proxy says itself."""
    error = failure(lambda: method("unary_unary", "Unary")(b"", timeout=20))
    print(error.code().name, "|", error.details())


for name in calls:
    globals()[name]()
channel.close()
print("ok")
