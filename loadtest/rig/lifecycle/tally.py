"""What the clients saw: every request by its name, every failure with its cause and its connection."""

import time
from collections import Counter
from dataclasses import dataclass

from rig.lifecycle.wire import CAUSES, RESET, REFUSED

FAILURES_SHOWN = 10


@dataclass
class Failed:
    """One failed request."""

    kind: str
    target: str
    cause: str
    detail: str
    port: int
    opened: float
    at: float

    def __str__(self):
        return f"{self.kind} {self.target} from port {self.port}: {self.cause} ({self.detail})"


class Tally:
    """All requests of a run."""

    def __init__(self):
        self.number = 0
        self.started = set()
        self.finished = Counter()
        self.failures = []
        self.slowest = Counter()

    def target(self, path):
        """A target that no other request has, and notes that it is about to be sent."""
        self.number += 1
        target = f"{path}?n={self.number}"
        self.started.add(target)
        return target

    def success(self, kind, began):
        """A request was served as it should be."""
        self.finished[kind] += 1
        self.slowest[kind] = max(self.slowest[kind], time.monotonic() - began)

    def failure(self, kind, target, problem, wire):
        """A request failed."""
        port, opened = (wire.port, wire.opened) if wire else (0, time.monotonic())
        now = time.monotonic()
        self.failures.append(Failed(kind, target, problem.cause, str(problem), port, opened, now))

    @property
    def served(self):
        """Requests that were served."""
        return self.finished.total()

    def causes(self):
        """How often each cause was seen."""
        seen = Counter(failure.cause for failure in self.failures)
        return {cause: seen[cause] for cause in CAUSES}

    def problems(self):
        """All failures, the first ones in full."""
        for failure in self.failures[:FAILURES_SHOWN]:
            yield str(failure)
        if len(self.failures) > FAILURES_SHOWN:
            yield f"... and {len(self.failures) - FAILURES_SHOWN} further failed requests"

    def rows(self):
        """What a table says of it."""
        causes = self.causes()
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.finished.items()))
        slowest = max(self.slowest.values(), default=0)
        yield "requests served", f"{self.served} ({kinds})"
        yield "refused, reset, failed in all", (
            f"{causes[REFUSED]}, {causes[RESET]}, {len(self.failures)}"
        )
        others = {cause: count for cause, count in causes.items() if count}
        if others:
            yield "causes", ", ".join(f"{cause} {count}" for cause, count in others.items())
        yield "slowest request", f"{slowest:.2f} s (slow by design: up to its own length)"
