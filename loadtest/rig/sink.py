#!/usr/bin/env python3
"""A receiver of OTLP over HTTP that counts the spans of requests that it is sent, and costs little.

    POST /v1/traces   counts the SERVER and CLIENT spans; 400 for what is no such message
    POST …            is taken
    GET  /count       {"requests": …, "spans": …}
"""

import asyncio
import json
import sys

from lifecycle.sink import fields

BODY_LIMIT = 64 * 2**20
# SERVER and CLIENT; the story of the process itself has other kinds.
OF_REQUESTS = (2, 3)


def parts(message, wanted):
    """All fields of this number."""
    return (value for number, value in fields(message) if number == wanted)


def count_spans(message):
    """Spans of requests: resource_spans 1, scope_spans 2, spans 2, kind 6."""
    return sum(
        next(parts(span, 6), 0) in OF_REQUESTS
        for resource in parts(message, 1)
        for scope in parts(resource, 2)
        for span in parts(scope, 2)
    )


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
        if head.startswith(b"post /v1/traces "):
            try:
                Connection.spans += count_spans(memoryview(body))
            except (IndexError, ValueError) as problem:
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
