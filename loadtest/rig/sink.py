#!/usr/bin/env python3
"""A receiver of OTLP over HTTP that counts the spans it is sent, and costs next to nothing.

    POST /v1/traces   counts the entries of every ScopeSpans.spans; 400 for what is no such message
    GET  /count       {"requests": …, "spans": …}
"""

import asyncio
import json
import sys

BODY_LIMIT = 64 * 2**20
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Malformed(Exception):
    """Not a message of Protocol Buffers."""


def varint(message, at):
    """A number and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def entries(message, at, end, wanted):
    """Begin and end of every field of this number, which holds bytes."""
    while at < end:
        key, at = varint(message, at)
        kind = key & 7
        if kind == BYTES:
            length, at = varint(message, at)
            if key >> 3 == wanted:
                yield at, at + length
            at += length
        elif kind == VARINT:
            _, at = varint(message, at)
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise Malformed(f"wire type {kind}")
    if at != end:
        raise Malformed("a field is longer than its message")


def count_spans(message):
    """Spans of an ExportTraceServiceRequest: resource_spans 1, scope_spans 2, spans 2."""
    spans = 0
    try:
        for begin, end in entries(message, 0, len(message), 1):
            for inner, inner_end in entries(message, begin, end, 2):
                spans += sum(1 for _ in entries(message, inner, inner_end, 2))
    except IndexError:
        raise Malformed("the message breaks off") from None
    return spans


class Connection(asyncio.Protocol):
    """One connection of an exporter; requests are answered in order."""

    requests = spans = 0

    def __init__(self):
        self.buffer = bytearray()
        self.transport = None
        # Where the request ends whose head was read.
        self.head, self.begin, self.end = None, 0, 0

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        while self.read_head() and len(self.buffer) >= self.end:
            body = bytes(self.buffer[self.begin : self.end])
            del self.buffer[: self.end]
            head, self.head = self.head, None
            self.answer(head, body)

    def read_head(self):
        """Whether a head is there; read once for each request."""
        if self.head is None:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return False
            lines = bytes(self.buffer[:end]).lower().split(b"\r\n")
            fields = dict(line.partition(b":")[::2] for line in lines[1:])
            length = int(fields.get(b"content-length", b"0"))
            if length > BODY_LIMIT or b"transfer-encoding" in fields or b"content-encoding" in fields:
                self.send(413 if length > BODY_LIMIT else 415, b"")
                self.transport.close()
                return False
            self.head, self.begin, self.end = lines[0], end + 4, end + 4 + length
        return True

    def answer(self, head, body):
        """Counts, or tells the counts."""
        if head.startswith(b"get "):
            told = {"requests": Connection.requests, "spans": Connection.spans}
            return self.send(200, json.dumps(told).encode())
        try:
            Connection.spans += count_spans(body)
        except Malformed as problem:
            return self.send(400, str(problem).encode())
        Connection.requests += 1
        return self.send(200, b"")

    def send(self, status, body):
        """Sends an answer; an empty ExportTraceServiceResponse has no bytes."""
        kind = b"application/json" if body else b"application/x-protobuf"
        head = b"HTTP/1.1 %d -\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % (status, kind, len(body)) + body)


async def main(port):
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1])))
    except KeyboardInterrupt:
        pass
