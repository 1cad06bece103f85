#!/usr/bin/env python3
"""A collector that counts: takes OTLP over HTTP and writes each span once into a file.

A line a span: kind (2 is SERVER), span id, name, and after a tab each those attributes, texts and real
numbers, whose names were given on the command line. Repetitions of an export are recognised by their ids. `GET /` answers the number of spans that came and how many of them were repeated.
"""

import asyncio
import gzip
import json
import struct
import sys

# Kinds of values of an attribute.
TEXT, REAL = 1, 4


def fields(data):
    """Number and value of each field of a protobuf message; that of a fixed one as its bytes."""
    at, end = 0, len(data)
    while at < end:
        key, at = varint(data, at)
        kind = key & 7
        if kind == 2:
            length, at = varint(data, at)
            yield key >> 3, data[at : at + length]
            at += length
        elif kind == 0:
            value, at = varint(data, at)
            yield key >> 3, value
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
            yield key >> 3, data[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {kind} at byte {at}")


def varint(data, at):
    """A variable-length integer and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def spans(request, wanted):
    """The spans of an ExportTraceServiceRequest: id, name, kind, and the attributes wanted."""
    for number, resource in fields(request):
        scopes = [value for found, value in fields(resource) if found == 2] if number == 1 else []
        for scope in scopes:
            for found, span in fields(scope):
                if found == 2:
                    has = {number: value for number, value in fields(span) if number in (2, 5, 6)}
                    name = bytes(has.get(5, b"")).decode()
                    yield bytes(has[2]).hex(), name, has.get(6, 0), texts(span, wanted)


def texts(span, wanted):
    """Those attributes of a span that are wanted and texts or real numbers."""
    found = {}
    for number, value in fields(span) if wanted else ():
        if number == 9:
            pair = dict(fields(value))
            name, value = bytes(pair[1]).decode(), dict(fields(pair[2]))
            if name in wanted and TEXT in value:
                found[name] = bytes(value[TEXT]).decode()
            elif name in wanted and REAL in value:
                found[name] = repr(struct.unpack("<d", value[REAL])[0])
    return found


class Sink:
    """What has come so far."""

    def __init__(self, path, wanted):
        self.wanted = wanted
        self.seen = set()
        self.repeated = 0
        self.file = open(path, "w", buffering=1, encoding="utf-8")  # noqa: SIM115 - ends with the process

    def take(self, path, body):
        """One export: of spans, or of something that is not counted here."""
        if path != "/v1/traces":
            return
        lines = []
        for span, name, kind, attributes in spans(memoryview(body), self.wanted):
            if span in self.seen:
                self.repeated += 1
                continue
            self.seen.add(span)
            told = "".join(f"\t{key}={value}" for key, value in attributes.items())
            lines.append(f"{kind} {span} {name}{told}\n")
        self.file.write("".join(lines))

    async def serve(self, reader, writer):
        """One connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                answer = b""
                if method == "POST":
                    self.take(path, body)
                else:
                    counts = {"spans": len(self.seen), "repeated": self.repeated}
                    answer = json.dumps(counts).encode()
                kind = "application/json" if answer else "application/x-protobuf"
                writer.write(
                    f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n"
                    f"Content-Length: {len(answer)}\r\n\r\n".encode() + answer
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def main(port, path, *wanted):
    """Serves until it is ended."""
    sink = Sink(path, frozenset(wanted))
    limit = 64 * 2**20
    server = await asyncio.start_server(sink.serve, "127.0.0.1", port, limit=limit)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
    except KeyboardInterrupt:
        pass
