"""Metrics: against the access log, through Prometheus, in the dashboard, and the way back to a trace."""

import json
import time
import urllib.parse
from collections import Counter

from check.stack import OTEL
from check.traces import read
from rig import probe
from rig.probe import eventually, fetch, total
from rig.processes import Failed

DASHBOARD = OTEL / "grafana" / "dashboards" / "hipache.json"
DURATION = "http_server_request_duration_seconds"
# What stands for Grafana's variables. Traffic of a test is a minute old at most.
VARIABLES = {"$__rate_interval": "1m", "$job": "hipache", "$instance": ".*"}


def scrape(stack):
    """All samples of the admin port."""
    return probe.scrape(stack.ports["admin"])


def against_log(samples, lines):
    """Where metrics and access log disagree."""
    # Somebody closed each tunnel; over HTTP/2 one begins with a 200 like any request.
    requests = [line for line in lines if line["tunnel_closed_by"] is None]
    pairs = [("hipache_exchanges_total", len(lines), {})]
    pairs += [("hipache_access_log_lines_total", len(lines), {"outcome": "written"})]
    pairs += [("hipache_tunnels_total", len(lines) - len(requests), {})]
    pairs += [(f"{DURATION}_count", len(requests), {})]
    pairs += [("hipache_upstream_attempts_total", sum(line["attempts"] or 0 for line in lines), {})]
    pairs += [("hipache_sent_bytes_total", sum(line["bytes_sent"] for line in lines), {})]
    for end, count in Counter(line["end"] for line in lines).items():
        pairs.append(("hipache_exchanges_total", count, {"end": end}))
    # 499 stands in the log alone, for a client that left before it was sent a status.
    statuses = Counter(str(line["status"]) for line in requests if line["status"] not in (0, 499))
    for status, count in statuses.items():
        pairs.append((f"{DURATION}_count", count, {"http_response_status_code": status}))
    for name, expected, labels in pairs:
        found = total(samples, name, **labels)
        if found != expected:
            yield f"{name} {labels} is {found:g}, the log says {expected}"
    seconds = sum(line["duration"] for line in requests)
    found = total(samples, f"{DURATION}_sum")
    if abs(found - seconds) > 0.001 * len(requests):
        yield f"{DURATION}_sum is {found:g}, the log says {seconds:g}"


def ask(stack, query):
    """What Prometheus says to a query: its series, or an error."""
    form = urllib.parse.urlencode({"query": query}).encode()
    status, body = fetch(stack.url("prometheus", "/api/v1/query"), form)
    answer = json.loads(body) if body[:1] == b"{" else {}
    if status != 200:
        raise Failed(f"{query}: {answer.get('error', body[:200])}")
    return answer["data"]["result"]


def dashboard_queries():
    """Panel and query, with Grafana's variables filled in."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, text in VARIABLES.items():
                query = query.replace(name, text)
            yield panel["title"], query


def silent_panels(stack):
    """Queries of the dashboard that return nothing; rules need a moment to be evaluated."""
    deadline = time.monotonic() + 15
    silent = list(dashboard_queries())
    while silent and time.monotonic() < deadline:
        silent = [(title, query) for title, query in silent if not ask(stack, query)]
        time.sleep(0.5)
    for title, query in silent:
        yield f"panel {title!r} has no data: {query}"


def exemplar_problems(stack):
    """Whether an exemplar leads to a trace in Jaeger."""
    form = urllib.parse.urlencode({"query": f"{DURATION}_bucket", "start": "0", "end": "9999999999"})
    ids = eventually("an exemplar in Prometheus", 30, lambda: exemplar_ids(stack, form))
    for trace in ids:
        if not read(stack, trace):
            yield f"the trace {trace} of an exemplar is not in Jaeger"


def exemplar_ids(stack, form):
    """The trace ids of all exemplars."""
    status, body = fetch(stack.url("prometheus", f"/api/v1/query_exemplars?{form}"))
    found = json.loads(body)["data"] if status == 200 else []
    return {one["labels"]["trace_id"] for series in found for one in series["exemplars"]}


def wait_for_scrapes(stack, end):
    """Waits until Prometheus has seen this end twice in a row: enough for a rate."""
    query = f'min_over_time(hipache_exchanges_total{{end="{end}"}}[11s]) > 0'
    eventually(f"two scrapes with the end {end}", 40, lambda: ask(stack, query))
