"""h2spec plays every rule of HTTP/2 and HPACK against the listeners, with TLS and without.

Each failure is a problem unless `docs/http2.md` explains it: its table of exceptions is read here.
"""

import asyncio
import os
import signal
import xml.etree.ElementTree
from pathlib import Path

from rig import servers
from rig.lifecycle.proxy import Proxy
from rig.lifecycle.traffic import HOST
from rig.processes import Failed, free_port, run_to_end
from rig.scenarios import Report
from rig.tls.authority import Authority

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = ROOT / "docs" / "http2.md"
PROGRAM = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "tools" / "bin" / "h2spec"
# Fewer would mean that it did not play all.
RULES = 140
# An answer takes a moment: some rules are about what comes before its end.
ANSWER_SECONDS = 0.05
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
LIMIT = 120
RELOAD_LIMIT = 20


async def h2spec(crew, chosen):
    """h2spec finds no failure over TLS and without it but those that docs/http2.md explains."""
    if not PROGRAM.is_file():
        raise Failed(f"{PROGRAM} is missing: run scripts/setup --for load")
    authority, port = Authority(crew, "h2spec"), free_port()
    certificate, key = authority.issue(HOST)
    section = {"bind": ["127.0.0.1"], "port": port, "cert": str(certificate), "key": str(key)}
    proxy = Proxy(crew, chosen.binary, sections={"https": section})
    backend = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{backend.sockets[0].getsockname()[1]}"
    servers.fill_redis(proxy.redis, [f"rpush frontend:127.0.0.1 h2spec {url}"])
    proxy.config["http"]["h2c"] = True
    proxy.write(proxy.config)
    proxy.signal(signal.SIGHUP)
    await proxy.wait_until("the reload", RELOAD_LIMIT, lambda: proxy.events("reloaded"))
    report, explained = Report(), exceptions(DOCUMENT.read_text())
    listeners = {"https": [port, "--tls", "--insecure"], "h2c": [proxy.port]}
    met = set()
    for listener, (number, *options) in listeners.items():
        cases = await play(crew, listener, ["--port", str(number), *options])
        failed = {name: told for name, told in cases.items() if told}
        report.check(len(cases) >= RULES, f"{listener}: {len(cases)} rules played, not {RULES}")
        report.row(f"{listener}: rules played", len(cases))
        report.row(f"{listener}: rules kept", len(cases) - len(failed))
        for name in sorted(failed):
            why = explained.get((listener, name))
            report.row(f"{listener}: {name}", why or "failed")
            report.check(why, f"{listener}: {name}: {failed[name]}")
            met.add((listener, name))
    for listener, name in sorted(explained.keys() - met):
        report.check(False, f"{DOCUMENT.name}: {listener}: {name}: is kept, no exception")
    backend.close()
    status = await proxy.stop()
    report.check(status == 0, f"hipache ended with status {status}: {proxy.running.said()}")
    return report


async def answer(reader, writer):
    """Answers a request whatever it says, and takes what still comes."""
    try:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(ANSWER_SECONDS)
        writer.write(ANSWER)
        writer.write_eof()
        while await reader.read(65536):
            pass
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def play(crew, listener, options):
    """Plays all rules, and gives for each by section and title how it was broken, if it was."""
    found = crew.directory / f"h2spec-{listener}.xml"
    command = [PROGRAM, "--strict", "--timeout", "3", "--junit-report", found, *options]
    await run_to_end(command, LIMIT)
    cases = {}
    for case in xml.etree.ElementTree.parse(found).iter("testcase"):
        name = f"{case.get('package')} {case.get('classname')}"
        told = [" ".join("".join(part.itertext()).split()) for part in case]
        cases[name] = "; ".join(filter(None, [cases.get(name), *told]))
    return cases


def exceptions(text):
    """The rows of the table of exceptions: why, by listener and rule."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    found = [row for row in rows if len(row) == 3 and row[0] in ("`https`", "`h2c`")]
    return {(listener.strip("`"), rule.strip("`")): why for listener, rule, why in found}
