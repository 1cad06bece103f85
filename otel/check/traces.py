"""Traces as Jaeger gives them back, held against the row and the access-log line of the same id."""

import json
from dataclasses import dataclass, field
from datetime import datetime

from check.outcomes import CLIENTS
from rig.probe import eventually, fetch

SERVER, CLIENT = 2, 3
ERROR = 2
# Log lines have milliseconds.
TOLERANCE = 0.0011
KNOWN = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")


@dataclass
class Span:
    """What we read of a span."""

    id: str
    parent: str
    name: str
    kind: int
    status: int
    start: float
    end: float
    attributes: dict = field(default_factory=dict)
    events: list = field(default_factory=list)
    resource: dict = field(default_factory=dict)


def value(written):
    """An `AnyValue` of OTLP's JSON."""
    kind, content = next(iter(written.items()), ("", None))
    return int(content) if kind == "intValue" else content


def attributes(written):
    """A list of `KeyValue`."""
    return {entry["key"]: value(entry.get("value", {})) for entry in written or []}


def number(written, names):
    """An enumeration, which JSON may tell by number or by name."""
    return names.index(written) if written in names else int(written or 0)


KINDS = ("", "SPAN_KIND_INTERNAL", "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT")
CODES = ("", "STATUS_CODE_OK", "STATUS_CODE_ERROR")


def read(stack, trace):
    """The spans of a trace in Jaeger, the earliest first; empty while there are none."""
    status, body = fetch(stack.url("jaeger", f"/api/v3/traces/{trace}"))
    if status != 200:
        return []
    spans = []
    for group in json.loads(body).get("result", {}).get("resourceSpans", []):
        resource = attributes(group.get("resource", {}).get("attributes"))
        for scope in group.get("scopeSpans", []):
            spans += [span_of(written, resource) for written in scope.get("spans", [])]
    return sorted(spans, key=lambda span: (span.start, -span.end))


def span_of(written, resource):
    """One span."""
    return Span(
        id=written["spanId"],
        parent=written.get("parentSpanId", ""),
        name=written.get("name", ""),
        kind=number(written.get("kind"), KINDS),
        status=number(written.get("status", {}).get("code"), CODES),
        start=int(written["startTimeUnixNano"]) / 1e9,
        end=int(written["endTimeUnixNano"]) / 1e9,
        attributes=attributes(written.get("attributes")),
        events=[event["name"] for event in sorted(written.get("events", []), key=when)],
        resource=resource,
    )


def when(event):
    """The time of an event: Jaeger keeps no order."""
    return int(event["timeUnixNano"])


def wait_for(stack, trace, limit=15.0):
    """The spans of a trace, once the SERVER span is there: all of a request leave together."""
    whole = lambda: has_server(read(stack, trace))  # noqa: E731
    return eventually(f"trace {trace} in Jaeger", limit, whole)


def has_server(spans):
    """The spans if one of them is the server's."""
    return spans if any(span.kind == SERVER for span in spans) else None


def expect(what, found, expected):
    """A difference, if there is one."""
    if found != expected:
        yield f"{what} is {found!r}, expected {expected!r}"


def near(what, found, expected):
    """A difference in time, if there is one."""
    if abs(found - expected) > TOLERANCE:
        yield f"{what} is {found:.6f}, the line says {expected:.6f}"


def judge(row, target, sent, line, spans):
    """Everything that is wrong with a trace."""
    servers = [span for span in spans if span.kind == SERVER]
    lookups = [span for span in spans if "db.system.name" in span.attributes]
    attempts = [span for span in spans if span.kind == CLIENT and span not in lookups]
    if len(servers) != 1 or len(servers) + len(lookups) + len(attempts) != len(spans):
        yield f"not one SERVER span and CLIENT spans: {[(s.kind, s.name) for s in spans]}"
        return
    server = servers[0]
    yield from judge_server(row, target, sent, line, server)
    yield from expect("number of lookup spans", len(lookups), int(row.asks_redis))
    for lookup in lookups:
        yield from judge_lookup(lookup, server, line)
    yield from expect("number of attempts", len(attempts), line["attempts"])
    for index, attempt in enumerate(attempts):
        yield from judge_attempt(attempt, index, row, server)
    yield from judge_attempts(row, line, attempts)
    if row.judge:
        yield from row.judge(sent, spans)


