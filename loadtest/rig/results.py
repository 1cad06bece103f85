"""RESULTS.md: a chapter for each command, so that one writes its own and leaves the others alone."""

import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path

from rig.processes import Failed

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "loadtest" / "RESULTS.md"


def chapters(text, level):
    """The parts of a document, by their headings of one level; what stands before is under ``""``."""
    mark = "#" * level + " "
    found, title = {"": []}, ""
    for line in text.splitlines():
        if line.startswith(mark):
            title = line.removeprefix(mark)
            found[title] = []
        else:
            found[title].append(line)
    return {title: "\n".join(lines).strip("\n") for title, lines in found.items()}


def document(parts, level):
    """The opposite."""
    mark = "#" * level + " "
    texts = [f"{mark}{title}\n\n{body}" if title else body for title, body in parts.items()]
    return "\n\n".join(text.strip("\n") for text in texts if text.strip()) + "\n"


def save(title, body, section=None):
    """Writes a chapter, or one section of it; a new one is appended."""
    text = RESULTS.read_text() if RESULTS.is_file() else ""
    parts = chapters(text, 1)
    if section:
        sections = chapters(parts.get(title, ""), 2)
        sections[section] = body
        body = document(sections, 2)
    parts[title] = body
    RESULTS.write_text(document(parts, 1))


def stamp(command):
    """The lines that say how and where figures came about."""
    yield f"- Command: `{command}`"
    yield f"- Date: {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, commit {revision()}"
    yield f"- Machine: {machine()}"


def version(command, pattern):
    """The version that a program tells, or that it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, Failed):
        return "not there"
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(1) if found else "unknown"


def machine():
    """Processor, cores, memory and kernel."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.+)", info)
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()).group(1))
    name = model.group(1) if model else platform.machine()
    return f"{name}, {os.cpu_count()} cores, {memory / 2**20:.0f} GiB, Linux {platform.release()}"


def revision():
    """The commit that the results belong to."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return version(command, r"(\S+)")
