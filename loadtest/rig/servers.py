"""The servers of a run: Redis, the fast backend, and the three proxies with equal duties.

Each proxy keeps connections to clients and backends, sets the same forwarded headers and writes
one access-log line a request, with the same fields, to a file. With TLS each shows the same certificates,
speaks 1.2 and 1.3 with its own choice of ciphers, gives tickets, and offers HTTP/2.
"""

import json
import os
import subprocess
from pathlib import Path

from rig.identities import make_identities
from rig.processes import Failed, free_port, need, wait_for_port

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
HOST = "bench.test"
SMALL_BODY = "hello from the backend\n"
LARGE_BYTES = 64 * 1024
# Connections that each proxy may keep to the backend: more than any work has requests at a time.
UPSTREAMS = 512
# The first line of a log_format is closed by the quotes of the lines that follow it.
NGINX_LOG_FORMAT = (
    "'::ffff:$remote_addr - - [$time_local] \"$request\" $status $bytes_sent '"
    " '\"$http_referer\" \"$http_user_agent\" \"bench\" $request_time $upstream_response_time'"
)
HAPROXY_LOG_FORMAT = (
    '::ffff:%ci\\ -\\ -\\ [%trl]\\ %{+Q}r\\ %ST\\ %B\\ %{+Q}[capture.req.hdr(0)]'
    "\\ %{+Q}[capture.req.hdr(1)]\\ \\\"bench\\\"\\ %Ta\\ %Tr"
)


def run_user():
    """The unprivileged user that servers become when the run was started by root."""
    return "www-data" if os.geteuid() == 0 else None


def start_redis(crew, cores=None):
    """A Redis that keeps nothing on disk. Returns it and its port."""
    port = free_port()
    command = [need("redis-server", "redis-server"), "--port", port, "--bind", "127.0.0.1"]
    command += ["--save", "", "--appendonly", "no", "--dir", crew.directory]
    redis = crew.start("redis", command, cores)
    wait_for_port(redis, port)
    return redis, port


