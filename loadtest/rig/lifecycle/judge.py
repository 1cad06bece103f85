"""Holds the sinks against each other and against what the clients saw."""

import json

KEYS = {"target", "status", "end", "span_id", "pid", "worker", "duration"}
SHOWN = 5


class Lines:
    """The access log, strictly parsed."""

    def __init__(self, path):
        self.problems = []
        self.targets = {}
        self.spans = set()
        self.count = 0
        with path.open("rb") as log:
            for number, raw in enumerate(log, 1):
                self.take(number, raw)

    def take(self, number, raw):
        """One line."""
        self.count += 1
        try:
            line = json.loads(raw)
            if not raw.endswith(b"}\n") or not KEYS <= line.keys():
                raise ValueError("not a whole line, or without some of its fields")
        except ValueError as problem:
            self.problems.append(f"access-log line {number}: {problem}: {raw[:200]!r}")
            return
        self.targets.setdefault(line["target"], []).append(line["end"])
        if line["span_id"]:
            self.spans.add(line["span_id"])


def lines_against_clients(lines, tally):
    """One line for each request that a client finished, and none that nobody sent."""
    yield from lines.problems[:SHOWN]
    failed = {failure.target for failure in tally.failures}
    missing = [target for target in tally.started - failed if target not in lines.targets]
    unknown = [target for target in lines.targets if target not in tally.started]
    twice = [target for target, ends in lines.targets.items() if len(ends) > 1]
    bad = {t: e for t, e in lines.targets.items() if e != ["ok"] and t not in failed}
    for what, targets in (
        ("without an access-log line", missing),
        ("logged but never sent", unknown),
        ("logged twice", twice),
        ("served, but logged with another end than ok", list(bad.items())),
    ):
        if targets:
            yield f"{len(targets)} requests {what}, such as {targets[:SHOWN]}"


def spans_against_lines(spans, lines):
    """A SERVER span for each line and the other way round."""
    if missing := lines.spans - spans:
        yield f"{len(missing)} access-log lines have no span, such as {sorted(missing)[:SHOWN]}"
    if unknown := spans - lines.spans:
        yield f"{len(unknown)} spans have no access-log line, such as {sorted(unknown)[:SHOWN]}"
    if not spans:
        yield "no span came at all"


def counters_balance(samples, lines):
    """Exchanges finished are lines written and lines counted as lost; and the file agrees."""
    exchanges = samples.total("hipache_exchanges_total")
    outcomes = {
        outcome: samples.total("hipache_access_log_lines_total", outcome=outcome)
        for outcome in ("written", "dropped", "failed", "filtered", "lost_at_death")
    }
    if sum(outcomes.values()) != exchanges:
        yield f"{exchanges} exchanges, but lines {outcomes}"
    if outcomes["written"] != lines.count:
        yield f"{outcomes['written']} lines counted as written, {lines.count} are in the file"


def spans_made(samples):
    """One for each exchange, each attempt, and each wait for Redis: all are exported here."""
    made = samples.total("hipache_exchanges_total")
    made += samples.total("hipache_upstream_attempts_total")
    return made + samples.total("hipache_route_lookup_duration_seconds_count", source="redis")


def nothing_lost(samples):
    """No counter of losses moved."""
    for name in ("hipache_access_log_lines_total", "hipache_spans_total"):
        for outcome in ("dropped", "failed", "lost_at_death"):
            if lost := samples.total(name, outcome=outcome):
                yield f"{name} {outcome} is {lost}"
