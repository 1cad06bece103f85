#!/usr/bin/env python3
"""Shakes hands over TLS, one request per connection, and tells how many were answered.

Several processes, each with one connection at a time. It spends more than the server does, so its
figures say little about speed; what the server spends for each connection says it. A handshake of the
wrong kind (full or resumed, the version) is an error.
"""

import argparse
import json
import os
import socket
import ssl
import sys
import time

# Enough that the server always has the next handshake at hand.
PROCESSES = 6
TIMEOUT = 5.0


class Shaker:
    """One process of them."""

    def __init__(self, chosen):
        version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[chosen.version]
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.minimum_version = self.context.maximum_version = version
        # What the server spends does not depend on it, and there is more time for handshakes.
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.chosen = chosen
        self.session = None
        self.request = f"GET / HTTP/1.1\r\nHost: {chosen.host}\r\nConnection: close\r\n\r\n".encode()
        self.took, self.bad_status, self.errors, self.timeouts = [], 0, 0, 0

    def work(self, exactly):
        """Goes on until the time is over, or so many were answered."""
        deadline = time.monotonic() + self.chosen.seconds
        # A session to begin with is not counted: its handshake is a full one.
        if self.chosen.resume:
            self.connect(is_counted=False)
        while time.monotonic() < deadline and len(self.took) != exactly:
            try:
                self.connect()
            except TimeoutError:
                self.timeouts += 1
            except OSError:
                self.errors += 1
        report = [self.took, self.bad_status, self.errors, self.timeouts]
        return json.dumps(report).encode()

    def connect(self, is_counted=True):
        """One connection, one request."""
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.chosen.port), TIMEOUT) as tcp:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.context.wrap_socket(
                tcp, server_hostname=self.chosen.host, session=self.session
            ) as tls:
                tls.sendall(self.request)
                answer = b""
                while piece := tls.recv(16384):
                    answer += piece
                if is_counted and tls.session_reused != self.chosen.resume:
                    raise OSError("a handshake of the other kind")
                if self.chosen.resume:
                    self.session = tls.session
        if not answer.startswith(b"HTTP/1.1 200 "):
            self.bad_status += 1
        elif is_counted:
            self.took.append(round((time.monotonic() - began) * 1e6))


def main():
    """Runs the processes and adds up what they tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--version", choices=["1.2", "1.3"], default="1.3")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--exactly", type=int, default=0, help="connections in all")
    chosen = parser.parse_args()
    processes = min(PROCESSES, chosen.exactly or PROCESSES)
    began = time.monotonic()
    pipes = []
    for number in range(processes):
        reader, writer = os.pipe()
        share = (chosen.exactly + number) // processes if chosen.exactly else -1
        if os.fork() == 0:
            os.close(reader)
            with os.fdopen(writer, "wb") as out:
                out.write(Shaker(chosen).work(share))
            os._exit(0)
        os.close(writer)
        pipes.append(reader)
    took, bad_status, errors, timeouts = [], 0, 0, 0
    for reader in pipes:
        with os.fdopen(reader, "rb") as told:
            one = json.loads(told.read())
        took += one[0]
        bad_status, errors, timeouts = bad_status + one[1], errors + one[2], timeouts + one[3]
    took.sort()
    report = {
        "requests": len(took),
        "seconds": time.monotonic() - began,
        "p50_us": took[len(took) // 2] if took else 0,
        "p99_us": took[len(took) * 99 // 100] if took else 0,
        "bad_status": bad_status,
        "socket_errors": errors,
        "timeouts": timeouts,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    sys.exit(main())
