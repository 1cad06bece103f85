"""A day in minutes: everything at once, and the resident set stays flat."""

import asyncio
import csv
import json
import random
import signal
import statistics
import time
from contextlib import suppress

from rig import servers
from rig.k6 import LINE
from rig.lifecycle import judge
from rig.lifecycle.plot import svg
from rig.lifecycle.scenario import Stage
from rig.lifecycle.traffic import HOST, Mix
from rig.lifecycle.watch import resident_bytes
from rig.lifecycle.wire import Failure, Wire
from rig.processes import free_port, need

WORKERS = 2
REQUESTS = 10_000_000
# The rule of flatness: the median of the last quarter against that of the second.
GROWTH_ALLOWED = 1.10
# Below it a per cent is noise: a table that fills up, a thread that starts.
GROWTH_IGNORED_MIB = 2.0
SAMPLE_PAUSE = 1.0
ROTATE_PAUSE = 15.0
ROUTE_PAUSE = 0.5
CONNECTIONS = 48
# Shares of the requests after which the workers are replaced. Afterwards they grow older than they
# were in the second quarter, so what grows with age shows.
RELOAD_AT = (0.125, 0.25, 0.5)
# (path, body bytes, "keep" or "close", seconds), over and over.
BULK = (
    ("/", 0, "keep", 12),
    ("/", 0, "close", 4),
    ("/large", 0, "keep", 4),
    ("/", 16_384, "keep", 4),
)
SHARE_PARSED = 100


