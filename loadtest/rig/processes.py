"""Processes of a run: started in groups of their own, measured, and ended by their own ids.

Everything is started through a `Crew`, which ends all of it in the opposite order, whatever
happened, so that no run leaves a process behind.
"""

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A run cannot go on; the text says why."""


class Running:
    """A process that was started here, with the workers that it forked."""

    def __init__(self, name, popen, log, is_tested=False):
        self.name = name
        self.popen = popen
        self.log = log
        # What is tested must end in time; a tool around it is killed, which is only told.
        self.is_tested = is_tested

    @property
    def pid(self):
        """Its process id, which is that of its group, too."""
        return self.popen.pid

    def is_alive(self):
        """Whether it has not ended yet."""
        return self.popen.poll() is None

    def tree(self):
        """The ids of the process and of all its descendants."""
        children = {}
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = entry.read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
        found, queue = [], [self.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            queue.extend(children.get(pid, []))
        return found

    def cpu_seconds(self):
        """User and system time spent so far by the whole tree."""
        seconds = 0
        for pid in self.tree():
            with suppress(OSError):
                seconds += cpu_seconds(pid)
        return seconds

    def resident_mib(self):
        """Resident memory of the whole tree; pages shared after a fork count more than once."""
        pages = 0
        for pid in self.tree():
            with suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def stop(self, limit=20.0):
        """Asks it to end and returns its exit status; kills its group when the limit is over."""
        if self.is_alive():
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(limit)
        except subprocess.TimeoutExpired:
            status = self.kill()
        late = f"{self.name} did not end within {limit:g} s of SIGTERM"
        if self.is_tested:
            raise Failed(late)
        print(f"notice: {late} and was killed", file=sys.stderr)
        return status

    def kill(self):
        """Ends its whole group at once; the status says by which signal."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self.popen.wait()

    def said(self):
        """What it wrote to standard output and error, for messages: the last 2,000 characters."""
        with suppress(OSError):
            return self.log.read_text(errors="replace")[-2000:]
        return ""


class Crew(AbstractContextManager):
    """All processes of a run and the directory that they work in."""

    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="hipache-load-"))
        # Servers started as root become another user and still have to get in.
        self.directory.chmod(0o755)
        self.members = []

    def __exit__(self, *_):
        problems = []
        for member in reversed(self.members):
            try:
                member.stop()
            except Failed as problem:
                problems.append(str(problem))
        shutil.rmtree(self.directory, ignore_errors=True)
        if problems:
            raise Failed("; ".join(problems))

    def start(self, name, command, cores=None, stdout=None, is_tested=False, **options):
        """Starts a command, pinned to these cores if any are given."""

        def pin():
            if cores:
                os.sched_setaffinity(0, cores)

        log = self.directory / f"{name}.out"
        with log.open("ab") as sink:
            popen = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=stdout or sink,
                stderr=sink,
                start_new_session=True,
                preexec_fn=pin,
                **options,
            )
        running = Running(name, popen, log, is_tested)
        self.members.append(running)
        return running

    def stop(self, member):
        """Ends one member before the others and returns its exit status."""
        self.members.remove(member)
        return member.stop()

    def write(self, name, text):
        """Writes a file into the directory of the run."""
        path = self.directory / name
        path.write_text(text)
        return path


def cpu_seconds(pid):
    """User and system time that one process spent so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


async def run_to_end(command, limit, text="", **options):
    """Runs a command that reads this text, and gives all that it said, whatever its status. It and what
    it started are killed when it is not waited for any more."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        **options,
    )
    try:
        async with asyncio.timeout(limit):
            output, _ = await process.communicate(text.encode())
    except TimeoutError:
        raise Failed(f"{command[0]} did not end within {limit:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return output.decode(errors="replace")


def free_port():
    """A port that nobody listens on, below the range of outgoing connections."""
    for _ in range(200):
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise Failed("no free port found between 20000 and 32000")


def wait_for_port(running, port, limit=15.0):
    """Waits until the process accepts connections on this port."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if not running.is_alive():
            raise Failed(f"{running.name} ended at once:\n{running.said()}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise Failed(f"{running.name} does not listen on port {port}:\n{running.said()}")


def need(program, package):
    """The path of a program, or an error that says how to get it."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise Failed(f"{program} is missing: run scripts/setup --for load (package {package})")
    return path


def stop_on_terminate():
    """Lets SIGTERM unwind the run as Ctrl-C does, so that everything started is ended."""
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
