#!/usr/bin/env python3
"""A backend for the k6 scripts: HTTP/1.1 and WebSocket on one port, the answer chosen by the path.

    /bytes/N     N bytes              /status/N   that status, empty or a few bytes
    /chunked/N   N bytes, chunked     /redirect   302 to another host
    /echo        the request's body   /headers    the request's headers as JSON
    /slow/MS     after that time      /close      closes without an answer
    /ws          WebSocket echo
"""

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from rig.websocket import Echo  # noqa: E402

BODY_LIMIT = 64 * 2**20
REASONS = {200: "OK", 204: "No Content", 302: "Found", 304: "Not Modified", 404: "Not Found"}


class Connection(Echo, asyncio.Protocol):
    """One connection from the proxy; requests are answered in order."""

    def __init__(self):
        self.buffer = bytearray()
        self.transport = None
        self.is_waiting = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        if len(self.buffer) > BODY_LIMIT:
            self.transport.abort()
        elif self.is_tunnel:
            self.echo_frames()
        else:
            self.serve()

    def serve(self):
        """Answers every request that has arrived whole."""
        while not self.is_waiting and not self.is_tunnel:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            lines = bytes(self.buffer[:end]).split(b"\r\n")
            headers = [line.partition(b":") for line in lines[1:]]
            headers = {name.strip().lower(): value.strip() for name, _, value in headers}
            body, used = self.body(end + 4, headers)
            if body is None:
                return
            del self.buffer[:used]
            method, target, _ = lines[0].split(b" ", 2)
            self.answer(method, target.partition(b"?")[0].decode(), headers, body)

    def body(self, start, headers):
        """The body and where it ends, or `None` while it is not there."""
        if headers.get(b"transfer-encoding", b"").lower() != b"chunked":
            end = start + int(headers.get(b"content-length", 0))
            return (bytes(self.buffer[start:end]), end) if len(self.buffer) >= end else (None, 0)
        parts = []
        while (line := self.buffer.find(b"\r\n", start)) >= 0:
            size = int(bytes(self.buffer[start:line]).partition(b";")[0], 16)
            start = line + 2 + size + 2
            if len(self.buffer) < start:
                break
            if size == 0:
                return b"".join(parts), start
            parts.append(bytes(self.buffer[line + 2 : start - 2]))
        return None, 0

    def answer(self, method, path, headers, body):
        """Answers one request by its path."""
        kind, _, argument = path.strip("/").partition("/")
        if kind == "bytes":
            self.send(method, 200, b"x" * int(argument))
        elif kind == "echo":
            self.send(method, 200, body, {"Content-Type": "application/octet-stream"})
        elif kind == "chunked":
            self.send_chunked(int(argument))
        elif kind == "status":
            status = int(argument)
            self.send(method, status, b"" if status in (204, 304) else b"as asked\n")
        elif kind == "redirect":
            self.send(method, 302, b"", {"Location": "http://elsewhere.test/"})
        elif kind == "headers":
            names = {name.decode(): value.decode("latin-1") for name, value in headers.items()}
            self.send(method, 200, json.dumps(names).encode(), {"Content-Type": "application/json"})
        elif kind == "slow":
            self.is_waiting = True
            loop = asyncio.get_running_loop()
            loop.call_later(int(argument) / 1000, self.answer_late, method)
        elif kind == "close":
            self.transport.close()
        elif kind == "ws" and b"sec-websocket-key" in headers:
            self.open_tunnel(headers)
        else:
            self.send(method, 404, b"no such path\n")

    def answer_late(self, method):
        self.is_waiting = False
        self.send(method, 200, b"late\n")
        self.serve()

    def send(self, method, status, body, headers=None):
        """Sends an answer of known length."""
        head = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"]
        head += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if status not in (204, 304):
            head.append(f"Content-Length: {len(body)}")
        if self.transport.is_closing():
            return
        self.transport.write("\r\n".join([*head, "", ""]).encode())
        if method != b"HEAD" and body:
            self.transport.write(body)

    def send_chunked(self, size):
        """Sends an answer in chunks of up to 16 KiB."""
        self.transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while size > 0:
            part = min(size, 16384)
            self.transport.write(b"%x\r\n%s\r\n" % (part, b"x" * part))
            size -= part
        self.transport.write(b"0\r\n\r\n")


async def main(port):
    server = await asyncio.get_running_loop().create_server(
        Connection, "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1])))
    except KeyboardInterrupt:
        pass
