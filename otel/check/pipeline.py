"""What needs no proxy: the files of otel/ are valid, and what is sent arrives."""

import json
import secrets
import subprocess
import time

from check import metrics
from check.stack import OTEL, TempoStandIn
from check.traces import SERVER, wait_for
from rig.collector import tool
from rig.probe import eventually, fetch
from rig.processes import need


def run(*command):
    """A command that must succeed; gives what it said if it did not."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        yield f"{command[0]} {command[1]}: {(done.stdout + done.stderr).strip()[-1500:]}"


def files():
    """Every file of otel/ that has a program which can judge it."""
    promtool = need("promtool", "prometheus")
    yield from run(promtool, "check", "rules", OTEL / "rules.yml")
    yield from run(promtool, "check", "config", OTEL / "prometheus.yml")
    yield from run(tool("otelcol"), "validate", "--config", OTEL / "collector.yaml")
    panels = json.loads(metrics.DASHBOARD.read_text())["panels"]
    if len({panel["id"] for panel in panels}) != len(panels):
        yield "two panels of the dashboard have one id"


def made_span(trace, span):
    """A request to the Collector with one SERVER span, in OTLP's JSON."""
    now = time.time_ns()
    text = lambda key, value: {"key": key, "value": {"stringValue": value}}  # noqa: E731
    made = {
        "traceId": trace,
        "spanId": span,
        "name": "GET",
        "kind": SERVER,
        "startTimeUnixNano": str(now - 12_000_000),
        "endTimeUnixNano": str(now),
        "attributes": [text("url.path", "/made"), text("hipache.end", "refused")],
        "status": {"code": 2},
        "events": [{"timeUnixNano": str(now), "name": "upgrade"}],
    }
    resource = {"attributes": [text("service.name", "otel-verify")]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [made]}]}]}


def send(stack, signal, message):
    """Sends a message to the Collector."""
    body = json.dumps(message).encode()
    url = stack.url("otlp_http", f"/v1/{signal}")
    status, answer = fetch(url, body, {"Content-Type": "application/json"})
    if status != 200:
        yield f"the Collector answers {status} to {signal}: {answer[:200]!r}"


def span_arrives(stack):
    """A span goes through the Collector to Jaeger and to Tempo, and comes back whole."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    yield from send(stack, "traces", made_span(trace, span))
    found = wait_for(stack, trace)[0]
    expected = (span, "GET", SERVER, 2, ["upgrade"], "refused", "otel-verify")
    read = (found.id, found.name, found.kind, found.status, found.events)
    read += (found.attributes.get("hipache.end"), found.resource.get("service.name"))
    if read != expected:
        yield f"the span came back as {read}, expected {expected}"
    if abs(found.end - found.start - 0.012) > 1e-6:
        yield f"the span of 12 ms came back with {found.end - found.start:.6f} s"
    eventually("the Collector to send to Tempo", 10, lambda: TempoStandIn.taken)


def metric_arrives(stack):
    """A pushed metric goes through the Collector to Prometheus, as job "otlp"."""
    point = {"asInt": "7", "timeUnixNano": str(time.time_ns())}
    point["startTimeUnixNano"] = str(time.time_ns() - 10**9)
    total = {"dataPoints": [point], "aggregationTemporality": 2, "isMonotonic": True}
    scope = {"metrics": [{"name": "verify.made", "sum": total}]}
    yield from send(stack, "metrics", {"resourceMetrics": [{"scopeMetrics": [scope]}]})
    query = 'verify_made_total{job="otlp"}'
    series = eventually("a pushed metric in Prometheus", 20, lambda: metrics.ask(stack, query))
    if series[0]["value"][1] != "7":
        yield f"{query} is {series[0]['value'][1]}, expected 7"


def prometheus_works(stack):
    """The Collector is scraped, rules are evaluated, every query of the dashboard is understood."""
    up = 'up{job="collector"} == 1'
    eventually("a scrape of the Collector", 20, lambda: metrics.ask(stack, up))
    taken = "otelcol_receiver_accepted_spans"
    eventually(f"{taken} in Prometheus", 20, lambda: metrics.ask(stack, taken))
    status, body = fetch(stack.url("prometheus", "/api/v1/rules"))
    for group in json.loads(body)["data"]["groups"] if status == 200 else []:
        for rule in group["rules"]:
            if rule.get("lastError"):
                yield f"rule {rule['name']}: {rule['lastError']}"
    queries = list(metrics.dashboard_queries())
    for _, query in queries:
        metrics.ask(stack, query)
    if len(queries) < 40:
        yield f"only {len(queries)} queries found in the dashboard"
