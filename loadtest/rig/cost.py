"""`loadtest/telemetry cost`: what logs and traces add to the cost of a request, side by side."""

import statistics
import sys
import time
from dataclasses import dataclass, field

from rig import results
from rig.callgrind import FIRST, instructions_per_request
from rig.measure import cell
from rig.processes import Crew, Failed, need
from rig.servers import start_hipache
from rig.sums import Sink, start_redis_with_route
from rig.works import CONNECTIONS, drive

# Seconds for counting instructions.
COUNT_LIMIT = 330
TITLE = "Results of `loadtest/telemetry cost`"


@dataclass(frozen=True)
class Setup:
    """One way to configure the proxy, and how much more it may cost than another."""

    key: str
    name: str
    server: dict = field(default_factory=dict)
    # The share of requests that is sampled; `None`: no tracing.
    sampled: float | None = None
    # Against which other it is held, and the aim in percent of the request's own cost.
    against: str = "log"
    aim: float | None = None
    endpoint: str = ""

    @property
    def sections(self):
        """The sections of the configuration."""
        if self.sampled is None:
            return {}
        sampler = {"sampler": "parentbased_traceidratio", "samplerArg": self.sampled}
        return {"telemetry": {"endpoint": self.endpoint, "exportDelay": 1, **sampler}}


SETUPS = [
    Setup("none", "no log, no tracing", {"accessLog": "off"}),
    Setup("log", "log", against="none", aim=3.0),
    Setup("unsampled", "log, nothing sampled", sampled=0.0, aim=2.0),
    Setup("one", "log, 1 % sampled", sampled=0.01),
    Setup("all", "log, 100 % sampled", sampled=1.0, aim=17.0),
]


def cost(crew, chosen):
    """One run; gives what is wrong."""
    driver, sink = start_redis_with_route(crew), Sink(crew)
    setups = [Setup(**{**vars(setup), "endpoint": sink.endpoint}) for setup in SETUPS]
    times = cpu_times(setups, driver, chosen)
    # All or none of them: each is held against another.
    counts, problems = {}, []
    try:
        counts = instructions(setups, driver, chosen)
    except Failed as problem:
        problems.append(f"no instructions were counted: {problem}")
    lines = list(section(times, counts, chosen))
    print("", *lines, sep="\n")
    if chosen.save:
        results.save(TITLE, "\n".join(lines))
    # A missed aim is a result and not a failure.
    return problems


def instructions(setups, driver, chosen):
    """Instructions of a request; within a limit, as a machine may be too slow for it."""
    deadline, counts = time.monotonic() + COUNT_LIMIT, {}
    for setup in setups:
        left = deadline - time.monotonic()
        with Crew() as own:
            counts[setup.key] = instructions_per_request(
                own, chosen.binary, driver, chosen.requests, setup, left
            )
        print(f"  {setup.name}: {counts[setup.key]:.0f} instructions", file=sys.stderr)
    return counts


def cpu_times(setups, driver, chosen):
    """CPU microseconds of a request in each round; all proxies stand ready, and take turns."""
    times = {setup.key: [] for setup in setups}
    with Crew() as crew:
        proxies = {
            setup.key: start_hipache(
                crew, chosen.binary, driver, chosen.workers,
                name=setup.key, sections=setup.sections, **setup.server,
            )
            for setup in setups
        }
        for proxy in proxies.values():
            drive(proxy, "small", 1, set())
        for number in range(chosen.rounds):
            print(f"  round {number + 1} of {chosen.rounds}", file=sys.stderr)
            # Another begins each time: what follows on a pause of the machine is not always the same.
            first = number % len(setups)
            for setup in setups[first:] + setups[:first]:
                result = cell(proxies[setup.key], None, "small", chosen.seconds, set())
                if result["errors"]:
                    raise Failed(f"{setup.name}: {result['errors']} requests failed")
                times[setup.key].append(result["cpu_us"])
    return times


def added(setup, values):
    """What a setup adds, in percent of the cost of a request with nothing; a value for each round."""
    rounds = zip(values[setup.key], values[setup.against], values["none"])
    return [100 * (own - against) / base for own, against, base in rounds]


def spread(values):
    """The middle half, as text."""
    if len(values) < 2:
        return "-"
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{low:.1f} to {high:.1f}"


def verdict(setup, percent):
    """Whether the aim is met."""
    if setup.aim is None:
        return "-"
    return f"{'met' if percent < setup.aim else 'MISSED'} (< {setup.aim:g} %)"


def section(times, counts, chosen):
    """The section of loadtest/RESULTS.md."""
    words = [word for word in sys.argv[1:] if word != "--save"]
    yield "Written by the command below; what the columns mean is in [README.md](README.md).\n"
    yield from results.stamp(" ".join(["loadtest/telemetry", *words]))
    yield f"- {chosen.workers} worker(s), Redis driver, small GET, {CONNECTIONS} kept connections, not pinned;"
    yield f"  {chosen.rounds} rounds of {chosen.seconds} s each, taking turns; instructions of {chosen.requests}"
    yield f"  requests after {FIRST} others, one worker"
    seen = {
        "hipache": results.version([str(chosen.binary), "-V"], r"hipache (\S+)"),
        "wrk": results.version([need("wrk", "wrk"), "-v"], r"wrk (\S+)"),
        "valgrind": results.version([need("valgrind", "valgrind"), "--version"], r"valgrind-(\S+)"),
        "Redis": results.version([need("redis-server", "redis-server"), "--version"], r"v=(\S+)"),
    }
    yield "- Versions: " + ", ".join(f"{name} {number}" for name, number in seen.items()) + "\n"
    titles = ["setup", "against", "CPU µs/req", "middle half", "adds %", "middle half"]
    titles += ["aim by CPU", "instructions/req", "adds %", "aim by instructions"]
    yield "| " + " | ".join(titles) + " |"
    yield "| --- | --- |" + " ---: |" * 4 + " --- | ---: | ---: | --- |"
    counted = {key: [count] for key, count in counts.items()}
    for setup in SETUPS:
        own = times[setup.key]
        cells = [setup.name, "-", f"{statistics.median(own):.1f}", spread(own), "-", "-", "-"]
        cells += [f"{counts[setup.key]:.0f}" if counts else "-", "-", "-"]
        if setup.key != "none":
            percents = added(setup, times)
            percent = statistics.median(percents)
            cells[1] = next(other.name for other in SETUPS if other.key == setup.against)
            cells[4:7] = [f"{percent:.1f}", spread(percents), verdict(setup, percent)]
            if counts:
                more = added(setup, counted)[0]
                cells[8:] = [f"{more:.1f}", verdict(setup, more)]
        yield "| " + " | ".join(cells) + " |"
