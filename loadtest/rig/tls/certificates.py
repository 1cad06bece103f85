"""Ten thousand certificates in Redis: the first and the cached handshake of each, memory, and the bound.

One worker serves, so its figures are those of all. A client asks for every name once by SNI and verifies
what it is shown, then for every name again. Times are the server's own, from the span of each request; CPU
time is the worker's, less what a request costs on a connection that is kept. Then more names than are
kept are asked for, all of one wildcard, until the older half is let go.
"""

import asyncio
import os
import re
import socket
import ssl
import subprocess
from pathlib import Path

from rig import servers
from rig.lifecycle.proxy import Proxy
from rig.lifecycle.traffic import HOST
from rig.lifecycle.watch import scrape
from rig.processes import Failed, cpu_seconds, free_port, need
from rig.scenarios import Report
from rig.tls.authority import Authority
from rig.tls.pile import Pile

COUNT = 10_000
# Names that a worker keeps, and what it forgets when one more comes.
KEPT = 20_000
TLS_TIME = "hipache.client.tls_time"
# Handshakes before anything is measured.
WARM = 300
# The allocator's figures are at most two seconds old.
VITALS = 2.5
SINK_LIMIT = 60.0


async def certificates(crew, chosen):
    """Certificates in Redis by the thousand: first handshakes, cached ones, memory, and more names than are kept."""
    count = chosen.count or COUNT
    pile = await asyncio.to_thread(Pile, count)
    run = Run(crew, chosen, pile)
    run.report.row("certificates, each with an ECDSA key of its own", f"{count:,}")
    await run.prepare()
    empty = await run.memory()
    await run.measure("first handshake", pile.hosts)
    full = await run.memory()
    await run.measure("cached handshake", pile.hosts)
    again = await run.memory()
    run.tell_memory(count, empty, full, again)
    if count < KEPT:
        await run.overflow(count, again)
    status = await run.proxy.stop()
    run.report.check(status == 0, f"hipache ended with status {status}: {run.proxy.running.said()}")
    return run.report


