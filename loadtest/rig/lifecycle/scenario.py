"""What every scenario has: a proxy, traffic, a watch over it, and one verdict."""

import asyncio
import signal
import time
from contextlib import asynccontextmanager

from rig.lifecycle import judge
from rig.lifecycle.proxy import Proxy
from rig.lifecycle.tally import Tally
from rig.lifecycle.traffic import Mix, Traffic
from rig.lifecycle.watch import Watch, scrape
from rig.scenarios import Report

# Processes beside the two generations that may overlap would mean that drains pile up.
MEMORY_LIMIT_MIB = 1024
WARM_UP_SECONDS = 2.0
SETTLE_SECONDS = 20.0


class Stage:
    """A running scenario."""

    def __init__(self, crew, chosen, mix=None, **options):
        self.chosen = chosen
        self.report = Report()
        self.tally = Tally()
        self.proxy = Proxy(crew, chosen.binary, **options)
        self.mix = mix or Mix()
        self.traffic = Traffic(self.proxy.port, self.tally, self.mix)
        self.watch = Watch(self.proxy)
        self.master = self.proxy.pid

    @asynccontextmanager
    async def under_load(self):
        """Traffic and watch run inside; at the end everything begun is finished."""
        began = time.monotonic()
        async with self.watch:
            self.traffic.start()
            await asyncio.sleep(WARM_UP_SECONDS)
            yield
            await self.traffic.finish()
        self.report.row("seconds", f"{time.monotonic() - began:.0f}")

    async def settled(self):
        """The metrics once nothing is in flight and every line and span has left."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            samples = await scrape(self.proxy.admin)
            active = samples.total("http_server_active_requests")
            open_tunnels = samples.total("hipache_tunnels_open")
            lines = samples.total("hipache_access_log_lines_total")
            spans = samples.total("hipache_spans_total")
            is_settled = not active and not open_tunnels
            is_settled &= lines == samples.total("hipache_exchanges_total")
            is_settled &= not self.proxy.is_traced or spans == judge.spans_made(samples)
            if is_settled or time.monotonic() > deadline:
                return samples
            await asyncio.sleep(0.1)

    async def judge(self, may_fail=False):
        """Stops the proxy and holds all sinks against each other."""
        report, tally = self.report, self.tally
        samples = await self.settled()
        report.check(self.proxy.running.is_alive(), "the master ended")
        status = await self.proxy.stop()
        report.check(status == 0, f"hipache ended with status {status}: {self.proxy.running.said()}")
        lines = judge.Lines(self.proxy.log)
        await self.proxy.spans_settled(lines.count)
        spans = self.proxy.server_spans()
        report.problems += judge.counters_balance(samples, lines)
        report.problems += self.watch.problems[: judge.SHOWN]
        if not may_fail:
            report.problems += tally.problems()
            report.problems += judge.lines_against_clients(lines, tally)
            report.problems += judge.spans_against_lines(spans, lines)
            report.problems += judge.nothing_lost(samples)
        peak = self.watch.max_bytes / 2**20
        report.check(
            peak <= MEMORY_LIMIT_MIB, f"the tree took {peak:.0f} MiB, more than {MEMORY_LIMIT_MIB}"
        )
        for name, value in tally.rows():
            report.row(name, value)
        report.row("access-log lines, SERVER spans", f"{lines.count}, {len(spans)}")
        if self.watch.tasks:
            seen = f"{peak:.0f} MiB in {self.watch.max_processes} processes"
            report.row("memory of the tree at most", seen)
            seen = f"{self.watch.scrapes}, {len(self.watch.problems)}"
            report.row("scrapes, counters that went back", seen)
        return samples, lines, spans

    async def new_workers(self, before, count, limit):
        """Waits until `count` workers are ready that were not there before; gives all of them."""

        def ready():
            pids = {int(event.fields["pid"]) for event in self.proxy.events("worker ready")}
            fresh = pids - before
            return fresh if len(fresh) >= count else None

        return await self.proxy.wait_until(f"{count} new workers", limit, ready)

    def ready_workers(self):
        """Every process that has ever been ready."""
        return {int(event.fields["pid"]) for event in self.proxy.events("worker ready")}

    def reload(self):
        """Tells the master to read its file again."""
        self.proxy.signal(signal.SIGHUP)
