"""Real programs load pages by SNI from certificates that Redis holds, before and after a rotation.

The certificates of the second authority replace those of the first while the proxy serves, and each
program is then told to trust the second alone. What a program got is held against the access log's line
and the span of its request.
"""

import asyncio
import json

from rig import results, servers
from rig.lifecycle.proxy import Proxy
from rig.processes import free_port
from rig.scenarios import Report
from rig.tls.authority import Authority
from rig.tls.programs import Page, programs

# The name that a client asks for, and that of the certificate it is shown.
HOSTS = {"one.test": "one.test", "www.two.test": "*.two.test"}
VARIABLES = {
    "target": "request_uri",
    "protocol": "server_protocol",
    "tls": "ssl_protocol",
    "cipher": "ssl_cipher",
    "name": "ssl_server_name",
    "status": "status",
    "end": "hipache_end",
    "span": "hipache_span_id",
    "worker": "hipache_worker",
}
ATTRIBUTES = (
    "url.path",
    "network.protocol.version",
    "tls.protocol.version",
    "tls.cipher",
    "tls.client.server_name",
)
PAGE = "<!DOCTYPE html><title>page</title><p>the page of {host} at {target}</p>"
# Until lines and spans are where they belong.
SINK_LIMIT = 10.0
# Until each worker has shown the new certificate.
HANDSHAKES = 40


async def clients(crew, chosen):
    """Programs of today over TLS, by SNI, with certificates from Redis, rotated while it serves."""
    run = await Run.start(crew, chosen)
    first, second = (Authority(crew, name) for name in ("first", "second"))
    for name, version in versions(run.programs):
        run.report.row(name, version)
    run.install(first)
    for program in run.programs:
        await run.visit_all(program, first)
    run.install(second)
    for program in run.programs:
        await run.visit_all(program, second)
        await run.refuses(program, first)
    await run.each_worker(second)
    await run.spans()
    status = await run.proxy.stop()
    run.report.check(status == 0, f"hipache ended with status {status}: {run.proxy.running.said()}")
    return run.report


def versions(chosen):
    """The version of each program, once."""
    commands = {tuple(program.version_command) for program in chosen}
    for command in sorted(commands):
        yield command[0], results.version(list(command), r"(\d+\.\d+(?:\.\d+)*)")


