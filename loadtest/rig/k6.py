"""Runs a k6 script through a proxy and holds the access log against what k6 says it sent."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from rig import servers
from rig.processes import Crew, Failed, free_port, stop_on_terminate, wait_for_port

SCRIPTS = servers.ROOT / "loadtest" / "k6"
BACKEND = Path(__file__).with_name("backend.py")
# The line of the original, byte for byte in shape; a head that was refused has the request `-`.
LINE = re.compile(
    rb'\S+ - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] '
    rb'"(?:-|[A-Z]+ (?P<target>\S+) HTTP/1\.[01])" \d{1,3} \d+ "[^"]*" "[^"]*" "[^"]*" '
    rb"\d+(?:\.\d{1,3})? (?:\d+(?:\.\d{1,3})?|-)"
)


def k6_binary():
    """k6 as scripts/setup installs it, or the one on the path."""
    own = servers.TARGET / "tools" / "bin" / "k6"
    for candidate in (own, *(Path(p) / "k6" for p in os.environ.get("PATH", "").split(":"))):
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    raise Failed("k6 is missing: run scripts/setup --for test")


def hipache_binary():
    """The newest build of hipache."""
    built = [servers.TARGET / kind / "hipache" for kind in ("debug", "release")]
    built = [path for path in built if path.is_file()]
    if not built:
        raise Failed("hipache is missing: build it with cargo build")
    return max(built, key=lambda path: path.stat().st_mtime)


def start_backends(crew, count):
    """Backends of our own. Returns their ports."""
    ports = []
    for number in range(count):
        port = free_port()
        backend = crew.start(f"backend-{number}", [sys.executable, "-B", BACKEND, port])
        wait_for_port(backend, port)
        ports.append(port)
    return ports


def fill(redis, hosts, backends, special=None):
    """Writes the frontends vhost-0.test … and the special ones into Redis."""
    lines = []
    for number in range(hosts):
        urls = " ".join(f"http://127.0.0.1:{port}" for port in backends)
        lines.append(f"rpush frontend:vhost-{number}.test site-{number} {urls}")
    for host, ports in (special or {}).items():
        urls = " ".join(f"http://127.0.0.1:{port}" for port in ports)
        lines.append(f"rpush frontend:{host} site-{host.partition('.')[0]} {urls}")
    servers.fill_redis(redis, lines)


def run_k6(script, port, environment, crew):
    """Runs one script to its end. Returns k6's exit status and the counts of its summary."""
    status, metrics = summarize_k6(script, port, environment, crew)
    names = ("http_reqs", "ws_sessions", "pings")
    return status, {name: int(metrics.get(name, {}).get("count", 0)) for name in names}


def summarize_k6(script, port, environment, crew, shown=None):
    """Runs one script to its end. Returns k6's exit status and all metrics of its summary.

    `shown` is where k6's own report goes, if not to the terminal.
    """
    summary = crew.directory / "summary.json"
    command = [str(k6_binary()), "run", "--quiet", "--no-usage-report"]
    command += ["--summary-export", str(summary)]
    for name, value in {"HIPACHE_URL": f"http://127.0.0.1:{port}", **environment}.items():
        command += ["-e", f"{name}={value}"]
    command.append(str(SCRIPTS / script))
    status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=shown).returncode
    if not summary.is_file():
        raise Failed(f"k6 ended with status {status} and no summary")
    return status, json.loads(summary.read_text())["metrics"]


def check_log(log, counts):
    """What is wrong with the access log: one line for each request, each in the known shape."""
    lines = log.read_bytes().splitlines()
    expected = counts["http_reqs"] + counts["ws_sessions"] - counts["pings"]
    if len(lines) != expected:
        yield f"{len(lines)} access-log lines for {expected} requests ({counts})"
    targets = set()
    for number, line in enumerate(lines, 1):
        found = LINE.fullmatch(line)
        if found is None:
            yield f"access-log line {number} is malformed: {line.decode(errors='replace')}"
            return
        target = found.group("target")
        if target in targets:
            yield f"two access-log lines for {target.decode(errors='replace')}"
            return
        targets.add(target)


def verdict(status, problems):
    """Prints the problems and gives the exit status: k6's own if that is a failure."""
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    print(f"k6: status {status}; access log: {'wrong' if problems else 'right'}")
    return status or (1 if problems else 0)


def run(body):
    """Runs `body(crew)` with everything cleaned up and failures told in one line."""
    stop_on_terminate()
    try:
        with Crew() as crew:
            return body(crew)
    except KeyboardInterrupt:
        return 130
    except Failed as problem:
        print(f"problem: {problem}", file=sys.stderr)
        return 1


def finish(crew, proxy, status, counts):
    """Stops the proxy, which must end well and with its log complete, and judges the run."""
    ended = crew.stop(proxy.running)
    problems = list(check_log(proxy.log, counts))
    if ended != 0:
        problems.append(f"{proxy.running.name} ended with status {ended}: {proxy.running.said()}")
    return verdict(status, problems)
