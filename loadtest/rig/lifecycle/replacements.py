"""Workers that are replaced while the service goes on: nobody notices."""

import asyncio
import signal
import time

from rig.lifecycle.scenario import Stage
from rig.lifecycle.traffic import Mix

WORKERS = 2
RELOADS = 200
UPGRADES = 50
READY_LIMIT = 20.0
# A slot keeps two draining predecessors: what lasts longer than two replacements would be ended.
PAUSE = 1.0
LONG_SECONDS = 1.5
WORKER_COUNTS = (1, 4, 2)


def long_enough():
    """Long bodies and WebSockets that live over a replacement, and end before the third."""
    return Mix(long_seconds=LONG_SECONDS, websocket_seconds=2.0)


async def reload(crew, chosen):
    """Reload after reload; worker counts changed; a bad file in between changes nothing."""
    stage = Stage(crew, chosen, long_enough(), workers=WORKERS)
    count, longest = chosen.count or RELOADS, 0.0
    async with stage.under_load():
        for number in range(count):
            began, ready = time.monotonic(), stage.ready_workers()
            stage.proxy.set(retryOnError=number % 5 + 1)
            stage.reload()
            await stage.new_workers(ready, WORKERS, READY_LIMIT)
            longest = max(longest, time.monotonic() - began)
            await asyncio.sleep(PAUSE)
            if number == count // 2:
                await bad_file(stage)
        for workers in WORKER_COUNTS:
            await change_workers(stage, workers)
    stage.report.row("reloads; slowest until all serve", f"{count}; {longest:.2f} s")
    await stage.judge()
    return stage.report


async def bad_file(stage):
    """A file with a mistake: the log says which, and the same workers go on."""
    before = set(stage.proxy.workers())
    ready = stage.ready_workers()
    stage.proxy.write('{"server": {"workers": "many"}}')
    told = len(stage.proxy.events("workers"))
    stage.reload()
    said = lambda: len(stage.proxy.events("workers")) > told  # noqa: E731
    await stage.proxy.wait_until("the log to name the mistake", READY_LIMIT, said)
    await asyncio.sleep(PAUSE)
    stage.report.check(stage.ready_workers() == ready, "a bad file started workers")
    lasting = before & set(stage.proxy.workers())
    stage.report.check(bool(lasting), "a bad file ended all workers")
    stage.proxy.write(stage.proxy.config)
    stage.report.row("a bad file", "told, nothing changed")


async def change_workers(stage, workers):
    """Another number of workers."""
    ready = stage.ready_workers()
    stage.proxy.set(workers=workers)
    stage.reload()
    await stage.new_workers(ready, workers, READY_LIMIT)

    async def serving():
        shown = (await stage.proxy.status())["workers"]
        return len([worker for worker in shown if worker["state"] == "serving"]) == workers

    await stage.proxy.wait_until(f"{workers} serving workers", READY_LIMIT, serving)
    stage.report.row(f"workers changed to {workers}", "serving")
    await asyncio.sleep(2 * PAUSE)


async def upgrade(crew, chosen):
    """Binary upgrade after binary upgrade in place."""
    stage = Stage(crew, chosen, long_enough(), workers=WORKERS)
    count, longest = chosen.count or UPGRADES, 0.0
    async with stage.under_load():
        for _ in range(count):
            began, ready = time.monotonic(), stage.ready_workers()
            stage.proxy.signal(signal.SIGUSR2)
            await stage.new_workers(ready, WORKERS, READY_LIMIT)
            longest = max(longest, time.monotonic() - began)
            await asyncio.sleep(PAUSE)
    status = await stage.proxy.status()
    told = status["master"]["pid"]
    stage.report.check(told == stage.master, f"the master is {told}, it was {stage.master}")
    stage.report.row("upgrades; slowest until all serve", f"{count}; {longest:.2f} s")
    stage.report.row("process of the master", f"{stage.master} all the time")
    await stage.judge()
    return stage.report
