"""Instructions of a request, counted by valgrind: nearly the same on a busy machine as on a quiet one.

Counted are those of the worker with all its threads, in user mode: what the kernel does for it, such as
writing the log and sending the batches, is not among them.
"""

import re
import time

from rig.measure import errors
from rig.processes import Failed, need
from rig.servers import run_user, start_hipache
from rig.works import drive

# Requests before those that count: start, first connections, tables that grow.
FIRST = 1000


def instructions_per_request(crew, binary, driver, requests, setup, limit):
    """What one request costs: two runs of different length differ by nothing else."""
    began = time.monotonic()
    few = run(crew, binary, driver, FIRST, setup, limit)
    left = limit - (time.monotonic() - began)
    return (run(crew, binary, driver, FIRST + requests, setup, left) - few) / requests


def run(crew, binary, driver, requests, setup, limit):
    """The instructions of a worker from its start to its end, with so many requests between."""
    directory = crew.directory / "callgrind"
    directory.mkdir(exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    under = [need("valgrind", "valgrind"), "--tool=callgrind", f"--callgrind-out-file={directory}/%p"]
    # The worker writes its own file when it ends, so it may not become another user.
    sections = {"user": "root", **setup.sections} if run_user() else setup.sections
    proxy = start_hipache(
        crew, binary, driver, 1, name=f"{setup.key}-counted", under=under, sections=sections, **setup.server
    )
    report = drive(proxy, "small", max(1, int(limit)), set(), requests)
    if report["requests"] != requests or errors(report):
        raise Failed(f"{report['requests']} of {requests} requests answered under valgrind: {report}")
    counted = [directory / str(pid) for pid in proxy.running.tree() if pid != proxy.running.pid]
    if ended := crew.stop(proxy.running):
        raise Failed(f"hipache ended with status {ended} under valgrind: {proxy.running.said()}")
    found = [re.search(r"^totals: (\d+)$", path.read_text(), re.M) for path in counted if path.is_file()]
    if len(found) != 1 or not found[0]:
        raise Failed(f"valgrind left {len(found)} results for {len(counted)} workers")
    return int(found[0][1])
