"""What the proxy tells about itself while a scenario runs, and what /proc tells about it."""

import asyncio
import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

from rig.processes import Failed

SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*?)\})? ([0-9.eE+-]+|NaN)(?: .*)?")
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
SCRAPE_PAUSE = 1.0
MEMORY_PAUSE = 0.25
# Counters that begin anew by design: with each process, or with a vhost's place in the table.
NOT_MONOTONIC = re.compile(r"process_cpu_time_|hipache_vhost_")


async def fetch(port, path, limit=10.0):
    """Status and body of a GET on the admin port."""
    async with asyncio.timeout(limit):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read(-1)
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return (int(words[1]) if len(words) > 2 else 0), body


class Samples:
    """One scrape."""

    def __init__(self, text):
        self.values = {}
        for line in text.splitlines():
            found = SAMPLE.fullmatch(line)
            if found:
                labels = frozenset(LABEL.findall(found[2] or ""))
                self.values[found[1], labels] = float(found[3])

    def total(self, name, **labels):
        """The sum of all series of this name with these labels."""
        wanted = set(labels.items())
        return round(sum(v for (n, have), v in self.values.items() if n == name and wanted <= have))

    def went_back(self, before):
        """Counters that are lower than they were, or gone."""
        for (name, labels), value in before.values.items():
            is_counter = name.endswith(("_total", "_count", "_bucket", "_sum"))
            if not is_counter or NOT_MONOTONIC.match(name):
                continue
            now = self.values.get((name, labels))
            if now is None or now < value:
                yield f"{name} {dict(labels)} went from {value:g} to {now}"


async def scrape(port, limit=15.0):
    """All metrics now; a worker that dies while it answers is asked again."""
    deadline = time.monotonic() + limit
    while True:
        try:
            status, body = await fetch(port, "/metrics")
            if status == 200 and body.endswith(b"\n"):
                return Samples(body.decode())
            problem = f"status {status}"
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            problem = repr(error)
        if time.monotonic() > deadline:
            raise Failed(f"/metrics does not answer: {problem}")
        await asyncio.sleep(0.05)


class Watch:
    """Samples memory and counters in the background."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.problems = []
        self.max_bytes = 0
        self.max_processes = 0
        self.scrapes = 0
        self.tasks = []

    async def __aenter__(self):
        self.tasks = [asyncio.create_task(self.memory()), asyncio.create_task(self.counters())]
        return self

    async def __aexit__(self, *_):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def memory(self):
        """Private and shared memory of the tree; what is shared counts once for all (PSS)."""
        while True:
            tree = self.proxy.running.tree()
            self.max_bytes = max(self.max_bytes, sum(proportional_bytes(pid) for pid in tree))
            self.max_processes = max(self.max_processes, len(tree))
            await asyncio.sleep(MEMORY_PAUSE)

    async def counters(self):
        """Whether any counter ever goes back."""
        before = None
        while True:
            now = await scrape(self.proxy.admin)
            self.scrapes += 1
            if before:
                self.problems += now.went_back(before)
            before = now
            await asyncio.sleep(SCRAPE_PAUSE)


def proportional_bytes(pid):
    """A process's share of memory, what it shares being divided among those who share it."""
    with suppress(OSError):
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        return int(found[1]) * 1024 if found else 0
    return 0


def resident_bytes(pid):
    """Resident memory of one process; 0 when it is gone."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def state_of(pid):
    """The state letter of a process; nothing when it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def children(pid):
    """Direct children that live."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(word) for word in text.split() if state_of(int(word)) not in ("", "Z")]
    return []


async def freeze(pid):
    """Stops a process where it stands, and waits until it does."""
    os.kill(pid, signal.SIGSTOP)
    for _ in range(1000):
        if state_of(pid) == "T":
            return
        await asyncio.sleep(0.001)
    raise Failed(f"process {pid} does not stop")


def client_ports(pid, port):
    """The client ports of all accepted connections to `port` that a process holds."""
    inodes = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(entry.path))
            if found:
                inodes.add(found[1])
    held = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            local, remote, inode = words[1], words[2], words[9]
            if inode in inodes and int(local.rpartition(":")[2], 16) == port:
                held.add(int(remote.rpartition(":")[2], 16))
    held.discard(0)
    return held