def fill_redis(port, commands):
    """Runs commands, one a line, as an operator would with redis-cli."""
    done = subprocess.run(
        [need("redis-cli", "redis-tools"), "-p", str(port)],
        input="\n".join(commands) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    if "ERR" in done.stdout:
        raise Failed(f"redis-cli: {done.stdout[-500:]}")


def nginx(crew, name, main, http, cores=None):
    """Starts nginx in a directory of its own with these lines in the main and http sections."""
    home = crew.directory / name
    home.mkdir()
    user = f"user {run_user()};" if run_user() else ""
    paths = "".join(
        f"{kind}_temp_path {home}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = crew.write(
        f"{name}.conf",
        f"daemon off; pid {home}/pid; error_log {home}/error.log warn; {user}\n{main}\n"
        "worker_rlimit_nofile 8192;\nevents { worker_connections 4096; }\n"
        f"http {{\n{paths}keepalive_timeout 300s; keepalive_requests 1000000000;\n{http}\n}}\n",
    )
    return crew.start(name, [need("nginx", "nginx-light"), "-c", config, "-p", home], cores)


def start_backend(crew, cores=None):
    """One nginx that answers from memory: the same for every proxy. Returns its port."""
    port = free_port()
    page = crew.directory / "pages"
    page.mkdir()
    (page / "large").write_bytes(b"x" * LARGE_BYTES)
    backend = nginx(
        crew,
        "backend",
        "worker_processes 1;",
        "access_log off; sendfile on; tcp_nopush on; open_file_cache max=10 inactive=1h;\n"
        f"server {{ listen 127.0.0.1:{port} backlog=4096; root {page};\n"
        f'  location / {{ return 200 "{SMALL_BODY.strip()}\\n"; }}\n'
        "  location = /large { }\n}",
        cores,
    )
    wait_for_port(backend, port)
    return port


class Proxy:
    """A proxy under test: its process, its ports, its access log, and the admin port if it has one."""

    def __init__(self, running, ports, log, admin=None, limit=15.0):
        self.running = running
        # By what they speak: "plain", or TLS by the kind of the certificate's key.
        self.ports = ports
        self.log = log
        self.admin = admin
        for port in ports.values():
            wait_for_port(running, port, limit)

    @property
    def port(self):
        """Where it speaks plain HTTP."""
        return self.ports["plain"]


class Doors:
    """The ports that a proxy is to listen on, with what it shows at those that speak TLS."""

    def __init__(self, crew):
        self.identities = make_identities(crew, HOST)
        self.ports = {"plain": free_port()}
        for kind in self.identities:
            while (port := free_port()) in self.ports.values():
                pass
            self.ports[kind] = port

    def secure(self):
        """Port and identity of each that speaks TLS."""
        return [(self.ports[kind], identity) for kind, identity in self.identities.items()]


def start_nginx(crew, backend, workers, cores, name="nginx", log_options=""):
    """nginx with kept upstream connections; `log_options` may buffer the access log."""
    doors = Doors(crew)
    log = crew.directory / f"{name}-access.log"
    shared = (
        "client_body_buffer_size 64k;\n"
        "  location / { proxy_pass http://backend; proxy_http_version 1.1;\n"
        '    proxy_set_header Connection ""; proxy_set_header Host $http_host;\n'
        "    proxy_set_header X-Real-IP $remote_addr;\n"
        "    proxy_set_header X-Forwarded-For $remote_addr;\n"
        "    proxy_set_header X-Forwarded-Proto $scheme;\n"
        "    proxy_set_header X-Forwarded-Protocol $scheme;\n"
        "    proxy_set_header X-Forwarded-Port $server_port;\n"
        "    proxy_buffers 16 8k; } }\n"
    )
    secure = "".join(
        f"server {{ listen 127.0.0.1:{port} ssl http2 backlog=4096 reuseport;\n"
        f"  ssl_certificate {identity.certificate}; ssl_certificate_key {identity.key};\n  {shared}"
        for port, identity in doors.secure()
    )
    running = nginx(
        crew,
        name,
        f"worker_processes {workers};",
        f"log_format hipache {NGINX_LOG_FORMAT};\naccess_log {log} hipache {log_options};\n"
        f"upstream backend {{ server 127.0.0.1:{backend}; keepalive {UPSTREAMS};"
        " keepalive_requests 1000000000; }\n"
        "ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:tls:10m; ssl_session_timeout 1d;\n"
        f"server {{ listen 127.0.0.1:{doors.ports['plain']} backlog=4096 reuseport; {shared}{secure}",
        cores,
    )
    return Proxy(running, doors.ports, log)


def start_haproxy(crew, backend, workers, cores):
    """HAProxy: threads of one process instead of workers, and one write a log line."""
    doors = Doors(crew)
    log = crew.directory / "haproxy-access.log"
    secure = "".join(
        f"  bind 127.0.0.1:{port} backlog 4096 ssl crt {identity.both} ssl-min-ver TLSv1.2"
        " alpn h2,http/1.1\n"
        for port, identity in doors.secure()
    )
    config = crew.write(
        "haproxy.cfg",
        f"global\n  nbthread {workers}\n  maxconn 4096\n  log stdout format raw local0\n"
        "defaults\n  mode http\n  log global\n  option http-keep-alive\n  http-reuse always\n"
        "  timeout client 300s\n  timeout server 300s\n  timeout connect 5s\n"
        "  timeout http-keep-alive 300s\n"
        f"frontend in\n  bind 127.0.0.1:{doors.ports['plain']} backlog 4096\n{secure}"
        "  capture request header Referer len 256\n  capture request header User-Agent len 256\n"
        f"  log-format {HAPROXY_LOG_FORMAT}\n"
        "  http-request set-header X-Real-IP %[src]\n"
        "  http-request set-header X-Forwarded-For %[src]\n"
        "  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]\n"
        "  http-request set-header X-Forwarded-Protocol %[ssl_fc,iif(https,http)]\n"
        "  http-request set-header X-Forwarded-Port %[dst_port]\n"
        "  default_backend out\n"
        f"backend out\n  server one 127.0.0.1:{backend} pool-max-conn {UPSTREAMS}\n",
    )
    with log.open("ab") as sink:
        command = [need("haproxy", "haproxy"), "-f", config, "-db"]
        running = crew.start("haproxy", command, cores, stdout=sink)
    return Proxy(running, doors.ports, log)


def clean_environment():
    """The environment without what would change the proxy's telemetry behind the test's back."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}


def start_hipache(
    crew, binary, driver, workers, cores=None, *, name="hipache", under=(), sections=None, **server
):
    """hipache with this driver URL; `server` adds keys to the section of that name.

    `sections` are further ones, `admin` of them without its port; `under` is a command to run it
    with, such as a profiler.
    """
    if not Path(binary).is_file():
        raise Failed(f"{binary} is missing: build it with cargo build --release")
    doors = Doors(crew)
    secure = [
        {"address": "127.0.0.1", "port": port, "cert": str(identity.certificate), "key": str(identity.key)}
        for port, identity in doors.secure()
    ]
    log = crew.directory / f"{name}-access.log"
    config = {
        "server": {"workers": workers, "accessLog": str(log), **server},
        "http": {"bind": ["127.0.0.1"], "port": doors.ports["plain"]},
        "https": {"bind": secure},
        "driver": driver,
        **(sections or {}),
    }
    admin = free_port() if "admin" in config else None
    if admin:
        config["admin"] = {"bind": ["127.0.0.1"], "port": admin, **config["admin"]}
    if run_user():
        config.setdefault("user", run_user())
    path = crew.write(f"{name}.json", json.dumps(config, indent=2))
    command = [*under, binary, "--config", path]
    running = crew.start(name, command, cores, is_tested=True, env=clean_environment())
    # A profiler slows the start down, too.
    return Proxy(running, doors.ports, log, admin, limit=60.0 if under else 15.0)
