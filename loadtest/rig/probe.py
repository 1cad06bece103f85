"""Questions to running servers: answers of HTTP, waits with a limit, the metrics of an admin port."""

import re
import time
import urllib.error
import urllib.request

from rig.processes import Failed

SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*?)\})? ([0-9.eE+-]+|NaN)(?: .*)?")
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def fetch(url, data=None, headers=None, limit=10.0):
    """Status and body of an answer; status 0 if there was none."""
    request = urllib.request.Request(url, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=limit) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()
    except OSError as problem:
        return 0, str(problem).encode()


def eventually(what, limit, probe):
    """Repeats `probe` until it gives something true, and returns that."""
    deadline = time.monotonic() + limit
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failed(f"waited {limit:g} s in vain for {what}")
        time.sleep(0.2)


def scrape(admin):
    """All samples of an admin port: (name, labels) to value."""
    status, body = fetch(f"http://127.0.0.1:{admin}/metrics")
    if status != 200:
        raise Failed(f"/metrics of the admin port answers {status}: {body[:200]!r}")
    samples = {}
    for line in body.decode().splitlines():
        found = SAMPLE.fullmatch(line)
        if found and not line.startswith("#"):
            labels = frozenset(LABEL.findall(found[2] or ""))
            samples[found[1], labels] = float(found[3])
    return samples


def total(samples, name, **labels):
    """The sum of all series of this name with these labels."""
    wanted = set(labels.items())
    return sum(value for (found, have), value in samples.items() if found == name and wanted <= have)
