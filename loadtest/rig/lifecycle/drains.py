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
MOMENT_TRIES = 4_000
MOMENT_CLIENTS = 80
# Half of the tries fall within this time around the expected drain, the others further away.
MOMENT_NEAR = 0.002
MOMENT_FAR = 0.020
MOMENT_NEEDED = 300
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
    await replace(stage, drainWait=DRAIN_WAIT)
    await asyncio.sleep(1)
    old = max(stage.ready_workers())
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
    """A tunnel lives over replacements until its worker is one too many."""
    await replace(stage, drainWait=0)
    await asyncio.sleep(1)
    holder = max(stage.ready_workers())
    wire = await Wire.open(stage.proxy.port, 10)
    target = stage.tally.target("/ws")
    await wire.websocket(HOST, target, 10)
    took = []
    for number in range(PREDECESSORS):
        took.append(await replace(stage, retryOnError=number))
        await wire.echo(b"still there", 5)
    stage.report.check(holder in stage.proxy.workers(), "the worker with the tunnel left")
    took.append(await replace(stage, retryOnError=9))
    await gone(stage, holder, DRAIN_MARGIN + 10)
    said = [event for event in stage.proxy.events() if str(holder) in event.text or event.pid == holder]
    stage.report.row(
        "an endless WebSocket", f"lived over {PREDECESSORS} replacements of {max(took):.2f} s at most"
    )
    stage.report.row("the log says", said[-1] if said else "nothing")
    wire.abort()


async def moment(crew, chosen):
    """Kept connections send their next request at the very moment of a drain."""
    stage = Stage(crew, chosen, workers=2)
    wanted, offsets, delays = chosen.count or MOMENT_TRIES, [], [0.1]
    while len(offsets) < wanted:
        expected = sorted(delays[-5:])[len(delays[-5:]) // 2]
        sent, told = await one_moment(stage, expected)
        drains = [event.at for event in stage.proxy.events("draining") if event.at >= told]
        if not drains:
            raise Failed(f"no worker drains:\n{stage.proxy.running.said()}")
        delays.append(min(drains) - told)
        offsets += [min((at - drain for drain in drains), key=abs) for at in sent]
    for limit in (0.001, 0.005, 0.05):
        near = sum(abs(offset) <= limit for offset in offsets)
        stage.report.row(f"tries within {1000 * limit:g} ms of a drain", near)
        enough = near >= MOMENT_NEEDED * wanted / MOMENT_TRIES or limit < 0.005
        stage.report.check(enough, f"only {near} tries within {1000 * limit:g} ms: no proof")
    stage.report.row("tries, drains", f"{len(offsets)}, {len(delays) - 1} reloads")
    await stage.judge()
    return stage.report


async def one_moment(stage, expected):
    """One reload with all clients around its drain. Gives when they sent, and when it was told."""
    before = stage.ready_workers()
    wires = []
    for _ in range(MOMENT_CLIENTS):
        wires.append(await Wire.open(stage.proxy.port, 10))
    await asyncio.gather(*(one_try(stage, wire, 0) for wire in wires))
    told = time.time()
    stage.reload()

    async def at_random(wire):
        spread = random.choice((MOMENT_NEAR, MOMENT_FAR))
        due = told + expected + random.uniform(-spread, spread)
        return await one_try(stage, wire, max(0.0, due - time.time()))

    sent = await asyncio.gather(*(at_random(wire) for wire in wires))
    for wire in wires:
        wire.close()
    await stage.new_workers(before, 2, READY_LIMIT)
    drained = lambda: len(stage.proxy.workers()) == 2  # noqa: E731
    await stage.proxy.wait_until("the old workers to leave", READY_LIMIT, drained)
    return sent, told


async def one_try(stage, wire, pause):
    """Sends a request after a pause; gives the time at which it was sent."""
    await asyncio.sleep(pause)
    sent = time.time()
    await stage.traffic.known(wire, "keep", 23)
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
