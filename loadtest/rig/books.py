"""What the proxy counts of lines and spans, and whether it adds up."""

import time
from dataclasses import dataclass

from rig.probe import scrape, total

LOST_LINES = ("dropped", "failed", "filtered", "lost_at_death")


@dataclass(frozen=True)
class Books:
    """The counters of one scrape."""

    exchanges: int
    written: int
    lost_lines: int
    # Spans that must have been queued while everything is sampled: one a request, one a lookup that
    # asked Redis, one an attempt. Made from other counters than the spans' own.
    queued: int
    exported: int
    dropped: int
    failed: int

    @classmethod
    def read(cls, proxy):
        """Asks the admin port."""
        samples = scrape(proxy.admin)

        def count(name, **labels):
            return int(total(samples, name, **labels))

        lines, spans = "hipache_access_log_lines_total", "hipache_spans_total"
        exchanges = count("hipache_exchanges_total")
        lookups = count("hipache_route_lookup_duration_seconds_count", source="redis")
        attempts = count("hipache_upstream_attempts_started_total")
        return cls(
            exchanges=exchanges,
            written=count(lines, outcome="written"),
            lost_lines=sum(count(lines, outcome=outcome) for outcome in LOST_LINES),
            queued=exchanges + lookups + attempts,
            **{outcome: count(spans, outcome=outcome) for outcome in ("exported", "dropped", "failed")},
        )

    @property
    def settled(self):
        """Spans of which it is known what became of them."""
        return self.exported + self.dropped + self.failed

    @property
    def lost(self):
        """Spans that the proxy counts as lost."""
        return self.dropped + self.failed

    def is_closed(self, requests):
        """Whether so many requests are finished, and nothing of theirs is on its way any more."""
        lines = self.written + self.lost_lines
        return requests == self.exchanges == lines and self.queued == self.settled


def closed(proxy, requests, limit):
    """The books once they are closed, or as they are when the limit is over."""
    deadline = time.monotonic() + limit
    while not (books := Books.read(proxy)).is_closed(requests) and time.monotonic() < deadline:
        time.sleep(0.2)
    return books