class Run:
    """What is running, and what was found so far."""

    def __init__(self, crew, chosen, pile):
        self.report, self.pile, self.port = Report(), pile, free_port()
        self.context = ssl.create_default_context(cafile=pile.root)
        nobody = Authority(crew, "nobody")
        certificate, key = nobody.issue("default.test")
        self.nobody = ssl.create_default_context(cafile=nobody.certificate)
        self.proxy = Proxy(
            crew,
            chosen.binary,
            workers=1,
            sections={
                "https": {
                    "bind": ["127.0.0.1"], "port": self.port, "cert": str(certificate), "key": str(key)
                }
            },
            attributes=("url.path", TLS_TIME),
        )  # fmt: skip
        self.asked = 0
        self.serials = set()

    async def prepare(self):
        """Fills Redis, and shakes hands until nothing grows any more."""
        await asyncio.to_thread(self.fill)
        for _ in range(WARM):
            await asyncio.to_thread(self.ask, "default.test", self.nobody)
        self.base = await asyncio.to_thread(self.cost_kept)
        self.report.row("a request on a kept connection, traced, worker's CPU", f"{self.base:.0f} µs")

    def fill(self):
        """All certificates, in one stream of commands as a script would send them."""
        client = subprocess.Popen(
            [need("redis-cli", "redis-tools"), "-p", str(self.proxy.redis), "--pipe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        commands = b"".join(
            command("HSET", f"tls:{host}", "certificate", certificate, "key", key)
            for host, certificate, key in self.pile.pairs()
        )
        told = client.communicate(commands, 60)[0].decode()
        self.report.check("errors: 0" in told, f"redis-cli --pipe: {told}")

    def ask(self, name, context):
        """One handshake and one request, whose host is always the same, so that routes do not count."""
        self.asked += 1
        with (
            socket.create_connection(("127.0.0.1", self.port), 10) as tcp,
            context.wrap_socket(tcp, server_hostname=name) as tls,
        ):
            self.serials.add(tls.getpeercert()["serialNumber"])
            request(tls, path(self.asked), "close")
            answer = b"".join(iter(lambda: tls.recv(65536), b""))
        if b" 200 " not in answer[:20]:
            raise Failed(f"{name}: {answer[:100]!r}")

    def cost_kept(self, count=2000):
        """The worker's CPU time for a request on a connection that is kept, in µs."""
        with (
            socket.create_connection(("127.0.0.1", self.port), 10) as tcp,
            self.nobody.wrap_socket(tcp, server_hostname="default.test") as tls,
        ):
            before = self.cpu()
            for _ in range(count):
                request(tls, path("kept"), "keep-alive")
                answer = b""
                while b"\r\n\r\n" not in answer:
                    answer += tls.recv(65536)
            return (self.cpu() - before) / count * 1e6

    def cpu(self):
        """Seconds that the worker has used."""
        return cpu_seconds(self.proxy.workers()[0])

    async def measure(self, what, names):
        """Asks for each name once; the server's times, the worker's CPU time, and Redis's."""
        self.serials.clear()
        first, cpu, redis = self.asked + 1, self.cpu(), self.redis_commands()
        await asyncio.to_thread(lambda: [self.ask(name, self.context) for name in names])
        cpu, now = self.cpu() - cpu, self.redis_commands()
        shown, count = len(self.serials), len(names)
        self.report.check(shown == count, f"{what}: {shown} certificates were shown, not {count}")
        times = sorted(await self.times(range(first, self.asked + 1)))
        p50, p99 = (times[round((len(times) - 1) * share)] * 1e3 for share in (0.5, 0.99))
        self.report.row(f"{what}, server's time, p50 and p99", f"{p50:.2f} ms, {p99:.2f} ms")
        self.report.row(f"{what}, worker's CPU", f"{cpu / count * 1e6 - self.base:.0f} µs")
        calls, spent = (after - before for after, before in zip(now, redis, strict=True))
        self.report.row(
            f"{what}, HMGET in Redis", f"{calls / count:.1f} of {spent / max(calls, 1):.1f} µs"
        )

    async def times(self, numbers):
        """How long the server says that each handshake took."""
        paths = {path(number) for number in numbers}

        def find():
            found = {}
            for _, _, rest in self.proxy.all_spans():
                _, *pairs = rest.split("\t")
                attributes = dict(pair.split("=", 1) for pair in pairs)
                if attributes.get("url.path") in paths and TLS_TIME in attributes:
                    found[attributes["url.path"]] = float(attributes[TLS_TIME])
            return list(found.values()) if len(found) == len(paths) else None

        return await self.proxy.wait_until("the spans of all handshakes", SINK_LIMIT, find)

    def redis_commands(self):
        """Calls of HMGET so far, and the µs that Redis says they took."""
        done = subprocess.run(
            [need("redis-cli", "redis-tools"), "-p", str(self.proxy.redis), "info", "commandstats"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
        found = re.search(r"cmdstat_hmget:calls=(\d+),usec=(\d+)", done.stdout)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    async def memory(self):
        """Bytes that the worker's allocator handed out, and its resident memory."""
        await asyncio.sleep(VITALS)
        samples = await scrape(self.proxy.admin)
        allocated = samples.total("hipache_allocator_bytes", state="allocated")
        statm = Path(f"/proc/{self.proxy.workers()[0]}/statm").read_text().split()
        return allocated, int(statm[1]) * os.sysconf("SC_PAGE_SIZE")

    def tell_memory(self, count, empty, full, again):
        """What a certificate takes, and that asking again takes nothing."""
        for number, what in enumerate(("allocated", "resident")):
            each = (full[number] - empty[number]) / count
            self.report.row(f"memory for a certificate, {what}", f"{each / 1024:.1f} KiB")
        growth = (again[0] - full[0]) / count
        self.report.row("memory when each was asked for again, allocated", f"{growth:+.0f} bytes")
        self.report.check(growth < 200, f"each cached handshake leaves {growth:.0f} bytes")

    async def overflow(self, count, before):
        """More names than are kept."""
        more = KEPT - count + 10
        names = [f"n{number}.wild.test" for number in range(more)]
        await asyncio.to_thread(lambda: [self.ask(name, self.context) for name in names])
        after = await self.memory()
        self.report.row(
            f"allocated after {more:,} more names, {KEPT:,} are kept",
            f"{before[0] / 2**20:.0f} MiB became {after[0] / 2**20:.0f} MiB",
        )
        self.serials.clear()
        forgotten = self.pile.hosts[:100]
        await asyncio.to_thread(lambda: [self.ask(name, self.context) for name in forgotten])
        self.report.check(len(self.serials) == 100, "who was forgotten is not shown its own again")
        samples = await scrape(self.proxy.admin)
        evicted = samples.total("hipache_tls_names_evicted_total")
        self.report.row("names let go, asked for again and served", f"{evicted:,}, yes")
        self.report.check(evicted >= KEPT // 2, f"{evicted} names were let go")


def command(*words):
    """A command as Redis reads it."""
    words = [word.encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def path(word):
    """What the backend answers shortly, whatever the word."""
    return f"/sum/{word}"


def request(tls, target, connection):
    """A GET."""
    tls.sendall(f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: {connection}\r\n\r\n".encode())
