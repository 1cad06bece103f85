"""The table of outcomes: what is sent, and how each sink must tell it.

A row says what cannot be read off the access-log line. Everything else (times, backend, number of
attempts) is held against the line of the same trace id by `traces`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from check import client
from rig.processes import Failed, free_port

# Ends that are the client's doing: a SERVER span is no error of the server then.
CLIENTS = ("client_gone", "client_timeout")


@dataclass
class Outcome:
    """One row."""

    name: str
    # Sends it, given the stack and the target to ask for.
    send: Callable
    host: str | None
    path: str
    # What the client sees; 0: no answer.
    status: int
    # Words of the end, one of which it must be.
    ends: tuple = ("ok",)
    method: str = "GET"
    # Whether Redis was asked for this request: a CLIENT span of its own.
    asks_redis: bool = True
    # Failures of the attempts in order, `None` for one that got an answer; not checked if left out.
    attempts: tuple | None = None
    query: str = ""
    # The query as the span must show it.
    shown_query: str = ""
    is_tunnel: bool = False
    # Whether what came back is right: gets what was sent, the spans.
    judge: Callable | None = None

    def target(self, number):
        """The request target: one of its own for each row."""
        return f"{self.path}?row={number}" + (f"&{self.query}" if self.query else "")


def plain(stack, row, target, **options):
    """A whole request."""
    return client.plain(stack.ports["proxy"], row.host, row.method, target, **options)


def leave(stack, row, target):
    """A client that resets its connection after 0.3 s."""
    return client.leaving(stack.ports["proxy"], row.host, row.method, target, 0.3)


def websocket(stack, row, target):
    """A WebSocket that says hi."""
    return client.websocket(stack.ports["proxy"], row.host, target)


def retried(stack, row, target):
    """A host with one backend that refuses and one that answers, until the first was asked first."""
    for number in range(20):
        host = f"retry-{number}.test"
        stack.route(host, stack.refusing, stack.backends[0])
        sent = client.plain(stack.ports["proxy"], host, row.method, target)
        line = stack.line(sent.trace)
        if line["attempts"] == 2:
            return sent
        stack.extra.append(sent.trace)
    raise Failed("of 20 requests none met the backend that refuses first")


def without_redis(stack, row, target):
    """Redis is gone."""
    stack.crew.stop(stack.redis_process)
    return plain(stack, row, target)


def passed_on(sent, spans):
    """The backend was told our attempt as parent, in the trace of the client."""
    seen = sent.header("x-seen-traceparent")
    if seen is None:
        seen = json.loads(sent.body or b"{}").get("traceparent", "")
    attempt = [span for span in spans if "url.full" in span.attributes]
    expected = f"00-{sent.trace}-{attempt[-1].id if attempt else '?'}-01"
    if seen != expected:
        yield f"the backend saw traceparent {seen!r}, expected {expected!r}"


REFUSED, CLOSED = "connection_refused", "connection_terminated"
SLOW_BODY = {"Content-Length": "100"}

ROWS = [
    Outcome("ok", plain, "ok.test", "/bytes/10", 200, attempts=(None,)),
    Outcome("context passed on", plain, "ok.test", "/context", 200, attempts=(None,), judge=passed_on),
    Outcome("body both ways", partial(plain, body=b"x" * 5000), "ok.test", "/echo", 200, method="POST"),
    Outcome("HEAD", plain, "ok.test", "/bytes/10", 200, method="HEAD"),
    Outcome("unknown method", plain, "ok.test", "/bytes/10", 200, method="BREW"),
    Outcome("wildcard", plain, "a.wild.test", "/bytes/10", 200),
    Outcome("secret in the query", plain, "ok.test", "/bytes/10", 200,
            query="sig=secret&plain=1", shown_query="sig=REDACTED&plain=1"),
    Outcome("404 of the backend", plain, "ok.test", "/status/404", 404, attempts=(None,)),
    Outcome("500 of the backend", plain, "ok.test", "/status/500", 500, attempts=(None,)),
    Outcome("retry, then ok", retried, "retry.test", "/bytes/10", 200, attempts=(REFUSED, None)),
    Outcome("refused", plain, "refused.test", "/x", 502, (REFUSED,), attempts=(REFUSED,)),
    Outcome("closed without an answer", plain, "closing.test", "/close", 502, (CLOSED,), attempts=(CLOSED,)),
    Outcome("broken off mid-body", plain, "ok.test", "/short", 200, (CLOSED,)),
    Outcome("not HTTP", plain, "ok.test", "/garbage", 502, ("http_protocol_error",)),
    Outcome("silent backend", plain, "ok.test", "/slow/5000", 504, ("connection_read_timeout",),
            attempts=("connection_read_timeout",)),
    Outcome("no such name", plain, "unnamed.test", "/x", 502, ("dns_error", "dns_timeout")),
    Outcome("entry that is no URL", plain, "wrong.test", "/x", 502, ("invalid_backend",)),
    Outcome("no frontend", plain, "nobody.test", "/x", 400, ("no_such_host",), attempts=()),
    Outcome("empty frontend", plain, "empty.test", "/x", 502, ("no_live_backend",), attempts=()),
    Outcome("all backends dead", plain, "dead.test", "/x", 502, ("no_live_backend",), attempts=()),
    Outcome("no Host", plain, None, "/x", 400, ("no_host",), asks_redis=False, attempts=()),
    Outcome("client gone", leave, "ok.test", "/slow/900", 0, ("client_gone",)),
    Outcome("client stops sending", partial(plain, headers=SLOW_BODY, body=b"ten bytes."), "ok.test",
            "/echo", 408, ("client_timeout",), method="POST"),
    Outcome("WebSocket", websocket, "ok.test", "/ws", 101, attempts=(None,), is_tunnel=True,
            judge=passed_on),
    # The last: Redis does not come back.
    Outcome("Redis down", without_redis, "fresh.test", "/x", 503, ("redis_unavailable",), attempts=()),
]


def prepare(stack):
    """Writes the frontends that the rows ask for."""
    stack.refusing = free_port()
    stack.extra = []
    stack.route("ok.test", stack.backends[0])
    # A connection that was never used: on a kept one, the request would be sent once more.
    stack.route("closing.test", stack.backends[1])
    stack.route("*.wild.test", stack.backends[0])
    stack.route("refused.test", stack.refusing)
    stack.route("unnamed.test", "http://nobody.invalid:80")
    stack.route("wrong.test", "not-a-url")
    stack.route("empty.test")
    stack.route("dead.test", *stack.backends)
    stack.mark_dead("dead.test", 0, 1)
