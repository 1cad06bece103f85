"""The proxy under test with all that it needs: Redis, a backend, a collector, an admin port."""

import asyncio
import json
import os
import re
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

from rig import servers
from rig.lifecycle.traffic import HOST
from rig.lifecycle.watch import children, fetch
from rig.processes import Failed, free_port, wait_for_port

HERE = Path(__file__).parent
# 2026-11-23T02:02:02.123456Z  INFO 4711 worker ready slot=0 pid=4712
EVENT = re.compile(r"(\S+Z) +(TRACE|DEBUG|INFO|WARN|ERROR) (\d+) (.*)")
FIELD = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|\S+)')
EXPORT_DELAY = 0.2
# What may pass until every span and line has left.
SETTLE_LIMIT = 20.0


class Event:
    """One line of the proxy's own log."""

    def __init__(self, found):
        self.at = datetime.fromisoformat(found[1]).timestamp()
        self.level, self.pid, self.text = found[2], int(found[3]), found[4]
        self.fields = {name: value.strip('"') for name, value in FIELD.findall(self.text)}

    def __str__(self):
        return f"{self.level} {self.pid} {self.text}"


class Proxy:
    """hipache, ready to be reloaded, upgraded and hurt."""

    def __init__(
        self, crew, binary, workers=2, telemetry=None, server=None, environment=None, story=False,
        sections=None, attributes=(),
    ):  # fmt: skip
        # Only when every request is traced do spans and lines have to agree.
        self.crew, self.is_traced = crew, not telemetry
        self.read_bytes, self.seen = 0, []
        self.port, self.admin = free_port(), free_port()
        self.log = crew.directory / "access.log"
        self.spans = crew.directory / "spans"
        self.sink = free_port()
        self.backend = free_port()
        telemetry = telemetry or {}
        command = [sys.executable, "-B", HERE / "backend.py", self.backend]
        self.backend_process = crew.start("backend", command)
        wait_for_port(self.backend_process, self.backend)
        self.redis_process, self.redis = servers.start_redis(crew)
        servers.fill_redis(self.redis, [f"rpush frontend:{HOST} life {self.backend_url}"])
        command = [sys.executable, "-B", HERE / "sink.py", self.sink, self.spans, *attributes]
        wait_for_port(crew.start("sink", command), self.sink)
        self.config = {
            "server": {
                "workers": workers,
                "accessLog": [{"target": str(self.log), "format": "json"}],
                "maxSockets": 1000,
                # Less than what the rig gives a process to end, also when a scenario was cut short.
                "gracefulWait": 10,
                **(server or {}),
            },
            "http": {"bind": ["127.0.0.1"], "port": self.port},
            "admin": {"bind": ["127.0.0.1"], "port": self.admin},
            "telemetry": {
                "endpoint": f"http://127.0.0.1:{self.sink}",
                "exportDelay": EXPORT_DELAY,
                # The process's own spans, besides those of requests.
                "processSpans": story,
                **telemetry,
            },
            "driver": f"redis://127.0.0.1:{self.redis}",
            **(sections or {}),
        }
        if servers.run_user():
            self.config["user"] = servers.run_user()
        self.path = crew.directory / "hipache.json"
        self.write(self.config)
        clean = {**servers.clean_environment(), **(environment or {})}
        command = [binary, "--config", self.path]
        self.running = crew.start("hipache", command, is_tested=True, env=clean)
        wait_for_port(self.running, self.port)

    @property
    def backend_url(self):
        """Where the backend listens."""
        return f"http://127.0.0.1:{self.backend}"

    @property
    def pid(self):
        """The master."""
        return self.running.pid

    def workers(self):
        """The processes of all workers."""
        return children(self.pid)

    def write(self, config):
        """Writes a configuration file in one step."""
        text = config if isinstance(config, str) else json.dumps(config, indent=2)
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)

    def set(self, **server):
        """Changes keys of `server` in the file."""
        self.config["server"].update(server)
        self.write(self.config)

    def signal(self, number):
        """A signal to the master."""
        os.kill(self.pid, number)

    def events(self, text=""):
        """The lines of its own log that contain this text."""
        with self.running.log.open("rb") as log:
            log.seek(self.read_bytes)
            new = log.read()
        # Only what is new is parsed, and only whole lines.
        whole = new[: new.rfind(b"\n") + 1]
        self.read_bytes += len(whole)
        found = (EVENT.fullmatch(line) for line in whole.decode(errors="replace").splitlines())
        self.seen += map(Event, filter(None, found))
        return [event for event in self.seen if text in event.text]

    async def status(self):
        """`/status`."""
        code, body = await fetch(self.admin, "/status")
        if code != 200:
            raise Failed(f"/status answers {code}")
        return json.loads(body)

    async def wait_until(self, what, limit, probe):
        """Repeats `probe` until it gives something true, and returns that."""
        deadline = time.monotonic() + limit
        while True:
            found = probe()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            if not self.running.is_alive():
                raise Failed(f"hipache ended:\n{self.running.said()}")
            if time.monotonic() > deadline:
                raise Failed(f"waited {limit:g} s in vain for {what}:\n{self.running.said()}")
            await asyncio.sleep(0.02)

    async def stop(self, limit=45.0):
        """Asks it to end, as an operator does. Returns the exit status."""
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + limit
        while self.running.is_alive():
            if time.monotonic() > deadline:
                raise Failed(f"hipache did not end within {limit:g} s:\n{self.running.said()}")
            await asyncio.sleep(0.02)
        return self.running.popen.returncode

    async def spans_settled(self, expected):
        """Waits until the collector has as many SERVER spans as expected, or no more come."""
        deadline = time.monotonic() + SETTLE_LIMIT
        while len(self.server_spans()) < expected and time.monotonic() < deadline:
            await asyncio.sleep(0.2)

    def server_spans(self):
        """The ids of all SERVER spans that the collector got."""
        return {span for kind, span, _ in self.all_spans() if kind == "2"}

    def request_spans(self):
        """The ids of all spans of requests: SERVER and CLIENT."""
        return {span for kind, span, _ in self.all_spans() if kind in "23"}

    def process_spans(self):
        """Names of the spans that tell the process's own story: neither SERVER nor CLIENT."""
        return [name for kind, _, name in self.all_spans() if kind not in "23"]

    def all_spans(self):
        """What the collector got: kind, id, name."""
        lines = self.spans.read_text().splitlines() if self.spans.is_file() else []
        return [line.split(" ", 2) for line in lines]
