"""What runs: Redis, backends, Jaeger, a stand-in for Tempo, Collector, Prometheus, hipache."""

import json
import os
import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rig import k6, servers
from rig.collector import tool
from rig.probe import eventually, fetch
from rig.processes import free_port, need, wait_for_port

OTEL = Path(__file__).resolve().parents[1]
BACKEND = Path(__file__).with_name("backend.py")


class TempoStandIn(BaseHTTPRequestHandler):
    """Takes what the Collector sends to Tempo, and counts it."""

    taken = 0

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        TempoStandIn.taken += 1
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Stack:
    """The servers and where they listen."""

    NAMES = (
        "jaeger_otlp jaeger jaeger_grpc otlp_grpc otlp_http pushed health self_metrics "
        "prometheus admin proxy"
    ).split()

    def __init__(self, crew):
        self.crew = crew
        self.ports = {}
        # Each is taken as soon as its server runs; none twice until then.
        while len(self.ports) < len(self.NAMES):
            port = free_port()
            if port not in self.ports.values():
                self.ports[self.NAMES[len(self.ports)]] = port
        self.log = crew.directory / "access.log"

    def at(self, name):
        """The address of a port."""
        return f"127.0.0.1:{self.ports[name]}"

    def url(self, name, path=""):
        """The URL of a port."""
        return f"http://{self.at(name)}{path}"

    def start_pipeline(self):
        """Jaeger, the stand-in for Tempo, the Collector, Prometheus: with the files of otel/."""
        tempo = ThreadingHTTPServer(("127.0.0.1", 0), TempoStandIn)
        threading.Thread(target=tempo.serve_forever, daemon=True).start()
        environment = {
            **os.environ,
            "JAEGER_GRPC": self.at("jaeger_otlp"),
            "JAEGER_QUERY": self.at("jaeger"),
            "JAEGER_QUERY_GRPC": self.at("jaeger_grpc"),
            "COLLECTOR_GRPC": self.at("otlp_grpc"),
            "COLLECTOR_HTTP": self.at("otlp_http"),
            "COLLECTOR_PUSHED": self.at("pushed"),
            "COLLECTOR_HEALTH": self.at("health"),
            "COLLECTOR_SELF_PORT": str(self.ports["self_metrics"]),
            "COLLECTOR_BATCH_DELAY": "200ms",
            "TEMPO_HTTP": f"http://127.0.0.1:{tempo.server_port}",
        }
        started = (("jaeger", "jaeger", "jaeger"), ("collector", "otelcol", "otlp_http"))
        for name, program, port in started:
            command = [tool(program), "--config", OTEL / f"{name}.yaml"]
            running = self.crew.start(name, command, env=environment)
            wait_for_port(running, self.ports[port], 30)
        self.start_prometheus()

    def start_prometheus(self):
        """Prometheus, with targets of our own."""
        home = self.crew.directory / "prometheus"
        (home / "targets").mkdir(parents=True)
        for name in ("prometheus.yml", "rules.yml"):
            shutil.copy(OTEL / name, home)
        for job, port in (("hipache", "admin"), ("otlp", "pushed"), ("collector", "self_metrics")):
            text = json.dumps([{"targets": [self.at(port)]}])
            (home / "targets" / f"{job}.json").write_text(text)
        command = [need("prometheus", "prometheus"), f"--config.file={home / 'prometheus.yml'}"]
        command += [f"--storage.tsdb.path={home / 'data'}"]
        command += [f"--web.listen-address={self.at('prometheus')}"]
        command += ["--enable-feature=exemplar-storage", "--log.level=warn"]
        running = self.crew.start("prometheus", command)
        wait_for_port(running, self.ports["prometheus"], 30)
        ready = lambda: fetch(self.url("prometheus", "/-/ready"))[0] == 200  # noqa: E731
        eventually("Prometheus to be ready", 30, ready)

    def start_proxy(self, binary, protocol):
        """Redis, two backends, and hipache that logs JSON, exports every span, and has an admin port."""
        self.redis_process, self.redis = servers.start_redis(self.crew)
        self.backends = []
        for number in range(2):
            port = free_port()
            backend = self.crew.start(f"backend-{number}", [sys.executable, "-B", BACKEND, port])
            wait_for_port(backend, port)
            self.backends.append(port)
        otlp = "otlp_grpc" if protocol == "grpc" else "otlp_http"
        config = {
            "server": {
                "workers": 2,
                "accessLog": [{"target": str(self.log), "format": "json"}],
                "firstByteTimeout": 1,
                "idleBodyTimeout": 1,
                "connectTimeout": 1,
            },
            "http": {"bind": ["127.0.0.1"], "port": self.ports["proxy"]},
            "admin": {"bind": ["127.0.0.1"], "port": self.ports["admin"]},
            "telemetry": {"endpoint": self.url(otlp), "protocol": protocol, "exportDelay": 0.2},
            "driver": f"redis://127.0.0.1:{self.redis}",
        }
        if servers.run_user():
            config["user"] = servers.run_user()
        path = self.crew.write("hipache.json", json.dumps(config, indent=2))
        command = [binary or k6.hipache_binary(), "--config", path]
        clean = servers.clean_environment()
        self.proxy = self.crew.start("hipache", command, is_tested=True, env=clean)
        wait_for_port(self.proxy, self.ports["proxy"])

    def route(self, host, *urls):
        """Writes a frontend; ports stand for backends of this machine."""
        named = [url if isinstance(url, str) else f"http://127.0.0.1:{url}" for url in urls]
        name = host.partition(".")[0]
        servers.fill_redis(self.redis, [f"rpush frontend:{host} site-{name} {' '.join(named)}"])

    def lines(self):
        """The access log so far."""
        text = self.log.read_text() if self.log.is_file() else ""
        return [json.loads(line) for line in text.splitlines()]

    def line(self, trace):
        """The access-log line of a trace."""
        of = lambda: [line for line in self.lines() if line.get("trace_id") == trace]  # noqa: E731
        return eventually(f"the access-log line of trace {trace}", 10, of)[0]

    def mark_dead(self, host, *indexes):
        """Marks backends dead, as another proxy would."""
        members = " ".join(str(index) for index in indexes)
        servers.fill_redis(self.redis, [f"sadd dead:{host} {members}", f"expire dead:{host} 300"])
