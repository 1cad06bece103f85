"""What the figures belong to: the machine, the commit, the programs; and their place in the results."""

import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path

from rig.servers import ROOT

RESULTS = ROOT / "loadtest" / "RESULTS.md"


def version(command, pattern):
    """The version that a program tells, or that it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except OSError:
        return "not there"
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(1) if found else "unknown"


def hipache(binary):
    """The version of this binary."""
    return version([str(binary), "-V"], r"hipache (\S+)")


def name():
    """Processor, cores, memory and kernel."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.+)", info)
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()).group(1))
    processor = model.group(1) if model else platform.machine()
    return f"{processor}, {os.cpu_count()} cores, {memory / 2**20:.0f} GiB, Linux {platform.release()}"


def revision():
    """The commit that the results belong to."""
    return version(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], r"(\S+)")


def heading(command):
    """The lines that every section of the results begins with."""
    yield f"- Command: `{' '.join(command)}`"
    yield f"- Date: {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, commit {revision()}"
    yield f"- Machine: {name()}"


def save(title, lines):
    """Writes one section of the results: in the place of the one with this title, or at the end."""
    text = RESULTS.read_text() if RESULTS.is_file() else ""
    parts = [part for part in re.split(r"^(?=# )", text, flags=re.M) if part.strip()]
    is_same = (at for at, part in enumerate(parts) if part.startswith(f"# {title}\n"))
    at = next(is_same, len(parts))
    parts[at : at + 1] = ["\n".join([f"# {title}\n", *lines])]
    RESULTS.write_text("\n".join(part.rstrip() + "\n" for part in parts))
