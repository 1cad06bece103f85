"""A client's connection, byte by byte: every way in which it can fail has a name."""

import asyncio
import base64
import os
import struct
import time
import zlib
from contextlib import suppress

from rig.lifecycle.content import PART_BYTES, checksum
from rig.websocket import accept

# The causes, in the order in which they are shown.
REFUSED = "refused"
RESET = "reset"
CLOSED_BEFORE = "closed before the response"
CLOSED_INSIDE = "closed inside the response"
WRONG_BYTES = "wrong bytes"
WRONG_STATUS = "wrong status"
TIMED_OUT = "timed out"
CAUSES = (REFUSED, RESET, CLOSED_BEFORE, CLOSED_INSIDE, WRONG_BYTES, WRONG_STATUS, TIMED_OUT)
HEAD_LIMIT = 64 * 1024


class Failure(Exception):
    """A request was not served as it should have been."""

    def __init__(self, cause, detail=""):
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause


class Wire:
    """One connection to the proxy."""

    def __init__(self, reader, writer, opened):
        self.reader, self.writer = reader, writer
        self.port = writer.get_extra_info("sockname")[1]
        # When connecting began: the proxy may have accepted before this side noticed.
        self.opened = opened
        self.may_be_kept = True

    @classmethod
    async def open(cls, port, limit):
        """Connects."""
        began = time.monotonic()
        with named_failures():
            async with asyncio.timeout(limit):
                pair = await asyncio.open_connection("127.0.0.1", port, limit=2 * PART_BYTES)
                return cls(*pair, began)

    @property
    def is_over(self):
        """Whether the proxy has closed it already, as it may between two requests."""
        return not self.may_be_kept or self.reader.at_eof() or self.reader.exception() is not None

    async def request(self, method, host, target, limit, headers="", length=None):
        """Sends a head; the body, if one is announced, is the caller's."""
        if length is not None:
            headers += f"Content-Length: {length}\r\n"
        head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"
        await self.send(head.encode(), limit)

    async def send(self, data, limit):
        """Sends bytes, as fast as they are taken."""
        with named_failures():
            async with asyncio.timeout(limit):
                self.writer.write(data)
                await self.writer.drain()

    async def head(self, limit, expected=200):
        """Status and headers of the response."""
        with named_failures():
            async with asyncio.timeout(limit):
                raw = await self.reader.readuntil(b"\r\n\r\n")
        lines = raw.decode("latin-1").split("\r\n")
        headers = [line.partition(":") for line in lines[1:] if line]
        headers = {name.lower(): value.strip() for name, _, value in headers}
        words = lines[0].split(" ", 2)
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        if headers.get("connection", "").lower() == "close":
            self.may_be_kept = False
        if status != expected:
            detail = f"{lines[0]}, expected {expected}; {headers.get('proxy-status', '')}"
            raise Failure(WRONG_STATUS, detail)
        return headers

    async def body(self, headers, limit):
        """Reads the body within a limit of silence. Returns its length and checksum."""
        left, length, crc = int(headers.get("content-length", -1)), 0, 0
        if left < 0:
            raise Failure(WRONG_BYTES, f"no Content-Length in {headers}")
        while left:
            with named_failures(inside=True):
                async with asyncio.timeout(limit):
                    part = await self.reader.read(min(left, PART_BYTES))
            if not part:
                raise Failure(CLOSED_INSIDE, f"{left} of {length + left} bytes are missing")
            left -= len(part)
            length += len(part)
            crc = zlib.crc32(part, crc)
        return length, crc

    async def known_body(self, headers, size, limit):
        """Reads a body of the known content."""
        length, crc = await self.body(headers, limit)
        if (length, crc) != (size, checksum(size)):
            raise Failure(WRONG_BYTES, f"{length} bytes, CRC {crc:08x}; expected {size}")

    async def end(self, limit):
        """Waits for the proxy's close, after which there must be nothing."""
        with named_failures(inside=True):
            async with asyncio.timeout(limit):
                rest = await self.reader.read(1)
        if rest:
            raise Failure(WRONG_BYTES, "more bytes after the response")

    async def websocket(self, host, target, limit):
        """The handshake of RFC 6455 §4.1."""
        key = base64.b64encode(os.urandom(16)).decode()
        headers = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        await self.request("GET", host, target, limit, f"{headers}Sec-WebSocket-Key: {key}\r\n")
        answer = await self.head(limit, 101)
        if answer.get("sec-websocket-accept") != accept(key.encode()).decode():
            raise Failure(WRONG_BYTES, f"handshake answered with {answer}")

    async def echo(self, payload, limit, opcode=2, expected=2):
        """Sends a masked frame and waits for it to come back (RFC 6455 §5.2)."""
        mask = os.urandom(4)
        repeated = mask * (len(payload) // 4 + 1)
        masked = bytes(a ^ b for a, b in zip(payload, repeated))
        await self.send(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked, limit)
        with named_failures(inside=True):
            async with asyncio.timeout(limit):
                first, length = await self.reader.readexactly(2)
                if length == 126:
                    (length,) = struct.unpack("!H", await self.reader.readexactly(2))
                came = await self.reader.readexactly(length)
        if first != 0x80 | expected or came != payload:
            raise Failure(WRONG_BYTES, f"frame {first:#x} {came!r}, expected {payload!r}")

    def close(self):
        """Closes this side."""
        self.writer.close()

    def abort(self):
        """Drops the connection at once."""
        with suppress(OSError):
            self.writer.transport.abort()


class named_failures:
    """Gives what asyncio raises its cause."""

    def __init__(self, inside=False):
        self.closed = CLOSED_INSIDE if inside else CLOSED_BEFORE

    def __enter__(self):
        return self

    def __exit__(self, kind, problem, _):
        if kind is None or issubclass(kind, (Failure, asyncio.CancelledError)):
            return False
        if issubclass(kind, TimeoutError):
            raise Failure(TIMED_OUT) from None
        if issubclass(kind, ConnectionRefusedError):
            raise Failure(REFUSED) from None
        if issubclass(kind, asyncio.IncompleteReadError):
            cause = CLOSED_INSIDE if problem.partial else self.closed
            raise Failure(cause, f"{len(problem.partial)} bytes came") from None
        if issubclass(kind, (ConnectionResetError, BrokenPipeError)):
            raise Failure(RESET, str(problem)) from None
        return False