class Run:
    """What is running, and what was found so far."""

    def __init__(self, crew, proxy, port):
        self.crew, self.proxy, self.port = crew, proxy, port
        self.report = Report()
        self.programs = programs()
        self.lines = []

    @classmethod
    async def start(cls, crew, chosen):
        """A backend with pages, and the proxy before it."""
        backend = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = free_port()
        certificate, key = Authority(crew, "nobody").issue("default.test")
        template = " ".join(f"{name}=${{{variable}}}" for name, variable in VARIABLES.items())
        proxy = Proxy(
            crew,
            chosen.binary,
            server={"accessLog": [{"target": str(crew.directory / "access.log"), "format": template}]},
            sections={
                "https": {
                    "bind": ["127.0.0.1"], "port": port, "cert": str(certificate), "key": str(key)
                }
            },
            attributes=ATTRIBUTES,
        )  # fmt: skip
        url = f"http://127.0.0.1:{backend.sockets[0].getsockname()[1]}"
        servers.fill_redis(proxy.redis, [f"rpush frontend:{host} {host} {url}" for host in HOSTS])
        run = cls(crew, proxy, port)
        # Ends with the run, which ends the loop.
        run.backend = backend
        return run

    def install(self, authority):
        """Puts certificates of this authority into Redis, one command each."""
        for certified in HOSTS.values():
            pair = [json.dumps(path.read_text()) for path in authority.issue(certified)]
            command = "hset tls:{} certificate {} key {}".format(certified, *pair)
            servers.fill_redis(self.proxy.redis, [command])

    async def visit_all(self, program, authority):
        """A page of each host in one program, and the line of each."""
        for host in HOSTS:
            page = self.page(program, host, authority)
            visit = await program.load(page, self.crew.directory)
            self.judge_visit(program, page, visit)
            line = await self.line(page)
            self.judge_line(program, page, visit, line)
        self.report.row(
            f"{program.name}, certificates of the {authority.name} authority",
            f"{line['protocol']}, {line['tls']}, {line['cipher']}",
        )

    def page(self, program, host, authority, number=0):
        """A page that no other visit asks for."""
        word = "".join(letter for letter in program.name if letter.isalnum())
        return Page(self.port, host, f"/{word}/{authority.name}/{host}/{number}", authority)

    def judge_visit(self, program, page, visit):
        """The page came, and the program had nothing against the certificate."""
        expected = f"the page of {page.host} at {page.path}"
        is_good = expected in visit.output and not visit.is_refused
        told = visit.output[-1500:]
        self.report.check(is_good, f"{program.name} did not load {page.url}:\n{told}")

    def judge_line(self, program, page, visit, line):
        """The log tells the same as the program."""
        expected = {
            "protocol": program.protocol,
            "tls": program.tls,
            "name": page.host,
            "status": "200",
            "end": "ok",
            "cipher": visit.cipher or line.get("cipher"),
        }
        found = {name: line.get(name) for name in expected}
        self.report.check(found == expected, f"{program.name}: line {found}, expected {expected}")
        self.report.check(str(line.get("cipher")).startswith("TLS_"), f"cipher in the line: {line}")

    async def line(self, page):
        """The access-log line of a page."""

        def find():
            text = self.proxy.log.read_text() if self.proxy.log.is_file() else ""
            parsed = [dict(word.split("=", 1) for word in line.split(" ")) for line in text.splitlines()]
            return next((line for line in parsed if line["target"] == page.path), None)

        line = await self.proxy.wait_until(f"the line of {page.path}", SINK_LIMIT, find)
        self.lines.append(line)
        return line

    async def refuses(self, program, former):
        """A program that trusts only the former authority does not accept what is shown now."""
        page = self.page(program, next(iter(HOSTS)), former, 1)
        visit = await program.load(page, self.crew.directory)
        told = visit.output[-1500:]
        self.report.check(visit.is_refused, f"{program.name} still accepts what was replaced:\n{told}")

    async def each_worker(self, authority):
        """After the rotation every worker shows the new certificate."""
        curl, host, workers = self.programs[0], next(iter(HOSTS)), set()
        for number in range(2, HANDSHAKES):
            page = self.page(curl, host, authority, number)
            self.judge_visit(curl, page, await curl.load(page, self.crew.directory))
            workers.add((await self.line(page))["worker"])
            if len(workers) == len(self.proxy.workers()):
                break
        count = len(self.proxy.workers())
        found = f"{len(workers)} of {count}"
        self.report.check(len(workers) == count, f"only {found} workers were met")
        self.report.row("workers that showed the new certificate", found)

    async def spans(self):
        """The span of each line tells the same."""
        ids = {line["span"] for line in self.lines}
        exported = lambda: ids <= self.proxy.server_spans()  # noqa: E731
        await self.proxy.wait_until("the spans of all pages", SINK_LIMIT, exported)
        found = {}
        for _, span, rest in self.proxy.all_spans():
            _, *attributes = rest.split("\t")
            found[span] = dict(attribute.split("=", 1) for attribute in attributes)
        for line in self.lines:
            expected = {
                "url.path": line["target"],
                "network.protocol.version": line["protocol"].removeprefix("HTTP/").removesuffix(".0"),
                "tls.protocol.version": line["tls"].removeprefix("TLSv"),
                "tls.cipher": line["cipher"],
                "tls.client.server_name": line["name"],
            }
            told = found.get(line["span"])
            self.report.check(told == expected, f"span {told}, line {line}")
        self.report.row("pages loaded, each with its line and its span", len(self.lines))


async def serve(reader, writer):
    """A backend with a page that names itself."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            target, host = head[0].split(" ")[1], headers["host"].partition(":")[0]
            page = PAGE.format(host=host, target=target).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(page), page)
            )
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()