def judge_server(row, target, sent, line, span):
    """The SERVER span: against the row, and against the line."""
    found, end = span.attributes, line["end"]
    method = row.method if row.method in KNOWN else "_OTHER"
    path, _, query = target.partition("?")
    if row.query:
        query = query.replace(row.query, row.shown_query)
    failed = end != "ok" and not row.is_tunnel
    by_status = str(line["status"]) if not failed and line["status"] >= 500 else None
    is_error = (failed or by_status) and end not in CLIENTS and not 400 <= line["status"] < 500
    yield from expect("parent", span.parent, sent.span)
    yield from expect("name", span.name, method if row.method in KNOWN else "HTTP")
    yield from expect("service.name", span.resource.get("service.name"), "hipache")
    yield from expect("status", span.status, ERROR if is_error else 0)
    wanted = {
        "http.request.method": method,
        "http.request.method_original": row.method if row.method not in KNOWN else None,
        "url.path": path,
        "url.query": query,
        "url.scheme": "http",
        "server.address": row.host if row.name != "retry, then ok" else line["host"],
        "client.address": line["client"],
        "network.protocol.version": "1.1",
        "user_agent.original": "otel-verify/1",
        "http.response.status_code": row.status or None,
        "hipache.end": end,
        "hipache.vhost": line["vhost"] if line["frontend"] else None,
        "error.type": end if failed else by_status,
    }
    for key, expected in wanted.items():
        yield from expect(key, found.get(key), expected)
    yield from near("duration", span.end - span.start, line["duration"])
    yield from near("start", span.start, datetime.fromisoformat(line["time"]).timestamp())
    yield from expect("events", span.events, ["upgrade", "tunnel_end"] if row.is_tunnel else [])


def judge_lookup(span, server, line):
    """The CLIENT span of the question to Redis."""
    yield from expect("name of the lookup", span.name, "MULTI")
    yield from expect("kind of the lookup", span.kind, CLIENT)
    yield from expect("parent of the lookup", span.parent, server.id)
    yield from expect("db.system.name", span.attributes["db.system.name"], "redis")
    yield from expect("db.query.text", span.attributes.get("db.query.text"), None)
    failed = line["end"] == "redis_unavailable"
    yield from expect("status of the lookup", span.status, ERROR if failed else 0)
    yield from expect("error of the lookup", "error.type" in span.attributes, failed)
    yield from near("duration of the lookup", span.end - span.start, line["lookup_time"])
    yield from judge_within(span, server)


def judge_attempt(span, index, row, server):
    """The CLIENT span of one try."""
    what = f"attempt {index}"
    yield from expect(f"name of {what}", span.name, server.name)
    yield from expect(f"parent of {what}", span.parent, server.id)
    found = span.attributes
    yield from expect(f"resend_count of {what}", found.get("http.request.resend_count"), index or None)
    for key in ("http.request.method", "server.address", "server.port", "url.full"):
        if key not in found:
            yield f"{what} has no {key}"
    if "secret" in found.get("url.full", ""):
        yield f"{what} tells a secret: {found['url.full']}"
    if row.attempts is not None and index < len(row.attempts):
        failure = row.attempts[index]
        status = found.get("http.response.status_code")
        error = failure or (str(status) if status and status >= 400 else None)
        yield from expect(f"error.type of {what}", found.get("error.type"), error)
        yield from expect(f"status of {what}", span.status, ERROR if error else 0)
    yield from judge_within(span, server)


def judge_attempts(row, line, attempts):
    """All tries together, against the line."""
    if row.attempts is not None:
        yield from expect("number of attempts of the row", len(attempts), len(row.attempts))
    if row.ends[0] in CLIENTS:
        found = {span.status for span in attempts}
        yield from expect("status of the cancelled attempts", found, {0})
    if attempts:
        last = attempts[-1].attributes
        found = last.get("hipache.backend.id")
        yield from expect("backend of the last attempt", found, line["backend_id"])


def judge_within(span, server):
    """A child lies within its parent, a microsecond of rounding apart."""
    if span.start < server.start - 2e-6 or span.end > server.end + 2e-6:
        yield f"{span.name} {span.id} is not within the SERVER span"
