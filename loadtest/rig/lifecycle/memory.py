"""Workers that grow: a leak gets them replaced, a burst does not."""

import asyncio
import socket
import time
import zlib

from rig.lifecycle.content import checksum
from rig.lifecycle.scenario import Stage
from rig.lifecycle.traffic import HOST, Mix
from rig.lifecycle.watch import scrape
from rig.lifecycle.wire import WRONG_BYTES, Failure, named_failures
from rig.processes import Failed

LEAK_VARIABLE = "HIPACHE_LEAK_BYTES"
LEAK_BYTES = 60_000
LEAK_WORKERS = 4
LEAK_LIMIT_MIB = 40
LEAK_RULES = {"memoryLimit": f"{LEAK_LIMIT_MIB} MiB", "memoryCheckInterval": 0.25, "memoryMinAge": 1}
REPLACEMENTS = 200
# A worker that goes on growing between two looks, and two predecessors of each that still drain.
LEAK_TREE_MIB = 3 * LEAK_WORKERS * 2 * LEAK_LIMIT_MIB
# A replacement every few seconds at the latest, or nothing is proved in time.
REPLACEMENT_SECONDS = 5.0
WANTED = "wants to be replaced"

BURST_CONNECTIONS = 5_000
BURST_BYTES = 300_000
BURST_LIMIT_MIB = 100
# Three looks in a row over the limit end a worker: the burst lasts less.
BURST_RULES = {"memoryLimit": f"{BURST_LIMIT_MIB} MiB", "memoryCheckInterval": 4, "memoryMinAge": 0}
BURST_HOLD_SECONDS = 1.0
BURST_AT_A_TIME = 200
PURGE_LIMIT_SECONDS = 13.0


async def leak(crew, chosen):
    """A leak in every worker gets one after the other replaced; nobody notices."""
    stage = Stage(
        crew,
        chosen,
        Mix(close=40, keep=48, keep_pause=0.08, long_seconds=2.5, websocket_seconds=5.0),
        workers=LEAK_WORKERS,
        server=LEAK_RULES,
        environment={LEAK_VARIABLE: str(LEAK_BYTES)},
    )
    wanted = (chosen.count or REPLACEMENTS) + LEAK_WORKERS
    if not stage.proxy.events("build for tests, which leaks"):
        raise Failed("this build does not leak: cargo build --profile leak --features provoke-leak")
    async with stage.under_load():
        enough = lambda: len(stage.ready_workers()) >= wanted  # noqa: E731
        await stage.proxy.wait_until(f"{wanted} workers", REPLACEMENT_SECONDS * wanted, enough)
    samples, _, _ = await stage.judge()
    judge_replacements(stage, samples)
    return stage.report


def judge_replacements(stage, samples):
    """Each replacement stands in log, metrics and trace."""
    report, proxy = stage.report, stage.proxy
    replaced = len(stage.ready_workers()) - LEAK_WORKERS
    told = {event.pid for event in proxy.events(WANTED)}
    wanted = samples.total("hipache_worker_replacements_wanted_total")
    died = proxy.events("worker died")
    report.row("replacements; told in the log; counted", f"{replaced}; {len(told)}; {wanted}")
    report.check(len(told) >= replaced, f"{replaced} replacements, {len(told)} workers told of one")
    report.check(wanted >= replaced, f"{replaced} replacements, {wanted} are counted")
    report.check(not died, f"workers died: {[str(event) for event in died[:3]]}")
    spans = proxy.process_spans()
    report.row("spans of the process's own story", len(spans) or "none: not there yet")
    peak = stage.watch.max_bytes / 2**20
    report.check(peak <= LEAK_TREE_MIB, f"the tree took {peak:.0f} MiB, limit {LEAK_TREE_MIB}")


async def purge(crew, chosen):
    """A burst of thousands of connections with large bodies; memory is given back, nobody leaves."""
    stage = Stage(crew, chosen, workers=1, server={**BURST_RULES, "maxSockets": BURST_CONNECTIONS})
    (worker,) = stage.proxy.workers()
    count = chosen.count or BURST_CONNECTIONS
    async with stage.watch:
        began = time.monotonic()
        lines = asyncio.Semaphore(BURST_AT_A_TIME)
        may_read = asyncio.Event()
        asked = asyncio.Semaphore(0)
        tasks = [
            asyncio.create_task(one_of_many(stage, lines, asked, may_read)) for _ in range(count)
        ]
        for _ in range(count):
            await asked.acquire()
        await asyncio.sleep(BURST_HOLD_SECONDS)
        full = await scrape(stage.proxy.admin)
        may_read.set()
        await asyncio.gather(*tasks)
        stage.report.row("the burst took", f"{time.monotonic() - began:.1f} s")
        before = resident(full)
        limit = BURST_LIMIT_MIB * 2**20
        stage.report.check(before > limit, f"the burst took {before / 2**20:.0f} MiB: no proof")

        def given_back():
            return stage.proxy.events("within the limit again")

        await stage.proxy.wait_until("memory to be given back", PURGE_LIMIT_SECONDS, given_back)
        await asyncio.sleep(BURST_RULES["memoryCheckInterval"])
        now = await scrape(stage.proxy.admin)
    after = resident(now)
    sizes = f"{before / 2**20:.0f} MiB, {after / 2**20:.0f} MiB"
    stage.report.row("resident of jemalloc in the burst, afterwards", sizes)
    stage.report.row("limit", f"{BURST_LIMIT_MIB} MiB")
    stage.report.row("the log says", given_back()[-1])
    stage.report.check(after <= limit, f"{after / 2**20:.0f} MiB are left, limit {BURST_LIMIT_MIB}")
    stage.report.check(stage.proxy.workers() == [worker], "the worker was replaced")
    stage.report.check(not stage.proxy.events("draining"), "a worker drained")
    stage.report.check(not stage.proxy.events(WANTED), "a worker asked to be replaced")
    await stage.judge()
    return stage.report


def resident(samples):
    """jemalloc's resident bytes of all workers."""
    return samples.total("hipache_allocator_bytes", state="resident")


async def one_of_many(stage, lines, asked, may_read):
    """Asks for a large body, lets it wait in the proxy, then reads and checks it."""
    target, began = stage.tally.target(f"/bytes/{BURST_BYTES}"), time.monotonic()
    loop = asyncio.get_running_loop()
    link = socket.socket()
    try:
        # A client that is slow to read: its buffer is small, so the proxy has to hold the rest.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.setblocking(False)
        async with lines:
            with named_failures():
                await loop.sock_connect(link, ("127.0.0.1", stage.proxy.port))
                head = f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
                await loop.sock_sendall(link, head.encode())
        asked.release()
        await may_read.wait()
        async with lines:
            await read_known(link, loop)
        stage.tally.success("burst", began)
    except Failure as problem:
        asked.release()
        stage.tally.failure("burst", target, problem, None)
    finally:
        link.close()


async def read_known(link, loop):
    """Reads a response to its end and compares its length; the content by its checksum."""
    received = bytearray()
    with named_failures(inside=True):
        async with asyncio.timeout(60):
            while part := await loop.sock_recv(link, 65536):
                received += part
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    is_known = len(body) == BURST_BYTES and zlib.crc32(body) == checksum(BURST_BYTES)
    if not head.startswith(b"HTTP/1.1 200 ") or not is_known:
        raise Failure(WRONG_BYTES, f"{head[:60]!r}, {len(body)} of {BURST_BYTES} bytes")
