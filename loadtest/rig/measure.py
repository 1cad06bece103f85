"""One cell of the comparison: one work on one proxy, with what the proxy spent on it."""

import re
import subprocess
import tempfile
import time
from pathlib import Path

from rig.processes import Failed
from rig.works import drive


def errors(report):
    """Requests that the tool saw fail."""
    return report["bad_status"] + report["socket_errors"] + report["timeouts"]


def line_count(path):
    """Lines in a file that may be large."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def unlogged(proxy, requests, limit=4.0):
    """How many of these requests have no line, once a buffering writer had its time.

    Requests in flight when the tool ends are logged but not reported, so a few more lines are right.
    """
    deadline = time.monotonic() + limit
    while (lines := line_count(proxy.log)) < requests and time.monotonic() < deadline:
        time.sleep(0.2)
    return max(requests - lines, 0)


def cell(proxy, redis, work, seconds, cores):
    """Measures one work on one proxy."""
    spent = proxy.running.cpu_seconds()
    redis_spent = redis.cpu_seconds() if redis else 0.0
    report = drive(proxy, work, seconds, cores)
    requests = max(report["requests"], 1)
    spent = proxy.running.cpu_seconds() - spent
    redis_spent = redis.cpu_seconds() - redis_spent if redis else 0.0
    if report["requests"] == 0:
        raise Failed(f"{proxy.running.name} answered nothing:\n{proxy.running.said()}")
    return {
        "rate": report["requests"] / report["seconds"],
        "cpu_us": spent * 1e6 / requests,
        "redis_us": redis_spent * 1e6 / requests,
        "p50_ms": report["p50_us"] / 1e3,
        "p99_ms": report["p99_us"] / 1e3,
        "errors": errors(report),
        "requests": report["requests"],
        "busy": 100 * spent / report["seconds"],
        "mib": proxy.running.resident_mib(),
    }


def syscalls_per_request(proxy, work, cores, seconds=3):
    """System calls per request: counted by perf where the kernel lets it, otherwise by strace."""
    pids = ",".join(map(str, proxy.running.tree()))
    with tempfile.NamedTemporaryFile("r", prefix="hipache-syscalls-") as out:
        perf = ["perf", "stat", "-e", "raw_syscalls:sys_enter", "-x", ";", "-o", out.name]
        strace = ["strace", "-f", "-qq", "-c", "-o", out.name]
        for tool, command in (("perf", [*perf, "-p", pids]), ("strace", [*strace, "-p", pids])):
            try:
                counter = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            except FileNotFoundError:
                continue
            time.sleep(0.5)
            if counter.poll() is None:
                report = drive(proxy, work, seconds, cores)
                counter.send_signal(2)
                counter.wait(10)
                count = counted(tool, Path(out.name).read_text())
                if count:
                    return count / max(report["requests"], 1)
    return None


def counted(tool, text):
    """The number of system calls in the output of perf or strace."""
    if tool == "perf":
        found = re.search(r"^(\d+);[^;]*;raw_syscalls", text, re.M)
    else:
        found = re.search(r"^100\.00\s+[\d.]+\s+\d+\s+(\d+)", text, re.M)
    return int(found.group(1)) if found else None
