"""Workers that die or hang: only what they held may be lost, and it is known."""

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass, field

from rig.lifecycle.judge import spans_made
from rig.lifecycle.scenario import Stage
from rig.lifecycle.traffic import Mix
from rig.lifecycle.watch import client_ports, freeze, state_of
from rig.lifecycle.wire import RESET, REFUSED
from rig.processes import Failed

KILL_WORKERS = 4
KILL_PAUSE = 1.0
KILLS = 60
HANG_WORKERS = 2
HEARTBEAT_SECONDS = 3
# Detection looks once in a while, and whoever was queued is served after the others.
HANG_MARGIN = 2.0
HANGS = 5


@dataclass
class Death:
    """One worker that was stopped, looked at, and ended."""

    pid: int
    at: float
    held: set = field(default_factory=set)


def blamed(failure, deaths):
    """The worker that held the connection of a failed request."""
    for death in deaths:
        lived_then = failure.opened <= death.at <= failure.at
        if lived_then and failure.port in death.held:
            return death
    return None


async def stop_and_look(stage, pid):
    """Stops a worker where it stands and notes which client connections it has accepted."""
    await freeze(pid)
    return Death(pid, time.monotonic(), client_ports(pid, stage.proxy.port))


def judge_failures(stage, deaths):
    """Every failure was on a connection that a dead worker held; nobody was refused."""
    strange = [failure for failure in stage.tally.failures if not blamed(failure, deaths)]
    for failure in strange[:10]:
        stage.report.check(False, f"not on a connection of a killed worker: {failure}")
    stage.report.check(len(strange) <= 10, f"... {len(strange)} such requests in all")
    refused = stage.tally.causes()[REFUSED]
    stage.report.check(not refused, f"{refused} connections were refused")
    stage.report.row("connections held by the killed", sum(len(death.held) for death in deaths))
    stage.report.row("failures on others", len(strange))


def judge_losses(stage, samples, lines, spans):
    """What was lost is counted: lines exactly, spans too."""
    report = stage.report
    lost = samples.total("hipache_access_log_lines_total", outcome="lost_at_death")
    exchanges = samples.total("hipache_exchanges_total")
    report.row("exchanges = lines + lost", f"{exchanges} = {lines.count} + {lost}")
    report.check(lines.count + lost == exchanges, f"{exchanges} exchanges != {lines.count} lines + {lost}")
    report.problems += lines.problems[:5]
    counted = {
        outcome: samples.total("hipache_spans_total", outcome=outcome)
        for outcome in ("exported", "dropped", "failed")
    }
    made, came = spans_made(samples), len(stage.proxy.request_spans())
    report.row("spans made; counted; came", f"{made}; {counted}; {came}")
    report.check(sum(counted.values()) == made, f"{made} spans made, counted are {counted}")
    # A batch may have come whose receipt the killed worker did not live to count.
    report.check(
        counted["exported"] <= came <= sum(counted.values()),
        f"{came} spans came, counted are {counted}",
    )
    report.check(len(spans) <= exchanges, f"{len(spans)} SERVER spans for {exchanges} exchanges")


async def kill(crew, chosen):
    """A worker is killed every second."""
    stage = Stage(crew, chosen, Mix(limit=20.0, close=40), workers=KILL_WORKERS)
    deaths, idle = [], 0
    async with stage.under_load():
        while len(deaths) < (chosen.count or KILLS):
            began = time.monotonic()
            pids = [pid for pid in stage.proxy.workers() if state_of(pid) in "RSD"]
            if pids:
                death = await stop_and_look(stage, random.choice(pids))
                os.kill(death.pid, signal.SIGKILL)
                deaths.append(death)
            else:
                idle += 1
            await asyncio.sleep(max(0.0, KILL_PAUSE - (time.monotonic() - began)))
    # All may be in the pause that grows with early deaths.
    stage.report.row("workers killed", f"{len(deaths)}; seconds without any worker: {idle}")
    samples, lines, spans = await stage.judge(may_fail=True)
    judge_failures(stage, deaths)
    judge_losses(stage, samples, lines, spans)
    died = samples.total("hipache_worker_deaths_total", reason="signal")
    stage.report.check(died == len(deaths), f"{died} deaths by a signal are counted")
    resets = stage.tally.causes()[RESET]
    stage.report.row("of the failures, resets", resets)
    return stage.report


async def hang(crew, chosen):
    """A worker is stopped and must be found and replaced; who waits in its queue is served."""
    server = {"heartbeatTimeout": HEARTBEAT_SECONDS}
    mix = Mix(limit=20.0, close=40, websocket_seconds=2.0)
    stage = Stage(crew, chosen, mix, workers=HANG_WORKERS, server=server)
    deaths, found = [], []
    async with stage.under_load():
        for _ in range(chosen.count or HANGS):
            ready = stage.ready_workers()
            death = await stop_and_look(stage, random.choice(stage.proxy.workers()))
            deaths.append(death)
            try:
                await stage.new_workers(ready, 1, HEARTBEAT_SECONDS + 5 * HANG_MARGIN)
            except Failed:
                os.kill(death.pid, signal.SIGKILL)
                stage.report.check(False, f"worker {death.pid} hung and was not replaced")
            found.append(time.monotonic() - death.at)
            await asyncio.sleep(2.0)
    stage.report.row("hung workers; replaced after", "; ".join(f"{took:.1f} s" for took in found))
    samples, lines, spans = await stage.judge(may_fail=True)
    # A killed worker's connections fail when it is killed, not when it was stopped.
    judge_failures(stage, deaths)
    judge_losses(stage, samples, lines, spans)
    limit = HEARTBEAT_SECONDS + HANG_MARGIN
    slowest = stage.tally.slowest["close"]
    stage.report.row("slowest request on a connection of its own", f"{slowest:.2f} s, limit {limit:g} s")
    stage.report.check(slowest <= limit, f"a queued connection waited {slowest:.2f} s, limit {limit:g} s")
    late = [took for took in found if took > limit]
    stage.report.check(not late, f"replaced after {late} s, limit {limit:g} s")
    return stage.report
