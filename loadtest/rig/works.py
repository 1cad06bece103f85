"""The works of the comparison: what is asked of a proxy, and which tool asks it.

A tool gives a report with the same fields whatever it is: requests answered, seconds, what failed,
and latencies where it knows them.
"""

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rig.processes import Failed, need
from rig.servers import HOST

SCRIPT = Path(__file__).resolve().parents[1] / "wrk" / "report.lua"
SHAKER = Path(__file__).with_name("shaker.py")
CONNECTIONS = 64
# Connections of h2load, and streams at a time on each.
H2_CONNECTIONS = 4
H2_STREAMS = 100


@dataclass(frozen=True)
class Work:
    """One kind of work."""

    title: str
    # Which of a proxy's ports: "plain", or TLS with a certificate of this key.
    door: str = "plain"
    tool: str = "wrk"
    # Of wrk: the path, bytes of the request's body, whether connections are kept.
    path: str = "/"
    body_bytes: int = 0
    connection: str = "keep"
    # Of handshakes: the version of TLS, and whether sessions are resumed.
    version: str = "1.3"
    is_resumed: bool = False


def handshakes(version, is_resumed, door="ecdsa"):
    """A connection with one request each."""
    kind = "resumed" if is_resumed else "full"
    key = {"ecdsa": "ECDSA P-256", "rsa": "RSA-2048"}[door]
    title = f"TLS {version}, {kind} handshake and one GET per connection, {key}"
    return Work(title, door, "shaker", version=version, is_resumed=is_resumed)


WORKS = {
    "small": Work(f"small GET, {CONNECTIONS} kept connections"),
    "close": Work(f"small GET, a connection per request, {CONNECTIONS} at a time", connection="close"),
    "large": Work(f"64 KiB response, {CONNECTIONS} kept connections", path="/large"),
    "post": Work(f"POST 16 KiB, {CONNECTIONS} kept connections", body_bytes=16 * 1024),
    "tls-full": handshakes("1.3", is_resumed=False),
    "tls-resumed": handshakes("1.3", is_resumed=True),
    "tls12-full": handshakes("1.2", is_resumed=False),
    "tls12-resumed": handshakes("1.2", is_resumed=True),
    "rsa-full": handshakes("1.3", is_resumed=False, door="rsa"),
    "tls-small": Work(f"small GET over TLS 1.3, {CONNECTIONS} kept connections", "ecdsa"),
    "tls-large": Work(
        f"64 KiB response over TLS 1.3, {CONNECTIONS} kept connections", "ecdsa", path="/large"
    ),
    "h2": Work(
        f"small GET over HTTP/2 and TLS 1.3, {H2_STREAMS} streams on each of {H2_CONNECTIONS} connections",
        "ecdsa",
        "h2load",
    ),
}


def drive(proxy, work, seconds, cores, exactly=None):
    """Does this work on a proxy for so long, or so often, and returns the tool's report."""
    one = WORKS[work]
    command = ["taskset", "-c", ",".join(map(str, sorted(cores)))] if cores else []
    tools = {"wrk": wrk, "h2load": h2load, "shaker": shaker}
    return tools[one.tool](command, proxy.ports[one.door], one, seconds, exactly)


def wrk(command, port, work, seconds, exactly):
    """Requests of HTTP/1.1 on connections of wrk."""
    scheme = "http" if work.door == "plain" else "https"
    command += [need("wrk", "wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "5s"]
    command += ["-H", f"Host: {HOST}", "-s", str(SCRIPT), f"{scheme}://127.0.0.1:{port}{work.path}"]
    command += ["--", str(work.body_bytes), work.connection, *([str(exactly)] if exactly else [])]
    return last_json(run(command, seconds))


def shaker(command, port, work, seconds, exactly):
    """Handshakes of our own client."""
    command += [sys.executable, "-B", str(SHAKER), "--port", str(port), "--host", HOST]
    command += ["--version", work.version, "--seconds", str(seconds)]
    command += ["--exactly", str(exactly)] if exactly else []
    command += ["--resume"] if work.is_resumed else []
    return last_json(run(command, seconds))


def h2load(command, port, work, seconds, exactly):
    """Requests of HTTP/2 on many streams at once."""
    length = ["-n", str(exactly)] if exactly else ["-D", str(seconds)]
    with tempfile.NamedTemporaryFile("r", prefix="hipache-h2load-") as log:
        command += [need("h2load", "nghttp2-client"), "-t1", f"-c{H2_CONNECTIONS}"]
        command += [f"-m{H2_STREAMS}", *length, f"--connect-to=127.0.0.1:{port}"]
        command += [f"--log-file={log.name}", f"https://{HOST}:{port}{work.path}"]
        said = run(command, seconds)
        spans = sorted(int(line.split("\t")[2]) for line in log)
    counts = re.search(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded", said)
    took = re.search(r"^finished in ([\d.]+)(ms|s)", said, re.M)
    if not counts or not took or not spans:
        raise Failed(f"h2load: {said[-2000:]}")
    done, well = map(int, counts.groups())
    return {
        "requests": well,
        "seconds": float(took[1]) / (1000 if took[2] == "ms" else 1),
        "p50_us": spans[len(spans) // 2],
        "p99_us": spans[len(spans) * 99 // 100],
        "bad_status": done - well,
        "socket_errors": 0,
        "timeouts": 0,
    }


def run(command, seconds):
    """What a tool says, once it has ended."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


def last_json(said):
    """The report that a tool prints last."""
    lines = [line for line in said.splitlines() if line.startswith("{")]
    if not lines:
        raise Failed(f"no report: {said}")
    return json.loads(lines[-1])
