#!/usr/bin/env python3
"""A backend that keeps nothing in memory: bodies of any size are checked and made on the way.

    /bytes/N       N bytes of the known content, as fast as they are taken
    /slow/N/MS     the same, spread over that time
    /sum           the length and the CRC-32 of the request's body
    /late/MS       a few bytes after that time
    /abort/N       promises N bytes, sends half of them, and hangs up
    /ws            WebSocket echo
"""

import asyncio
import sys
import zlib
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from rig.lifecycle.content import PART_BYTES, parts  # noqa: E402
from rig.websocket import Echo  # noqa: E402

# Steps of a slow body.
STEP_SECONDS = 0.05
HEAD_LIMIT = 64 * 1024
HIGH_WATER = 4 * PART_BYTES


class Connection(Echo, asyncio.Protocol):
    """One connection from the proxy. Requests are answered in order; bodies are never held."""

    def __init__(self):
        self.buffer = bytearray()
        self.transport = None
        self.answering = None
        self.left, self.length, self.sum = 0, 0, 0
        self.head = None
        self.may_write = asyncio.Event()
        self.may_write.set()

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER)

    def pause_writing(self):
        self.may_write.clear()

    def resume_writing(self):
        self.may_write.set()

    def connection_lost(self, _):
        if self.answering:
            self.answering.cancel()

    def data_received(self, data):
        if self.left and not self.buffer and len(data) <= self.left:
            self.take(data)
        else:
            self.buffer += data
        if self.is_tunnel:
            self.echo_frames()
        else:
            self.serve()

    def take(self, data):
        """A part of a request's body."""
        self.left -= len(data)
        self.length += len(data)
        self.sum = zlib.crc32(data, self.sum)

    def serve(self):
        """Goes on with whatever has arrived."""
        while not self.answering and not self.is_tunnel:
            if self.head is None and not self.read_head():
                return
            if self.left:
                part = bytes(self.buffer[: self.left])
                del self.buffer[: len(part)]
                self.take(part)
            if self.left:
                return
            method, path, headers = self.head
            self.head = None
            self.answer(method, path, headers)

    def read_head(self):
        """Takes a whole head from the buffer, if there is one."""
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self.buffer) > HEAD_LIMIT:
                self.transport.abort()
            return False
        lines = bytes(self.buffer[:end]).split(b"\r\n")
        del self.buffer[: end + 4]
        headers = [line.partition(b":") for line in lines[1:]]
        headers = {name.strip().lower(): value.strip() for name, _, value in headers}
        method, target, _ = lines[0].split(b" ", 2)
        self.head = method, target.partition(b"?")[0].decode(), headers
        self.left, self.length, self.sum = int(headers.get(b"content-length", 0)), 0, 0
        return True

    def answer(self, method, path, headers):
        """Answers one request by its path."""
        kind, _, argument = path.strip("/").partition("/")
        if kind == "bytes":
            size = int(argument)
            if size <= PART_BYTES:
                self.send(b"".join(parts(size)))
            else:
                self.answering = asyncio.ensure_future(self.stream(size, 0))
        elif kind == "slow":
            size, milliseconds = (int(word) for word in argument.split("/"))
            self.answering = asyncio.ensure_future(self.stream(size, milliseconds / 1000))
        elif kind == "sum":
            self.send(b"%d %08x\n" % (self.length, self.sum))
        elif kind == "late":
            self.answering = asyncio.ensure_future(self.late(int(argument) / 1000))
        elif kind == "abort":
            size = int(argument)
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            self.transport.write(b"".join(parts(size // 2)))
            self.transport.close()
        elif kind == "ws" and b"sec-websocket-key" in headers:
            self.open_tunnel(headers)
        else:
            self.send(b"no such path\n", b"404 Not Found")

    def send(self, body, status=b"200 OK"):
        """An answer in one piece."""
        head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        self.transport.write(head + body)

    async def stream(self, size, seconds):
        """A body piece by piece, as fast as it is taken or spread over a time."""
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        step = max(1, int(size * STEP_SECONDS / seconds)) if seconds else size
        due = step
        sent = 0
        for part in parts(size):
            while part:
                now, part = part[: due - sent], part[due - sent :]
                await self.may_write.wait()
                self.transport.write(now)
                sent += len(now)
                if sent == due and sent < size:
                    due = min(due + step, size)
                    await asyncio.sleep(STEP_SECONDS)
        self.answered()

    async def late(self, seconds):
        await asyncio.sleep(seconds)
        self.send(b"late\n")
        self.answered()

    def answered(self):
        """An answer that took time is complete: on with the next request."""
        self.answering = None
        self.serve()


async def main(port):
    """Serves until it is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", port, backlog=8192)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1])))
    except KeyboardInterrupt:
        pass
