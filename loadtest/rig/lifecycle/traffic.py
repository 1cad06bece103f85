"""The mixed load: short requests, kept connections, long bodies both ways, WebSockets."""

import asyncio
import random
import time
import zlib
from dataclasses import dataclass

from rig.lifecycle.content import parts
from rig.lifecycle.wire import CLOSED_BEFORE, RESET, WRONG_BYTES, Failure, Wire

HOST = "life.test"
SIZES = (0, 23, 1_000, 16_000, 100_000)
SIZE_WEIGHTS = (1, 6, 4, 2, 1)


@dataclass
class Mix:
    """How many of each kind run at a time, and how long the long ones last."""

    close: int = 24
    close_pause: float = 0.1
    keep: int = 32
    keep_pause: float = 0.1
    # A kept connection sends at most so many requests.
    keep_requests: int = 60
    uploads: int = 4
    downloads: int = 4
    long_bytes: int = 2_000_000
    long_seconds: float = 2.0
    websockets: int = 8
    websocket_seconds: float = 4.0
    websocket_pause: float = 0.2
    # Silence that a client bears.
    limit: float = 10.0


class Traffic:
    """Clients that run until they are told to finish what they have begun."""

    def __init__(self, port, tally, mix, host=HOST):
        self.port, self.tally, self.mix, self.host = port, tally, mix, host
        self.is_ending = False
        self.tasks = []

    def start(self):
        """Starts all clients."""
        kinds = (
            (self.one_shot, self.mix.close),
            (self.kept, self.mix.keep),
            (self.upload, self.mix.uploads),
            (self.download, self.mix.downloads),
            (self.websocket, self.mix.websockets),
        )
        for body, count in kinds:
            self.tasks += [asyncio.create_task(self.repeat(body)) for _ in range(count)]

    async def finish(self):
        """Lets everything that has begun come to its end."""
        self.is_ending = True
        longest = max(self.mix.long_seconds, self.mix.websocket_seconds)
        limit = longest + 3 * self.mix.limit
        _, late = await asyncio.wait(self.tasks, timeout=limit)
        for task in late:
            task.cancel()
        for task in self.tasks:
            if task not in late:
                task.result()
        if late:
            raise AssertionError(f"{len(late)} clients did not end within {limit:g} s")

    async def repeat(self, body):
        """One client, over and over; not all at the same moment."""
        await asyncio.sleep(random.random() * 0.5)
        while not self.is_ending:
            await body()

    async def connect(self, kind):
        """A connection, or `None` after noting why there is none."""
        try:
            return await Wire.open(self.port, self.mix.limit)
        except Failure as problem:
            self.tally.failure(kind, "(connecting)", problem, None)
            await asyncio.sleep(0.05)
            return None

    async def exchange(self, kind, wire, path, body):
        """One request on a connection; `body` gets its target. Says whether it was served."""
        target, began = self.tally.target(path), time.monotonic()
        try:
            await body(target)
        except Failure as problem:
            self.tally.failure(kind, target, problem, wire)
            return False
        self.tally.success(kind, began)
        return True

    async def get(self, wire, size, target, headers=""):
        """A GET whose answer is known."""
        limit = self.mix.limit
        await wire.request("GET", self.host, target, limit, headers)
        await wire.known_body(await wire.head(limit), size, limit)

    async def known(self, wire, kind, size):
        """A GET of so many bytes. Says whether it was served."""
        return await self.exchange(
            kind, wire, f"/bytes/{size}", lambda target: self.get(wire, size, target)
        )

    async def one_shot(self):
        """A connection for one request."""
        wire = await self.connect("close")
        if wire is None:
            return
        size = random.choices(SIZES, SIZE_WEIGHTS)[0]

        async def body(target):
            await self.get(wire, size, target, "Connection: close\r\n")
            await wire.end(self.mix.limit)

        await self.exchange("close", wire, f"/bytes/{size}", body)
        wire.close()
        await self.pause(self.mix.close_pause)

    async def kept(self):
        """Requests one after the other on a connection, until the proxy says that it closes."""
        wire = await self.connect("keep")
        if wire is None:
            return
        for _ in range(self.mix.keep_requests):
            size = random.choices(SIZES, SIZE_WEIGHTS)[0]
            if not await self.known(wire, "keep", size) or self.is_ending:
                break
            await self.pause(self.mix.keep_pause)
            if wire.is_over:
                break
        wire.close()

    async def upload(self):
        """A slow upload, whose sum the backend tells."""
        wire = await self.connect("upload")
        if wire is None:
            return
        size = int(self.mix.long_bytes * random.uniform(0.5, 1.0))

        async def body(target):
            await wire.request("POST", self.host, target, self.mix.limit, length=size)
            await self.send_and_check(wire, size)

        await self.exchange("upload", wire, "/sum", body)
        wire.close()

    async def send_and_check(self, wire, size):
        """Sends the body slowly and compares the sum that comes back."""
        sent, crc, began = 0, 0, time.monotonic()
        for part in parts(size):
            try:
                await wire.send(part, self.mix.limit)
            except Failure as problem:
                if problem.cause != RESET:
                    raise
                # An answer may explain why nobody takes the body.
                await wire.head(self.mix.limit)
                raise
            sent += len(part)
            crc = zlib.crc32(part, crc)
            due = began + self.mix.long_seconds * sent / size
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        headers = await wire.head(self.mix.limit)
        length = int(headers.get("content-length", 0))
        try:
            async with asyncio.timeout(self.mix.limit):
                said = await wire.reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError) as problem:
            raise Failure(CLOSED_BEFORE, str(problem)) from None
        if said != b"%d %08x\n" % (sent, crc):
            raise Failure(WRONG_BYTES, f"the backend got {said!r}, sent were {sent} {crc:08x}")

    async def download(self):
        """A slow download."""
        wire = await self.connect("download")
        if wire is None:
            return
        size = random.choice((1, 2, 3, 4)) * self.mix.long_bytes // 4
        path = f"/slow/{size}/{int(self.mix.long_seconds * 1000)}"
        await self.exchange(
            "download", wire, path, lambda target: self.get(wire, size, target)
        )
        wire.close()

    async def websocket(self):
        """A WebSocket: frames and pings come back, until the client closes it."""
        wire = await self.connect("websocket")
        if wire is None:
            return

        async def body(target):
            limit = self.mix.limit
            await wire.websocket(self.host, target, limit)
            until = time.monotonic() + self.mix.websocket_seconds * random.uniform(0.5, 1.0)
            number = 0
            while time.monotonic() < until and not self.is_ending:
                number += 1
                await wire.echo(b"frame %d" % number, limit)
                await wire.echo(b"ping %d" % number, limit, opcode=9, expected=10)
                await asyncio.sleep(self.mix.websocket_pause)
            await wire.echo(b"\x03\xe8", limit, opcode=8, expected=8)
            await wire.end(limit)

        await self.exchange("websocket", wire, "/ws", body)
        wire.close()

    async def pause(self, mean):
        """A pause of random length; many are short, some are long."""
        await asyncio.sleep(min(random.expovariate(1 / mean), 10 * mean))
