"""The proxy before all of it: sends every row of the table and holds the sinks against each other."""

from check import metrics, outcomes, traces
from rig.probe import eventually, total
from rig.processes import Failed


def send_all(stack):
    """Sends the rows in their order. Returns (row, target, sent); says what the client saw wrong."""
    done, problems = [], []
    for number, row in enumerate(outcomes.ROWS):
        target = row.target(number)
        try:
            sent = row.send(stack, row, target)
        except (OSError, Failed) as problem:
            problems.append(f"{row.name}: not sent: {problem}")
            continue
        done.append((row, target, sent))
        if sent.status != row.status:
            problems.append(f"{row.name}: the client saw {sent.status}, expected {row.status}")
    return done, problems


def judge_row(stack, row, target, sent):
    """The line and the trace of one request."""
    try:
        line = stack.line(sent.trace)
        if line["end"] not in row.ends:
            yield f"the line says {line['end']}, expected {' or '.join(row.ends)}"
        if line["target"] != target:
            # `sig` is masked in the log, too.
            if not row.query or "secret" in line["target"]:
                yield f"the line says {line['target']}, asked for was {target}"
        spans = traces.wait_for(stack, sent.trace)
        yield from traces.judge(row, target, sent, line, spans)
    except (Failed, KeyError, TypeError, ValueError) as problem:
        yield f"{type(problem).__name__}: {problem}"


def warm_up(stack):
    """A little traffic before all else: a series that is first seen at its last value has no rate."""
    outcomes.prepare(stack)
    for row in outcomes.ROWS:
        if row.name in ("ok", "WebSocket"):
            row.send(stack, row, row.path)


def log_and_metrics(stack):
    """Metrics equal the log, once every line is written."""

    def is_whole():
        counted = total(metrics.scrape(stack), "hipache_exchanges_total")
        return counted == len(stack.lines())

    try:
        eventually("as many log lines as exchanges", 10, is_whole)
    except Failed as problem:
        yield str(problem)
    yield from metrics.against_log(metrics.scrape(stack), stack.lines())


def sinks_agree(stack):
    """Number of traces in Jaeger and spans exported."""
    missing = [line["trace_id"] for line in stack.lines() if line.get("trace_id")
               and not traces.read(stack, line["trace_id"])]
    if missing:
        yield f"{len(missing)} lines have no trace in Jaeger, such as {missing[0]}"
    samples = metrics.scrape(stack)
    ended, exported = (
        total(samples, "hipache_spans_total", **labels) for labels in ({}, {"outcome": "exported"})
    )
    if exported != ended or not ended:
        yield f"{exported:g} of {ended:g} spans were exported"
