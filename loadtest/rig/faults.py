"""`loadtest/telemetry collector`: what becomes of a steady load when the collector fails."""

import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rig import k6, servers
from rig.books import closed
from rig.collector import Collector
from rig.sums import start_redis_with_route

# What happens at the beginning of each phase, by name of the Collector's method.
PHASES = [
    ("healthy", None),
    ("healthy", None),
    ("killed", "kill"),
    ("back", "start"),
    ("hung", "hang"),
    ("awake", "wake"),
    ("gone for good", "kill"),
]
HEALTHY = 2
SLICES_A_PHASE = 5
# A phase is right while its p99 over that of the control, in the median of its slices, is no more than in
# the worst healthy slice, or than this many times the median healthy slice.
NOISE = 1.5
WARM_UP = 6.0
# Small enough that a collector that is away for a phase costs spans of both kinds, dropped and failed.
BATCH = 512
TELEMETRY = {"queueSize": 4096, "batchSize": BATCH, "exportDelay": 1, "timeout": 2, "exportTimeout": 3}


def collector(crew, chosen):
    """One run; gives what is wrong."""
    driver, taker = start_redis_with_route(crew), Collector(crew)
    telemetry = {"endpoint": taker.endpoint, **TELEMETRY}
    common = (crew, chosen.binary, driver, chosen.workers)
    proxy = servers.start_hipache(*common, sections={"admin": {}, "telemetry": telemetry})
    # The same without traces: nothing that happens to the Collector can happen to it.
    control = servers.start_hipache(*common, name="control")
    with ThreadPoolExecutor(1) as pool:
        begin = time.time() + WARM_UP
        load = pool.submit(steady_load, crew, proxy, control, chosen, begin)
        for number, (_, fault) in enumerate(PHASES):
            time.sleep(max(0.0, begin + number * chosen.seconds - time.time()))
            if fault:
                getattr(taker, fault)()
        status, metrics = load.result()
    requests = int(metrics["http_reqs{side:tested}"]["count"])
    # The queues of all workers go to nobody, a batch at a time.
    books = closed(proxy, requests, limit=120)
    ended = crew.stop(proxy.running)
    received = taker.spans()
    return [
        *judge_clients(status, metrics),
        *judge_books(books, received, requests, chosen),
        *([f"hipache ended with status {ended}: {proxy.running.said()}"] if ended else []),
    ]


def steady_load(crew, proxy, control, chosen, begin):
    """k6 at a fixed rate through all phases, whatever the answers do."""
    environment = {
        "CONTROL_URL": f"http://127.0.0.1:{control.port}",
        "HOST": servers.HOST,
        "RATE": chosen.rate,
        "BEGIN": int(begin * 1000),
        "SLICES": len(PHASES) * SLICES_A_PHASE,
        "SLICE": chosen.seconds * 1000 // SLICES_A_PHASE,
    }
    # Its report has a line for every slice.
    return k6.summarize_k6("steady.js", proxy.port, environment, crew, subprocess.DEVNULL)


@dataclass(frozen=True)
class Phase:
    """What clients saw in a phase: figures of k6, slice by slice, of the tested proxy and the control."""

    name: str
    tested: list
    control: list
    failed: int

    @classmethod
    def all_of(cls, metrics):
        """All phases, in their order."""
        for number, (name, _) in enumerate(PHASES):
            slices = range(number * SLICES_A_PHASE, (number + 1) * SLICES_A_PHASE)

            def of(metric, side, slices=slices):
                return [metrics[f"{metric}{{side:{side},slice:{at}}}"] for at in slices]

            failed = sum(rate["passes"] for rate in of("http_req_failed", "tested"))
            times = [of("http_req_duration", side) for side in ("tested", "control")]
            yield cls(name, *times, failed)

    def ratios(self):
        """In each slice, p99 of the tested proxy over that of the control."""
        return [own["p(99)"] / other["p(99)"] for own, other in zip(self.tested, self.control)]

    def row(self):
        """Its line of the table."""
        middle = lambda side, figure: statistics.median(part[figure] for part in side)  # noqa: E731
        return (
            f"{self.name:15}{sum(int(part['count']) for part in self.tested):9}{self.failed:8}"
            f"{middle(self.tested, 'med'):8.2f}{middle(self.control, 'med'):9.2f}"
            f"{middle(self.tested, 'p(99)'):8.2f}{middle(self.control, 'p(99)'):9.2f}"
            f"{statistics.median(self.ratios()):7.2f}"
        )


def judge_clients(status, metrics):
    """What clients noticed."""
    phases = list(Phase.all_of(metrics))
    healthy = [ratio for phase in phases[:HEALTHY] for ratio in phase.ratios()]
    limit = max(*healthy, NOISE * statistics.median(healthy))
    print(
        f"noise: in {len(healthy)} healthy slices p99 is {min(healthy):.2f} to {max(healthy):.2f} times that"
        f" of the control; right is a phase whose median slice is at most {limit:.2f} times\n"
    )
    print(
        f"{'phase':15}{'requests':>9}{'failed':>8}{'p50 ms':>8}{'control':>9}{'p99 ms':>8}{'control':>9}"
        f"{'ratio':>7}"
    )
    for phase in phases:
        print(phase.row())
        ratio = statistics.median(phase.ratios())
        if phase.failed:
            yield f"{phase.name}: {phase.failed} requests failed"
        if ratio > limit:
            yield f"{phase.name}: p99 is {ratio:.2f} times that of the control, expected at most {limit:.2f}"
    if status or metrics["http_req_failed"]["passes"]:
        yield f"k6 ended with status {status}, {metrics['http_req_failed']['passes']} requests failed"
    if late := int(metrics.get("dropped_iterations", {}).get("count", 0)):
        yield f"{late} requests were not sent, because too many were waiting: the machine is too busy for this rate"


def judge_books(books, received, requests, chosen):
    """What became of the spans."""
    missing = books.queued - received
    # What was sent and not answered: the collector may have it, or have it twice. A batch a worker
    # at each kill, one a worker and try while it hung, whose bytes it finds when it wakes.
    tries = chosen.seconds // TELEMETRY["timeout"] + 1
    doubt = chosen.workers * BATCH * (2 + tries)
    print(
        f"\nspans: {books.queued} queued = {books.exported} exported + {books.dropped} dropped"
        f" + {books.failed} failed\n"
        f"       {received} received, {missing} missing, {books.lost} counted as lost:"
        f" {books.lost - missing} in doubt (sent, not answered; at most {doubt})"
    )
    if not books.is_closed(requests):
        yield f"the books of {requests} requests are not closed: {books}"
    if not 0 <= books.lost - missing <= doubt:
        yield f"{missing} spans are missing, {books.lost} counted as lost"
    if books.lost_lines:
        yield f"{books.lost_lines} lines are lost"
    if not books.dropped or not books.failed:
        yield "the faults cost no spans of both kinds, so nothing was tried: a higher rate is needed"
