"""Runs scenarios of a command: each within its time, to one verdict and one table."""

import argparse
import asyncio
import sys

from rig import k6, results
from rig.processes import Crew, Failed, stop_on_terminate


class Report:
    """What a scenario found: rows for its table, and what is wrong."""

    def __init__(self):
        self.rows = []
        self.problems = []

    def row(self, name, value):
        """A line of the table."""
        self.rows.append((name, str(value)))

    def check(self, is_good, problem):
        """Notes a problem where something does not hold."""
        if not is_good:
            self.problems.append(problem)


class Scenarios:
    """The scenarios of one command, each with the seconds after which it is given up."""

    def __init__(self, command, chapter, scenarios):
        self.command = command
        self.chapter = chapter
        self.scenarios = scenarios

    def parser(self, what):
        """The command line that all of them share."""
        parser = argparse.ArgumentParser(description=what)
        parser.add_argument("scenario", choices=[*self.scenarios, "all"])
        parser.add_argument("--binary", help="hipache to run (default: the newest build)")
        parser.add_argument("--count", type=int, help="how often (default: what the scenario says)")
        parser.add_argument("--save", action="store_true", help="write into loadtest/RESULTS.md")
        return parser

    def main(self, chosen):
        """Runs what was chosen; the exit status."""
        chosen.binary = chosen.binary or k6.hipache_binary()
        stop_on_terminate()
        names = list(self.scenarios) if chosen.scenario == "all" else [chosen.scenario]
        try:
            return 0 if all([self.run(name, chosen) for name in names]) else 1
        except KeyboardInterrupt:
            return 130

    def run(self, name, chosen):
        """One scenario: its table, and whether all held."""
        body, limit = self.scenarios[name]
        print(f"\n{name}: {body.__doc__}", flush=True)
        try:
            with Crew() as crew:
                report = asyncio.run(bounded(body, limit, crew, chosen))
        except Failed as problem:
            # What went wrong first, before ending everything went wrong, too.
            for told in (problem.__context__, problem):
                if isinstance(told, Failed):
                    print(f"problem: {told}", file=sys.stderr)
            print(f"{name}: FAILED", flush=True)
            return False
        width = max((len(title) for title, _ in report.rows), default=0)
        for title, value in report.rows:
            print(f"  {title:<{width}}  {value}")
        for problem in report.problems:
            print(f"problem: {problem}", file=sys.stderr)
        print(f"{name}: {'FAILED' if report.problems else 'good'}", flush=True)
        if chosen.save:
            section = self.section(body.__doc__, report)
            results.save(self.chapter, "\n".join(section), name)
        return not report.problems

    def section(self, what, report):
        """A scenario in RESULTS.md."""
        words = [word for word in sys.argv[1:] if word != "--save"]
        yield f"{what}\n"
        yield from results.stamp(" ".join([self.command, *words]))
        yield f"- Verdict: {'**failed**' if report.problems else 'good'}\n"
        yield "| what | found |\n| --- | --- |"
        yield from (f"| {title} | {value.replace('|', '/')} |" for title, value in report.rows)
        yield from (f"\nProblem: {problem}" for problem in report.problems)


async def bounded(body, limit, crew, chosen):
    """One scenario within its time."""
    try:
        async with asyncio.timeout(limit):
            return await body(crew, chosen)
    except TimeoutError:
        raise Failed(f"not over after {limit} s") from None
