"""Requests as bytes: sent whole, in part, or given up, each in a trace of its own."""

import secrets
import socket
import time
from dataclasses import dataclass, field

LIMIT = 15.0


@dataclass
class Sent:
    """What was sent and what came back."""

    trace: str = field(default_factory=lambda: secrets.token_hex(16))
    span: str = field(default_factory=lambda: secrets.token_hex(8))
    head: str = ""
    body: bytes = b""
    seconds: float = 0.0

    @property
    def status(self):
        """Status of the answer; 0 if there was none."""
        return int(self.head.split(" ", 2)[1]) if self.head.startswith("HTTP/") else 0

    def header(self, name):
        """A header of the answer."""
        for line in self.head.split("\r\n")[1:]:
            found, _, value = line.partition(":")
            if found.lower() == name:
                return value.strip()
        return None


def compose(sent, host, method, target, headers=None, body=b""):
    """The request as bytes; `host` may be `None`."""
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"Host: {host}"] if host else []
    lines += [f"traceparent: 00-{sent.trace}-{sent.span}-01", "User-Agent: otel-verify/1"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body and "Content-Length" not in (headers or {}):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def plain(port, host, method, target, headers=None, body=b""):
    """Sends a request and reads the answer until the connection is closed."""
    sent = Sent()
    headers = {"Connection": "close", **(headers or {})}
    request = compose(sent, host, method, target, headers, body)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), LIMIT) as stream:
        stream.sendall(request)
        read_all(stream, sent)
    sent.seconds = time.monotonic() - began
    return sent


def leaving(port, host, method, target, after):
    """Sends a request and resets the connection while the answer is awaited."""
    sent = Sent()
    with socket.create_connection(("127.0.0.1", port), LIMIT) as stream:
        stream.sendall(compose(sent, host, method, target))
        time.sleep(after)
        # Zero linger: the close is a reset.
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sent.seconds = after
    return sent


def websocket(port, host, target):
    """Opens a WebSocket, sends a frame, waits for its echo, closes."""
    sent = Sent()
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), LIMIT) as stream:
        stream.sendall(compose(sent, host, "GET", target, headers))
        received = b""
        while b"\r\n\r\n" not in received:
            more = stream.recv(4096)
            if not more:
                break
            received += more
        sent.head = received.partition(b"\r\n\r\n")[0].decode()
        # RFC 6455 §5.2: a text frame "hi" and a close frame, masked with zeroes.
        stream.sendall(b"\x81\x82\0\0\0\0hi" + b"\x88\x80\0\0\0\0")
        read_rest(stream, sent)
    sent.seconds = time.monotonic() - began
    return sent


def read_all(stream, sent):
    """Reads head and body."""
    read_rest(stream, sent)
    head, _, sent.body = sent.body.partition(b"\r\n\r\n")
    sent.head = head.decode("latin-1")


def read_rest(stream, sent):
    """Reads until the peer closes, whichever way."""
    try:
        while more := stream.recv(65536):
            sent.body += more
    except ConnectionResetError:
        pass
