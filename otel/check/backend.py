#!/usr/bin/env python3
"""The backend of the load tests, with answers that break, and with the trace context that it was sent.

    /short     promises 1,000 bytes, sends 10, closes     /garbage   sends what is not HTTP
    /context   the trace headers of the request as JSON; a WebSocket handshake has them in its 101
"""

import asyncio
import json
import sys

sys.dont_write_bytecode = True
from pathlib import Path  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "loadtest" / "rig"))
import backend  # noqa: E402

CONTEXT = (b"traceparent", b"tracestate", b"baggage")


class Troubled(backend.Connection):
    """One connection from the proxy."""

    def answer(self, method, path, headers, body):
        kind = path.strip("/").partition("/")[0]
        if kind == "short":
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")
            self.transport.close()
        elif kind == "garbage":
            self.transport.write(b"\x00\x01 this is not HTTP\r\n\r\n")
            self.transport.close()
        elif kind == "context":
            seen = {name.decode(): headers[name].decode() for name in CONTEXT if name in headers}
            self.send(method, 200, json.dumps(seen).encode(), {"Content-Type": "application/json"})
        else:
            super().answer(method, path, headers, body)

    def open_tunnel(self, headers, more=b""):
        seen = headers.get(b"traceparent", b"")
        super().open_tunnel(headers, b"X-Seen-Traceparent: " + seen + b"\r\n" + more)


if __name__ == "__main__":
    backend.Connection = Troubled
    try:
        asyncio.run(backend.main(int(sys.argv[1])))
    except KeyboardInterrupt:
        pass
