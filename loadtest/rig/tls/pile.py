"""Many certificates of one authority, each with a key of its own: made once and kept in the build directory."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rig import servers
from rig.processes import Failed
from rig.tls.authority import Authority, openssl

DAYS = "365"
DAY_SECONDS = "86400"
# All names below it have one certificate.
WILDCARD = "*.wild.test"


class Pile:
    """Certificates for `site-0.pile.test` and so on, and the one for the wildcard."""

    def __init__(self, count):
        self.hosts = [f"site-{number}.pile.test" for number in range(count)]
        # What an authority writes into.
        self.directory = servers.TARGET / "certificates" / str(count)
        self.list = self.directory / "pairs.json"
        self.root = self.directory / "authority-pile" / "root.crt"
        if not (self.list.is_file() and lasts(self.root)):
            self.make()

    def make(self):
        """All of them, as many at a time as there are cores; the list comes last."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        authority = Authority(self, "pile", days=DAYS)

        def issue(host):
            return host, *map(str, authority.issue(host, days=DAYS))

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            pairs = list(pool.map(issue, [*self.hosts, WILDCARD]))
        self.list.write_text(json.dumps(pairs))

    def pairs(self):
        """Host, certificate and key of each, in PEM."""
        for host, *paths in json.loads(self.list.read_text()):
            yield host, *(Path(path).read_text() for path in paths)


def lasts(root):
    """Whether the authority is there, and good for another day."""
    try:
        return bool(openssl("x509", "-in", root, "-noout", "-checkend", DAY_SECONDS))
    except Failed:
        return False
