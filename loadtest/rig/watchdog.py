"""A burst of large bodies through one worker: what it takes, what it keeps, and what a purge gives back."""

import asyncio
import json
import time
import urllib.request

from rig import servers
from rig.processes import Failed, free_port, wait_for_port

HOST = "burst.test"
BODY = b"x" * (256 * 1024)
# Connections that one burst opens at a time; a listen queue is finite.
ABREAST = 200
CHECK_SECONDS = 10
MARGIN = 32 << 20
# jemalloc's own ways of giving memory back are switched off, so that only the watchdog does.
KEEP = {"_RJEM_MALLOC_CONF": "dirty_decay_ms:-1,muzzy_decay_ms:-1"}
MIB = 1 << 20


class Gate:
    """A backend that reads no body until it is told to, so that all of them are on their way at once."""

    def __init__(self):
        self.open = asyncio.Event()
        self.heads = 0
        self.port = free_port()

    async def serve(self, reader, writer):
        """Answers one request with as many bytes as it brought."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads += 1
            await self.open.wait()
            length = next(
                int(line.partition(b":")[2])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            )
            body = await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % length)
            writer.write(body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def wait_for(self, heads, limit):
        """Waits until so many requests are held."""
        async with asyncio.timeout(limit):
            while self.heads < heads:
                await asyncio.sleep(0.05)


async def client(port, turn):
    """One connection, one large request; whether its answer was whole and right."""
    try:
        async with turn:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: {len(BODY)}\r\n\r\n"
        writer.write(head.encode() + BODY)
        await writer.drain()
        answer = await reader.read(-1)
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return head.startswith(b"HTTP/1.1 200 ") and body == BODY
    except OSError:
        return False


class Worker:
    """hipache with one worker, and what it tells about it."""

    def __init__(self, crew, binary, backend, name, environment, limit):
        routes = {HOST: [f"http://127.0.0.1:{backend}"]}
        self.port, self.admin = free_port(), free_port()
        config = {
            "server": {
                "workers": 1,
                "accessLog": str(crew.directory / f"{name}.log"),
                "maxSockets": 100_000,
                "memoryCheckInterval": CHECK_SECONDS,
                "memoryMinAge": 0,
                "memoryLimit": limit,
            },
            "http": {"bind": ["127.0.0.1"], "port": self.port},
            "admin": {"bind": ["127.0.0.1"], "port": self.admin},
            "driver": f"file:{crew.write(f'{name}-routes.json', json.dumps(routes))}",
            "user": servers.run_user(),
        }
        path = crew.write(f"{name}.json", json.dumps(config))
        command = [binary, "--config", path]
        self.running = crew.start(name, command, is_tested=True, env={**servers.clean_environment(), **environment})
        wait_for_port(self.running, self.port)
        self.pid = self.status()["pid"]

    def status(self):
        """What `/status` says of the worker."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/status", timeout=10) as answer:
            return json.load(answer)["workers"][0]

    def resident(self):
        """jemalloc's figure for the memory that it holds."""
        return self.status()["allocator"]["resident"]

    async def settle(self, seconds):
        """Its figures after so many seconds, each second."""
        figures = []
        for _ in range(seconds):
            await asyncio.sleep(1)
            figures.append(await asyncio.to_thread(self.resident))
        return figures


async def burst(worker, gate, connections):
    """So many requests at once: answers that were right, the size at the peak, seconds that it took."""
    began, turn = time.monotonic(), asyncio.Semaphore(ABREAST)
    clients = [asyncio.create_task(client(worker.port, turn)) for _ in range(connections)]
    await gate.wait_for(connections, 120)
    # The figures are two seconds old at most.
    peak = max(await worker.settle(3))
    gate.open.set()
    async with asyncio.timeout(180):
        right = sum(await asyncio.gather(*clients))
    gate.open.clear()
    gate.heads = 0
    return right, peak, time.monotonic() - began


async def purge(crew, binary, connections):
    """A burst puts a worker over its limit; giving memory back is enough, and nobody is drained."""
    gate = Gate()
    server = await asyncio.start_server(gate.serve, "127.0.0.1", gate.port, backlog=4096)
    async with server:
        # First without a limit: what a burst leaves behind, and how long jemalloc keeps it.
        free = Worker(crew, binary, gate.port, "free", {}, "off")
        idle = max(await free.settle(3))
        right, peak, took = await burst(free, gate, connections)
        kept = await free.settle(15)
        crew.stop(free.running)
        yield "connections, bodies each way", f"{connections}, {len(BODY) >> 10} KiB"
        yield "right answers, seconds", f"{right}, {took:.1f}"
        yield "idle, peak MiB", f"{idle / MIB:.1f}, {peak / MIB:.1f}"
        yield "no limit: MiB after 1, 5, 10, 15 s", ", ".join(f"{kept[i] / MIB:.1f}" for i in (0, 4, 9, 14))
        if right != connections:
            raise Failed(f"{connections - right} requests failed without a limit")
        limit = idle + MARGIN
        if peak <= limit:
            raise Failed(f"the burst took {peak} bytes, not more than the limit of {limit}")

        held = Worker(crew, binary, gate.port, "held", KEEP, limit)
        right, peak, took = await burst(held, gate, connections)
        kept = await held.settle(CHECK_SECONDS + 5)
        told = held.running.log.read_text()
        yield "limit, peak, after MiB", f"{limit / MIB:.1f}, {peak / MIB:.1f}, {kept[-1] / MIB:.1f}"
        yield "right answers, seconds", f"{right}, {took:.1f}"
        for line in told.splitlines():
            if "memory" in line:
                yield "told", line.partition(" ")[2].strip()
        wrong = [
            (right != connections, f"{connections - right} requests failed"),
            ("within the limit again" not in told, "nothing was given back"),
            (kept[-1] > limit, f"{kept[-1]} bytes are still held"),
            ("wants to be replaced" in told, "a replacement was asked for"),
            ("draining" in told, "a worker was drained"),
            (held.status()["pid"] != held.pid, "the worker is another one"),
        ]
        problems = [text for is_wrong, text in wrong if is_wrong]
        if problems:
            raise Failed("; ".join(problems))
