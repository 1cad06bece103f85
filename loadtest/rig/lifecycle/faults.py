"""Proves the clients: a server that fails in every way, and each way must be given its name."""

import asyncio
import socket
import struct

from rig.lifecycle import wire
from rig.lifecycle.tally import Tally
from rig.lifecycle.traffic import Mix, Traffic
from rig.processes import free_port
from rig.scenarios import Report

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n"
SILENCE = 0.5
# What the server does with a request, and what the client must call it.
FAULTS = {
    "reset": (lambda link: reset(link), wire.RESET),
    "reset inside": (lambda link: (link.write(HEAD), reset(link, 0.05)), wire.RESET),
    "no answer": (lambda link: link.close(), wire.CLOSED_BEFORE),
    "half a head": (lambda link: (link.write(HEAD[:20]), link.close()), wire.CLOSED_INSIDE),
    "half a body": (lambda link: (link.write(HEAD + b"x" * 9), link.close()), wire.CLOSED_INSIDE),
    "other bytes": (lambda link: link.write(HEAD + b"x" * 23), wire.WRONG_BYTES),
    "another status": (lambda link: link.write(HEAD.replace(b"200", b"503")), wire.WRONG_STATUS),
    "silence": (lambda link: None, wire.TIMED_OUT),
    "silence inside": (lambda link: link.write(HEAD + b"x"), wire.TIMED_OUT),
}


def reset(link, after=0.0):
    """Resets the connection: closes it with a linger of zero."""
    raw = link.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    asyncio.get_running_loop().call_later(after, link.transport.abort)


async def clients(crew, chosen):
    """The clients themselves: every kind of failure is noticed and given its cause."""
    report = Report()
    for name, (fault, expected) in FAULTS.items():
        report.row(name, await provoke(report, name, fault, expected))
    tally = Tally()
    await Traffic(free_port(), tally, Mix(limit=SILENCE)).one_shot()
    refused = tally.causes()[wire.REFUSED]
    report.check(refused == 1, f"a closed port was not noticed: {tally.causes()}")
    report.row("a port that nobody listens on", wire.REFUSED)
    return report


async def provoke(report, name, fault, expected):
    """Lets each kind of short client meet a fault; gives the cause that was noted."""

    async def serve(reader, link):
        await reader.readuntil(b"\r\n\r\n")
        fault(link)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    tally = Tally()
    traffic = Traffic(port, tally, Mix(limit=SILENCE, keep_requests=1))
    for client in (traffic.one_shot, traffic.kept, traffic.websocket):
        await client()
    server.close()
    causes = {failure.kind: failure.cause for failure in tally.failures}
    for kind in ("close", "keep"):
        found = causes.get(kind, "nothing")
        report.check(found == expected, f"{name}: {kind} calls it {found!r}, not {expected!r}")
    report.check("websocket" in causes, f"{name}: unnoticed by a WebSocket")
    return causes.get("close")
