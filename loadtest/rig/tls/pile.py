"""Many certificates of one authority, each with a key of its own: made once and kept in the build directory."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

from rig import servers
from rig.tls.authority import KEY, Authority, openssl

# Kept this long, so that a run does not wait for them.
DAYS = "365"
BEGIN_KEY = "-----BEGIN PRIVATE KEY-----"
BEGIN_CERTIFICATE = "-----BEGIN CERTIFICATE-----"


class Place:
    """Where an authority works."""

    def __init__(self, directory):
        self.directory = directory


class Pile:
    """Certificates for `site-0.pile.test` and so on, and one for all below `wild.test`."""

    def __init__(self, count):
        self.hosts = [f"site-{number}.pile.test" for number in range(count)]
        home = servers.TARGET / "certificates"
        home.mkdir(parents=True, exist_ok=True)
        self.root = home / f"authority-{count}" / "root.crt"
        self.file = home / f"pairs-{count}.jsonl"
        self.is_new = not (self.file.is_file() and valid(self.root))
        if self.is_new:
            self.make(home, str(count))

    def make(self, home, name):
        """All of them, as many at a time as there are cores."""
        self.file.unlink(missing_ok=True)
        for old in self.root.parent.glob("*"):
            old.unlink()
        if self.root.parent.is_dir():
            self.root.parent.rmdir()
        authority = Authority(Place(home), name)

        def issue(host):
            text = openssl(
                "req", "-x509", *KEY, "-days", DAYS, "-subj", f"/CN={host}",
                "-CA", authority.certificate, "-CAkey", authority.key,
                "-addext", f"subjectAltName=DNS:{host}",
                "-addext", "basicConstraints=critical,CA:FALSE",
                "-addext", "extendedKeyUsage=serverAuth",
                "-keyout", "/dev/stdout", "-out", "/dev/stdout",
            )  # fmt: skip
            key, certificate = text[text.index(BEGIN_KEY) :].split(BEGIN_CERTIFICATE)
            return json.dumps([host, BEGIN_CERTIFICATE + certificate, key])

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            lines = list(pool.map(issue, [*self.hosts, "*.wild.test"]))
        self.file.write_text("\n".join(lines) + "\n")

    def pairs(self):
        """Host, certificate and key of each, in PEM."""
        return map(json.loads, self.file.read_text().splitlines())


def valid(root):
    """Whether the authority is there and lasts another day."""
    return root.is_file() and "will not expire" in openssl(
        "x509", "-in", root, "-noout", "-checkend", "86400"
    )
