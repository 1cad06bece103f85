"""How a worker leaves: what it waits for, what it does not, and the moment itself."""

import asyncio
import random
import time
import zlib

from rig.lifecycle import judge
from rig.lifecycle.content import BLOCK
from rig.lifecycle.scenario import Stage
from rig.lifecycle.traffic import HOST, Mix
from rig.lifecycle.wire import REFUSED, WRONG_BYTES, Failure, Wire
from rig.processes import Failed

READY_LIMIT = 20.0
UPLOAD_BYTES = 2**30
UPLOAD_SECONDS = 12.0
# Sent before the worker is told to leave.
UPLOAD_HEAD_START = 2**24
DRAIN_WAIT = 3.0
# The limit is looked at once in a while, and a process needs a moment to end.
DRAIN_MARGIN = 3.0
# A slot keeps so many draining predecessors; the next one ends the oldest.
PREDECESSORS = 2
# Requests sent so near to the logged begin of a drain count as tries.
MOMENT_NEAR = 0.010
MOMENT_TRIES = 4_000
MOMENT_CLIENTS = 40
# Between two requests of a client: up to this, so that they fall anywhere around the drain.
MOMENT_PAUSE = 0.030
# How long clients go on when no answer ends their connection.
MOMENT_SECONDS = 3.0
STOP_TAIL = 1.0


class Upload:
    """A large upload whose progress can be awaited."""

    def __init__(self, stage, seconds):
        self.stage, self.seconds = stage, seconds
        self.sent, self.failed_at, self.failure = 0, None, None
        self.target = stage.tally.target("/sum")

    async def run(self):
        """Sends everything and checks the sum that the backend tells."""
        wire = await Wire.open(self.stage.proxy.port, 10)
        block, crc, began = BLOCK * 16, 0, time.monotonic()
        try:
            await wire.request("POST", HOST, self.target, 10, length=UPLOAD_BYTES)
            while self.sent < UPLOAD_BYTES:
                part = block[: UPLOAD_BYTES - self.sent]
                await wire.send(part, 10)
                crc = zlib.crc32(part, crc)
                self.sent += len(part)
                due = began + self.seconds * self.sent / UPLOAD_BYTES
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            await wire.head(10)
            async with asyncio.timeout(10):
                said = await wire.reader.readline()
            if said != b"%d %08x\n" % (UPLOAD_BYTES, crc):
                raise Failure(WRONG_BYTES, repr(said))
            self.stage.tally.success("upload", began)
        except Failure as problem:
            self.failed_at, self.failure = time.monotonic(), problem
        finally:
            wire.close()


async def begin(stage, seconds):
    """An upload of which a first part has been sent."""
    upload = Upload(stage, seconds)
    task = asyncio.create_task(upload.run())
    has_begun = lambda: upload.sent >= UPLOAD_HEAD_START or task.done()  # noqa: E731
    await stage.proxy.wait_until("the upload to begin", 20, has_begun)
    return upload, task


async def replace(stage, **server):
    """Lets a reload replace the worker; gives the seconds until the new one serves."""
    began, ready = time.monotonic(), stage.ready_workers()
    stage.proxy.set(**server)
    stage.reload()
    await stage.new_workers(ready, 1, READY_LIMIT)
    return time.monotonic() - began


async def gone(stage, pid, limit):
    """Waits until a worker has ended."""
    return await stage.proxy.wait_until(
        f"worker {pid} to leave", limit, lambda: pid not in stage.proxy.workers()
    )


async def drain(crew, chosen):
    """A large upload is waited for, or ended with a reason; a WebSocket holds up nobody."""
    stage = Stage(crew, chosen, workers=1, server={"drainWait": 0})
    await waited_for(stage)
    await ended_by_limit(stage)
    await endless_websocket(stage)
    await stage.judge(may_fail=True)
    return stage.report


async def waited_for(stage):
    """`drainWait` 0: the worker stays until the upload is whole."""
    (old,) = stage.proxy.workers()
    upload, task = await begin(stage, UPLOAD_SECONDS)
    took = await replace(stage, drainWait=0, retryOnError=2)
    stage.report.check(not task.done(), "the upload was over before the drain: no proof")
    stage.report.check(old in stage.proxy.workers(), "the old worker did not wait for the upload")
    await task
    stage.report.check(upload.failure is None, f"the upload failed: {upload.failure}")
    await gone(stage, old, DRAIN_MARGIN + 5)
    stage.report.row("drainWait 0", f"successor after {took:.2f} s, 1 GiB arrived whole")


async def ended_by_limit(stage):
    """With `drainWait` the worker leaves in time, and says why."""
    (before,) = stage.proxy.workers()
    await replace(stage, drainWait=DRAIN_WAIT)
    await gone(stage, before, DRAIN_MARGIN)
    (old,) = stage.proxy.workers()
    upload, task = await begin(stage, 10 * UPLOAD_SECONDS)
    began = time.monotonic()
    await replace(stage, retryOnError=4)
    await task
    stage.report.check(upload.failure is not None, "the upload was not ended by drainWait")
    if upload.failure:
        took = upload.failed_at - began
        stage.report.row(f"drainWait {DRAIN_WAIT:g}", f"upload ended after {took:.2f} s: {upload.failure}")
        is_right = DRAIN_WAIT <= took <= DRAIN_WAIT + DRAIN_MARGIN
        stage.report.check(is_right, f"ended after {took:.2f} s, drainWait is {DRAIN_WAIT:g} s")
    await gone(stage, old, DRAIN_MARGIN + 5)
    said = [event for event in stage.proxy.events() if event.pid == old or str(old) in event.text]
    reasons = [event for event in said if event.level == "WARN"]
    stage.report.check(bool(reasons), f"no reason is logged for worker {old}")
    stage.report.row("the log says", reasons[-1] if reasons else "nothing")


