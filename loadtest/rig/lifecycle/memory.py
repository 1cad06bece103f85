"""Workers that grow: a leak gets them replaced, a burst does not."""

import resource

from rig import watchdog
from rig.lifecycle.scenario import Stage
from rig.lifecycle.traffic import Mix
from rig.processes import Failed
from rig.scenarios import Report

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


async def leak(crew, chosen):
    """A leak in every worker gets one after the other replaced; nobody notices."""
    stage = Stage(
        crew,
        chosen,
        Mix(close=40, keep=48, keep_pause=0.08, long_seconds=1.2, websocket_seconds=5.0),
        workers=LEAK_WORKERS,
        server=LEAK_RULES,
        environment={LEAK_VARIABLE: str(LEAK_BYTES)},
        story=True,
    )
    wanted = (chosen.count or REPLACEMENTS) + LEAK_WORKERS
    leaks = lambda: stage.proxy.events("build for tests, which leaks")  # noqa: E731
    wish = "a worker that leaks (cargo build --profile leak --features provoke-leak)"
    await stage.proxy.wait_until(wish, 5, leaks)
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
    drains = spans.count("worker drain")
    report.row("spans of the process's own story; drains", f"{len(spans)}; {drains}")
    report.check(drains >= replaced, f"{replaced} replacements, {drains} spans of a drain")
    peak = stage.watch.max_bytes / 2**20
    report.check(peak <= LEAK_TREE_MIB, f"the tree took {peak:.0f} MiB, limit {LEAK_TREE_MIB}")


async def purge(crew, chosen):
    """A burst of 5,000 connections with large bodies: giving memory back is enough, nobody leaves."""
    connections = chosen.count or BURST_CONNECTIONS
    need_descriptors(4 * connections + 1000)
    report = Report()
    try:
        async for title, value in watchdog.purge(crew, chosen.binary, connections):
            report.row(title, value)
    except Failed as problem:
        report.check(False, str(problem))
    return report


def need_descriptors(count):
    """Raises the limit of open files, which the proxy inherits; half of its own must be enough."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count)))
    except (ValueError, PermissionError):
        raise Failed(f"{count} open files are needed, the hard limit is {hard}") from None
