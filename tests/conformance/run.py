#!/usr/bin/env python3
"""Runs the official conformance suite against the everything server and prints TAP.

    run.py [--front PATH] [--only SCENARIO]

With --front the server stands behind `PATH run`, as a child on stdio. Installed by conformance.mk. Standard library only.
A run fails when a check of a scenario fails, scored or not, unless the scenario is about an extension of the protocol.
"""

import argparse
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
INSTALLED = ROOT / "target" / "conformance"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
EXTENSIONS = ("tasks-", "sep-2640-skills-")
DEADLINE = 20
SUITE_DEADLINE = 600


@dataclass
class Run:
    """One run of the suite: which edition, what it is told, and how many scenarios that makes, extensions aside."""

    name: str
    edition: str
    words: list
    scenarios: int


RUNS = [
    Run("0.1.16, all", "conformance-stable", ["--suite", "all"], 32),
    Run("0.2.0-alpha.12, 2025-11-25", "conformance-alpha", ["--requirements", "2025-11-25"], 33),
    Run("0.2.0-alpha.12, 2026-07-28", "conformance-alpha", ["--requirements", "2026-07-28"], 40),
]


class Failure(Exception):
    """Something that makes a verdict impossible."""


def environment(**more):
    """Ours, without the variables that would configure the server."""
    return {k: v for k, v in os.environ.items() if not k.startswith("MCP_")} | more


def node():
    """The Node that was installed for this machine, else the one in the path."""
    found = sorted(INSTALLED.glob("node_modules/node-*/bin/node"))
    return str(found[0]) if found else "node"


class Server:
    """The everything server over HTTP, alone or behind the front; it says on stderr where it listens."""

    def __init__(self, front):
        everything = str(TARGET / "debug" / "examples" / "everything")
        if front:
            command, more = [front, "run", "--http", "--port", "0", "--no-watch", "--", everything], {}
        else:
            command, more = [everything], {"MCP_TRANSPORT": "http", "MCP_HTTP_PORT": "0"}
        self.child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment(**more), text=True, errors="replace"
        )
        self.lines, self.said = queue.Queue(), []
        threading.Thread(target=self._read, daemon=True).start()
        self.url = self._address()

    def _read(self):
        for line in self.child.stderr:
            self.said.append(line.rstrip("\n"))
            self.lines.put(line)
        self.lines.put(None)

    def _address(self):
        while True:
            try:
                line = self.lines.get(timeout=DEADLINE)
            except queue.Empty:
                line = None
            if line is None:
                self.end()
                raise Failure("\n".join(["the server did not say where it listens:", *self.said]))
            if found := re.search(r"listening on http://127\.0\.0\.1:(\d+)", line):
                return f"http://127.0.0.1:{found[1]}/mcp"

    def end(self):
        self.child.terminate()
        try:
            self.child.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


@dataclass
class Scenario:
    name: str
    checks: list

    def of(self, status):
        return [check for check in self.checks if check["status"] == status]

    @property
    def is_extension(self):
        return self.name.startswith(EXTENSIONS)


def scenarios_of(run, url, only):
    """Runs the suite once; its verdicts are in one file for each scenario."""
    results = INSTALLED / "results" / run.edition / run.words[-1]
    shutil.rmtree(results, ignore_errors=True)
    words = ["--scenario", only, "--spec-version", run.words[-1]] if only else run.words
    words = words[:2] if only and run.words[-1] == "all" else words
    program = INSTALLED / "node_modules" / run.edition / "dist" / "index.js"
    command = [node(), str(program), "server", "--url", url, *words, "-o", str(results)]
    try:
        done = subprocess.run(command, env=environment(), cwd=INSTALLED, capture_output=True, text=True, timeout=SUITE_DEADLINE)
    except subprocess.TimeoutExpired:
        raise Failure(f"{run.name}: the suite did not end within {SUITE_DEADLINE} s") from None
    found = []
    for file in sorted(results.glob("*/checks.json")):
        name = re.sub(r"^server-|-\d{4}-\d\d-\d\dT[\d-]+Z$", "", file.parent.name)
        found.append(Scenario(name, json.loads(file.read_text())))
    # One that broke off in the middle has left no verdict.
    counted = sum(not scenario.is_extension for scenario in found)
    broken = None if only or counted == run.scenarios else f"{counted} of {run.scenarios} scenarios ended\n{done.stderr[-2000:]}"
    return found, broken


def why(check):
    """What a check found, for the reader of the output."""
    details = json.dumps(check.get("details"))[:1500] if check.get("details") else ""
    return f"{check['id']}: {check.get('errorMessage', 'no reason given')} {details}".splitlines()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--front")
    parser.add_argument("--only")
    options = parser.parse_args()
    count, passed, failed = 0, 0, 0
    # The stable edition knows nothing that the other does not; behind the front the two revisions are enough.
    for run in RUNS[1:] if options.front else RUNS:
        good, bad, scenarios = 0, 0, []
        try:
            server = Server(options.front)
            try:
                scenarios, broken = scenarios_of(run, server.url, options.only)
            finally:
                server.end()
        except Failure as failure:
            broken = str(failure)
        if broken:
            count, bad = count + 1, 1
            print(f"not ok {count} - {run.name}")
            print("\n".join(f"# {line}" for line in broken.splitlines()))
        for scenario in scenarios:
            count += 1
            successes, failures = scenario.of("SUCCESS"), scenario.of("FAILURE")
            label = f"{run.name}: {scenario.name}"
            if scenario.is_extension:
                print(f"ok {count} - {label} # SKIP an extension, which we do not have")
                continue
            good, bad = good + len(successes), bad + len(failures)
            print(f"{'not ok' if failures else 'ok'} {count} - {label}, {len(successes)} checks")
            for check in failures + scenario.of("WARNING"):
                print("\n".join(f"# {check['status'].lower()}: {line}" for line in why(check)))
        print(f"# {run.name}: {good} passed, {bad} failed", flush=True)
        passed, failed = passed + good, failed + bad
    print(f"1..{count}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