async def endless_websocket(stage):
    """Every worker holds a tunnel that never ends: the next one is replaced all the same."""
    await replace(stage, drainWait=0)
    holders, tunnels, took = [], [], []
    for number in range(PREDECESSORS + 2):
        # The old worker must have stopped accepting.
        await asyncio.sleep(0.5)
        holders.append(stage.proxy.events("worker ready")[-1].fields["pid"])
        tunnels.append(await open_tunnel(stage))
        if number <= PREDECESSORS:
            began = time.time()
            took.append(await replace(stage, retryOnError=number))
        if number < PREDECESSORS:
            await tunnels[0].echo(b"still there", 5)
    first = int(holders[0])
    await gone(stage, first, DRAIN_MARGIN + 10)
    for tunnel in tunnels[1:]:
        await tunnel.echo(b"still there", 5)
    said = [event for event in stage.proxy.events() if event.at >= began and event.level == "WARN"]
    report = stage.report
    report.row("endless WebSockets", f"{len(took)} replacements, {max(took):.2f} s at most")
    report.row("the oldest was ended; the log says", said[0] if said else "nothing")
    report.check(bool(said), f"worker {first} was ended without a reason in the log")
    for tunnel in tunnels:
        tunnel.abort()


async def open_tunnel(stage):
    """A WebSocket that works."""
    wire = await Wire.open(stage.proxy.port, 10)
    await wire.websocket(HOST, stage.tally.target("/ws"), 10)
    await wire.echo(b"first", 5)
    return wire


async def moment(crew, chosen):
    """Kept connections send their next request at the very moment of a drain."""
    stage = Stage(crew, chosen, workers=2)
    wanted, offsets, reloads = chosen.count or MOMENT_TRIES, [], 0
    while len(offsets) < wanted:
        told = time.time()
        sent = await one_moment(stage)
        reloads += 1
        drains = [event.at for event in stage.proxy.events("draining") if event.at >= told]
        if not drains:
            raise Failed(f"no worker drains:\n{stage.proxy.running.said()}")
        nearest = (min((at - drain for drain in drains), key=abs) for at in sent)
        offsets += [offset for offset in nearest if abs(offset) <= MOMENT_NEAR]
    for limit in (0.0005, 0.001, 0.002, 0.005, MOMENT_NEAR):
        near = sum(abs(offset) <= limit for offset in offsets)
        stage.report.row(f"requests sent within {1000 * limit:g} ms of a drain", near)
    stage.report.row("reloads", reloads)
    await stage.judge()
    return stage.report


async def one_moment(stage):
    """One reload under clients that send all the time. Gives when they sent."""
    before = stage.ready_workers()
    wires = [await Wire.open(stage.proxy.port, 10) for _ in range(MOMENT_CLIENTS)]
    sent = []

    async def repeat(wire):
        until = time.monotonic() + MOMENT_SECONDS
        while not wire.is_over and time.monotonic() < until:
            sent.append(time.time())
            if not await stage.traffic.known(wire, "keep", 23):
                break
            await asyncio.sleep(random.uniform(0, MOMENT_PAUSE))
        wire.close()

    clients = [asyncio.create_task(repeat(wire)) for wire in wires]
    stage.reload()
    await asyncio.gather(*clients)
    await stage.new_workers(before, 2, READY_LIMIT)
    drained = lambda: len(stage.proxy.workers()) == 2  # noqa: E731
    await stage.proxy.wait_until("the old workers to leave", READY_LIMIT, drained)
    return sent


async def stop(crew, chosen):
    """A final stop under load: what has begun is finished, what comes later is refused."""
    stage = Stage(crew, chosen, Mix(close=60), workers=2)
    stage.traffic.start()
    await asyncio.sleep(chosen.count or 5)
    stopping = asyncio.create_task(stage.proxy.stop())
    await asyncio.sleep(STOP_TAIL)
    await stage.traffic.finish()
    status = await stopping
    stage.report.check(status == 0, f"hipache ended with status {status}")
    others = [failure for failure in stage.tally.failures if failure.cause != REFUSED]
    stage.report.problems += [str(failure) for failure in others[:10]]
    stage.tally.failures = others
    await closing_books(stage)
    return stage.report


async def closing_books(stage):
    """After the end of the proxy only files can be compared."""
    lines = judge.Lines(stage.proxy.log)
    await stage.proxy.spans_settled(lines.count)
    spans = stage.proxy.server_spans()
    stage.report.problems += judge.lines_against_clients(lines, stage.tally)
    stage.report.problems += judge.spans_against_lines(spans, lines)
    for name, value in stage.tally.rows():
        stage.report.row(name, value)
    stage.report.row("access-log lines, SERVER spans", f"{lines.count}, {len(spans)}")
