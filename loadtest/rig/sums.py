"""`loadtest/telemetry sums`: every request is a line, every span is accounted for, at full speed."""

import json
import sys
from pathlib import Path

from rig import servers
from rig.books import closed
from rig.measure import errors, line_count
from rig.probe import fetch
from rig.processes import Failed, free_port, wait_for_port
from rig.works import drive

SINK = Path(__file__).with_name("sink.py")
# wrk gives up then; a rate that a machine this slow would need is no full speed.
WRK_LIMIT = 420


class Sink:
    """The receiver that counts."""

    def __init__(self, crew):
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        running = crew.start("sink", [sys.executable, "-B", SINK, self.port])
        wait_for_port(running, self.port)

    def spans(self):
        """The spans that came so far."""
        status, body = fetch(f"{self.endpoint}/count")
        if status != 200:
            raise Failed(f"the sink answers {status}: {body[:200]!r}")
        return json.loads(body)["spans"]


def start_redis_with_route(crew, host=servers.HOST):
    """Redis with one frontend, before one backend of nginx. Returns the URL of the driver."""
    backend = servers.start_backend(crew)
    _, port = servers.start_redis(crew)
    servers.fill_redis(port, [f"rpush frontend:{host} bench http://127.0.0.1:{backend}"])
    return f"redis://127.0.0.1:{port}"


def sums(crew, chosen):
    """One run; gives what is wrong."""
    driver, sink = start_redis_with_route(crew), Sink(crew)
    proxy = servers.start_hipache(
        crew,
        chosen.binary,
        driver,
        chosen.workers,
        sections={"admin": {}, "telemetry": {"endpoint": sink.endpoint}},
    )
    report = drive(proxy, "small", WRK_LIMIT, set(), chosen.requests)
    books = closed(proxy, report["requests"], 30)
    ended = crew.stop(proxy.running)
    lines, received = line_count(proxy.log), sink.spans()
    print(
        f"{report['requests']} requests in {report['seconds']:.1f} s"
        f" ({report['requests'] / report['seconds']:.0f}/s, {chosen.workers} workers)\n"
        f"lines: {lines} in the file; counted: {books.written} written, {books.lost_lines} lost;"
        f" {books.exchanges} exchanges\n"
        f"spans: {books.queued} queued; {books.exported} exported, {books.dropped} dropped,"
        f" {books.failed} failed; {received} received"
    )
    wanted = [
        ("hipache ends well: status", ended, 0),
        ("requests answered", report["requests"], chosen.requests),
        ("requests failed", errors(report), 0),
        ("lines in the file", lines, report["requests"]),
        ("lines counted as written", books.written, lines),
        ("lines dropped, failed, filtered or lost", books.lost_lines, 0),
        ("exchanges", books.exchanges, report["requests"]),
        ("spans exported, dropped or failed", books.settled, books.queued),
        ("spans lost", books.lost, 0),
        ("spans received", received, books.exported),
    ]
    return [f"{what}: {found}, expected {expected}" for what, found, expected in wanted if found != expected]