class Soak:
    """The state of one soak."""

    def __init__(self, crew, chosen):
        self.crew, self.chosen = crew, chosen
        self.stage = Stage(
            crew,
            chosen,
            Mix(close=4, keep=4, uploads=2, downloads=2, websockets=4),
            workers=WORKERS,
            telemetry={"sampler": "traceidratio", "samplerArg": 0.001, "sampleErrors": False},
            server={"accessLog": str(crew.directory / "access.log"), "maxSockets": 200},
        )
        self.proxy = self.stage.proxy
        self.nginx = servers.start_backend(crew)
        self.dead = free_port()
        self.bulk = self.lines = self.parsed = 0
        self.samples, self.reloads, self.errors = [], [], []
        self.began = time.monotonic()
        self.is_over = False

    def fill(self):
        """The routes of the soak."""
        url = f"http://127.0.0.1:{self.nginx}"
        dead = f"http://127.0.0.1:{self.dead}"
        commands = [f"rpush frontend:bench.test bench {url}", f"rpush frontend:swap.test swap {url}"]
        commands.append(f"rpush frontend:dead.test half {dead} {url}")
        servers.fill_redis(self.proxy.redis, commands)

    @property
    def seconds(self):
        """Since the start."""
        return time.monotonic() - self.began

    async def drive(self):
        """wrk, one kind of work after the other, until enough was asked."""
        script = servers.ROOT / "loadtest" / "wrk" / "report.lua"
        while self.bulk < self.chosen.requests:
            for path, size, kept, seconds in BULK:
                command = [need("wrk", "wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--timeout", "10"]
                command += ["-H", "Host: bench.test", "-s", script]
                command += [f"http://127.0.0.1:{self.proxy.port}{path}", "--", str(size), kept]
                done = await asyncio.create_subprocess_exec(
                    *map(str, command), stdout=asyncio.subprocess.PIPE, start_new_session=True
                )
                try:
                    out, _ = await done.communicate()
                except asyncio.CancelledError:
                    done.kill()
                    raise
                told = json.loads(out.splitlines()[-1])
                self.bulk += told["requests"]
                wrong = {name: told[name] for name in ("bad_status", "socket_errors", "timeouts")}
                if any(wrong.values()):
                    self.errors.append(f"wrk {path} {kept} at {self.seconds:.0f} s: {wrong}")
                await self.reload_when_due()
                if self.bulk >= self.chosen.requests:
                    break

    async def reload_when_due(self):
        """New workers at the stated shares of the work."""
        if len(self.reloads) < len(RELOAD_AT):
            if self.bulk >= RELOAD_AT[len(self.reloads)] * self.chosen.requests:
                ready = self.stage.ready_workers()
                self.stage.reload()
                await self.stage.new_workers(ready, WORKERS, 30)
                self.reloads.append(self.seconds)

    async def sample(self):
        """Resident memory of every process, each second."""
        while True:
            at = self.seconds
            self.samples.append((at, self.proxy.pid, "master", resident_bytes(self.proxy.pid)))
            for pid in self.proxy.workers():
                self.samples.append((at, pid, "worker", resident_bytes(pid)))
            await asyncio.sleep(SAMPLE_PAUSE)

    async def rotate(self):
        """Rotates the access log as logrotate does, and counts what the old file has."""
        older = None
        for number in range(1_000_000):
            await asyncio.sleep(ROTATE_PAUSE)
            renamed = self.proxy.log.with_suffix(f".{number}")
            with suppress(FileNotFoundError):
                self.proxy.log.rename(renamed)
                self.proxy.signal(signal.SIGUSR1)
                if older:
                    await asyncio.to_thread(self.count, older)
                older = renamed

    def count(self, path):
        """Lines of a file that is not written any more; it is removed."""
        with path.open("rb") as log:
            for line in log:
                self.lines += 1
                if self.lines % SHARE_PARSED == 0 or not line.endswith(b"\n"):
                    self.parsed += 1
                    if not LINE.fullmatch(line.rstrip(b"\n")):
                        self.errors.append(f"malformed line in {path.name}: {line[:200]!r}")
        path.unlink()

    async def abort(self):
        """Clients that leave in the middle of what they asked for."""
        while not self.is_over:
            with suppress(Failure):
                wire = await Wire.open(self.proxy.port, 10)
                kind = random.choice(("/slow/300000/500", "/bytes/3000000", "/late/300"))
                await wire.request("GET", HOST, kind, 10)
                await asyncio.sleep(random.random() * 0.2)
                wire.abort()
            await asyncio.sleep(0.05)

    async def fail(self):
        """Backends that are dead, hang up, or do not exist: the answer is known all the same."""
        asked = (("dead.test", "/", 200), ("nobody.test", "/", 400), ("swap.test", "/", 200))
        while not self.is_over:
            for host, path, status in asked:
                try:
                    wire = await Wire.open(self.proxy.port, 10)
                    await wire.request("GET", host, path, 10, "Connection: close\r\n")
                    await wire.body(await wire.head(10, status), 10)
                    wire.close()
                except Failure as problem:
                    self.errors.append(f"{host} at {self.seconds:.0f} s: {problem}")
            await asyncio.sleep(0.1)

    async def change_routes(self):
        """A frontend that is written anew all the time, and others that come and go."""
        url = f"http://127.0.0.1:{self.nginx}"
        number = 0
        while not self.is_over:
            number += 1
            key = f"frontend:new-{number % 500}.test"
            backends = " ".join([url] * (1 + number % 2))
            lines = ["multi", "del frontend:swap.test"]
            lines += [f"rpush frontend:swap.test swap {backends}", "exec"]
            lines += [f"del {key}", f"rpush {key} new-{number} {url}"]
            await asyncio.to_thread(servers.fill_redis, self.proxy.redis, lines)
            await asyncio.sleep(ROUTE_PAUSE)


async def soak(crew, chosen):
    """Requests of every kind, as many as of a day; resident memory is flat."""
    run = Soak(crew, chosen)
    run.fill()
    stage = run.stage
    tasks = [asyncio.create_task(body()) for body in (run.sample, run.rotate)]
    others = [asyncio.create_task(body()) for body in (run.abort, run.fail, run.change_routes)]
    async with stage.under_load():
        await run.drive()
        run.is_over = True
        await asyncio.gather(*others)
    for task in tasks:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    stage.report.problems += [repr(e) for e in done if not isinstance(e, asyncio.CancelledError)]
    samples = await stage.settled()
    status = await run.proxy.stop()
    for path in sorted(crew.directory.glob("access.*")):
        run.count(path)
    report = stage.report
    report.check(status == 0, f"hipache ended with status {status}: {run.proxy.running.said()}")
    exchanges = samples.total("hipache_exchanges_total")
    report.row("requests by wrk; exchanges; lines", f"{run.bulk}; {exchanges}; {run.lines}")
    report.row("lines held against the format", run.parsed)
    report.check(run.lines == exchanges, f"{exchanges} exchanges, {run.lines} lines")
    report.problems += run.errors[:10] + list(stage.tally.problems()) + stage.watch.problems[:5]
    report.problems += judge.nothing_lost(samples)
    for name, value in stage.tally.rows():
        report.row(name, value)
    flatness(run, report)
    keep(run, crew, chosen)
    return report


def totals(samples, role=None):
    """(seconds, MiB) of all processes, or of those of one role."""
    sums = {}
    for at, _, found, size in samples:
        if role in (None, found):
            sums[at] = sums.get(at, 0) + size / 2**20
    return sorted(sums.items())


def flatness(run, report):
    """Median of the last quarter against that of the second, for all and for the master alone."""
    for role in (None, "master", "worker"):
        points = totals(run.samples, role)
        quarter = len(points) // 4
        second = statistics.median(y for _, y in points[quarter : 2 * quarter])
        last = statistics.median(y for _, y in points[3 * quarter :])
        growth = f"{second:.1f} MiB in the second quarter, {last:.1f} in the last"
        report.row(f"resident, {role or 'all'}", growth)
        is_flat = last <= max(second * GROWTH_ALLOWED, second + GROWTH_IGNORED_MIB)
        report.check(is_flat, f"{role or 'all'} not flat: {growth}")


def keep(run, crew, chosen):
    """The samples as CSV, and their plot."""
    place = servers.ROOT / "loadtest" if chosen.save else crew.directory
    with (place / "soak.csv").open("w", newline="") as sink:
        rows = csv.writer(sink, lineterminator="\n")
        rows.writerow(("seconds", "pid", "role", "resident_bytes"))
        rows.writerows((f"{at:.1f}", pid, role, size) for at, pid, role, size in run.samples)
    title = f"Resident memory, {run.bulk / 1e6:.1f} million requests in {run.seconds:.0f} s"
    series = [("all", totals(run.samples)), ("workers", totals(run.samples, "worker"))]
    series.append(("master", totals(run.samples, "master")))
    marks = [(at, "reload") for at in run.reloads]
    (place / "soak.svg").write_text("\n".join(svg(title, series, marks)) + "\n")
