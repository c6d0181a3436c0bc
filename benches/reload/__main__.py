#!/usr/bin/env python3
"""Edits servers under a client that calls throughout, and prints as Markdown what the client saw of it; front and server on one core, the client on another.

A time that misses its target is said, and fails nothing: times depend on the machine and on what else it does. A call of ours that fails, gets lost
or is answered by old code fails the run.
"""

import argparse
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import client as clients  # noqa: E402
import servers  # noqa: E402

SERVER, LOAD = 0, 1
# What a session has to answer before the first edit, and while the source is broken.
WARM, BROKEN = 15, 100
# What the front may need more than the new server by itself, between two good answers, and in all where the server is a bare Python one.
MORE_MS, GAP_MS, BARE_MS, IDLE_PERCENT = 60, 50, 115, 3.0


class Case:
    """One server behind one front: `parts` files that are edited in turn, among `files` that are watched."""

    def __init__(self, kind, transport, files, hold, parts=1):
        self.kind, self.transport, self.files, self.hold, self.parts = kind, transport, files, hold, parts
        where = "%s-%s-%d" % (kind.__name__.lower(), transport, files)
        self.name = where + ("-each" if parts > 1 else "") + ("" if hold else "-unheld")

    def tree(self):
        return "{:,}{}".format(self.watched, ", another each time" if self.parts > 1 else "")

    def run(self, args):
        say("%s ..." % self.name)
        server = self.kind(args, args.work / self.name, self.parts)
        server.fill(self.files)
        own = None
        if not self.hold:
            own = Own(self.kind(args, args.work / (self.name + "-own"), self.parts))
        front = Front(args, server, self.transport, self.hold)
        try:
            self.watched = front.watched
            client = front.client
            client.greet(60)
            with clients.Load(client):
                edits, broken = edit(args, server, client, own, front)
            everything_answered(client)
        finally:
            front.end()
            if args.log:
                (args.work / (self.name + ".log")).write_text("\n".join(front.log.lines))
        self.judge(client, edits, broken, own)
        self.exit = front.exit
        say("    %s" % json.dumps(vars(self), default=lambda value: getattr(value, "__name__", "")))
        return self

    def judge(self, client, edits, broken, own):
        calls = list(client.calls.values())
        self.calls = len(calls)
        self.failures = [call.failure for call in calls if call.failure]
        self.failed, self.lost = len(self.failures), sum(call.answered is None for call in calls)
        self.wrong, self.drops = client.wrong_ids, client.drops
        self.broken = share([call for call in calls if broken[0] <= call.sent < broken[1]])
        self.old = sum(is_old(call, edits) for call in calls) if self.hold else 0
        self.new = [(one["first"] - one["before"]) * 1000 for one in edits]
        self.gaps = gaps(calls, edits)
        self.own = own.times if own else []

    def faults(self):
        """What must not be."""
        found = {"failed": self.failed, "lost": self.lost, "wrong ids": self.wrong, "drops": self.drops, "old answers": self.old,
                 "not answered while broken": self.broken < 1, "bad exit of the front": self.exit != 0}
        return {what: count for what, count in found.items() if count}


class Front:
    """Ours, before a server, and one client of it."""

    def __init__(self, args, server, transport, hold):
        words = ["taskset", "-c", str(SERVER), str(args.ours), "run", "--log-level", "debug" if args.log else "info"]
        words += [] if hold else ["--hold", "0"]
        words += ["--watch", server.watch] if server.watch else []
        words += ["--build", server.build] if server.build else []
        words += ["--http", "--port", "0"] if transport == "sse" else []
        words += ["--", *server.command]
        more = dict(cwd=server.place, env=servers.clean_environment())
        if transport == "stdio":
            self.client = clients.Stdio(words, **more)
            self.process, self.log = self.client.process, self.client.log
        else:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **more)
            self.log = clients.Log(self.process.stderr)
            port = int(self.log.find(r"listening on http://127\.0\.0\.1:(\d+)")[1])
            self.client = clients.Sse(port)
        self.watched = int(self.log.find(r"watching .*: (\d+) files")[1])
        self.exit = None

    def only_one_is_left(self):
        """Waits until the old server has gone."""
        deadline = time.monotonic() + 20
        while len(children(self.process.pid)) > 1 and time.monotonic() < deadline:
            time.sleep(0.005)

    def end(self):
        if isinstance(self.client, clients.Stdio):
            self.exit = self.client.close()
        else:
            self.client.close()
            self.process.send_signal(signal.SIGTERM)
            self.exit = clients.end(self.process)


class Own:
    """How long the server itself takes from its start, or that of its build, to the answer to `initialize`: on the same core, under the same load."""

    def __init__(self, server):
        self.server, self.times = server, []
        self.once()
        self.times.clear()

    def once(self):
        server = self.server
        server.edit()
        more = dict(cwd=server.place, env=server.environment(), preexec_fn=lambda: os.sched_setaffinity(0, {SERVER}))
        hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": clients.INITIALIZE}
        start = time.monotonic()
        if server.build:
            subprocess.run(["/bin/sh", "-c", server.build], check=True, **more)
        process = subprocess.Popen(server.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0, **more)
        try:
            process.stdin.write(json.dumps(hello).encode() + b"\n")
            line = process.stdout.readline()
            self.times.append((time.monotonic() - start) * 1000)
            if b'"result"' not in line:
                raise SystemExit("%s answers initialize with %r" % (server.name, line))
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def edit(args, server, client, own, front=None):
    """All edits (half of them where there is no front of ours), each when the one before has been live for a while and what it left running has been answered; then a spell of broken source, and
    one edit more."""
    chance = random.Random(7)
    good = lambda: sum(call.is_good for call in client.calls.values())
    client.wait(lambda: good() >= WARM, 60, "the first answers")
    edits, not_before = [], 0

    def one(change):
        # Anywhere between two calls.
        time.sleep(max(0, not_before - time.monotonic()) + chance.random() * clients.FAST_EVERY)
        before = time.monotonic()
        version = change()
        edits.append({"version": version, "before": before, "after": time.monotonic(), "first": None})
        try:
            client.wait(lambda: client.newest >= version, args.patience, "version %d" % version)
        except TimeoutError as error:
            raise SystemExit("%s\n%s" % (error, "\n".join(front.log.lines) if front else "")) from None
        edits[-1]["first"] = min(call.answered for call in list(client.calls.values()) if call.is_good and call.version >= version)

    for number in range(args.edits if front else args.edits // 2):
        one(server.edit)
        now = time.monotonic()
        not_before = now + args.apart
        client.wait(lambda: all(call.answered for call in client.calls.values() if call.sent < now), args.patience + clients.LOST, "the rest")
        # Every third one is enough where it takes long.
        if own and (number % 3 == 0 or own.times and own.times[-1] < 200):
            front.only_one_is_left()
            own.once()
    server.break_it()
    broken = time.monotonic()
    # Answered or failed: as many calls as belong into the spell.
    client.wait(lambda: sum(call.sent > broken and call.answered is not None for call in client.calls.values()) >= BROKEN, 60, "the broken spell")
    if front:
        front.log.find("keeps serving")
    mended = time.monotonic()
    one(server.mend)
    return edits, (broken, mended)


def everything_answered(client):
    """What has no answer after this is lost."""
    try:
        client.wait(lambda: all(call.answered is not None for call in client.calls.values()), clients.LOST, "the last answers")
    except TimeoutError as error:
        say("    %s" % error)


def share(calls):
    return sum(call.is_good for call in calls) / len(calls) if calls else float("nan")


def is_old(call, edits):
    """Whether a call that was sent after an edit had been written was answered by what was there before."""
    if not call.is_good:
        return False
    return call.version < max((one["version"] for one in edits if one["after"] < call.sent), default=0)


def gaps(calls, edits):
    """The longest time between two good answers around each edit."""
    times = sorted(call.answered for call in calls if call.is_good and not call.is_slow)
    found = []
    for one in edits:
        until = one["first"] + 0.2
        around = [time for time in times if one["before"] - 0.1 <= time <= until]
        found.append(max((b - a) * 1000 for a, b in zip(around, around[1:])) if len(around) > 1 else float("nan"))
    return found


def incumbent(args):
    """The incumbent with its wrapper, repaired: watchdog 6, an `mcp` package below 2. Its client comes back as soon as it can."""
    say("incumbent ...")
    case = Case(servers.Incumbent, "sse", 0, True)
    server = servers.Incumbent(args, args.work / "incumbent")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = dict(servers.clean_environment(), MCP_TRANSPORT="http", MCP_HTTP_HOST="127.0.0.1", MCP_HTTP_PORT=str(port))
    words = ["taskset", "-c", str(SERVER), *server.command]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=server.place,
                               env=environment, start_new_session=True)
    try:
        clients.Log(process.stderr).find("Uvicorn running")
        client = clients.Sse(port, fresh=True)
        client.greet(20)
        with clients.Load(client, comes_back=True):
            edits, broken = edit(args, server, client, None)
        everything_answered(client)
        client.close()
    finally:
        # Its wrapper leaves the server behind when it is told to end.
        os.killpg(process.pid, signal.SIGTERM)
        clients.end(process, 5)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    case.judge(client, edits, broken, None)
    case.watched = 2
    return case


def idle(args):
    """The share of a core that a front takes which watches 5000 files and has nothing to do, its server included."""
    server = servers.Plain(args, args.work / "idle")
    server.fill(5000)
    front = Front(args, server, "stdio", True)
    try:
        front.client.greet()
        call = front.client.call()
        front.client.wait(lambda: call.answered, 20, "an answer")
        # What was not read at the start is read in the first seconds.
        time.sleep(args.idle_seconds / 3)
        start, before = time.monotonic(), cpu(front.process.pid)
        time.sleep(args.idle_seconds)
        percent = 100 * (cpu(front.process.pid) - before) / (time.monotonic() - start)
    finally:
        front.end()
    print("### An idle front that watches {:,} files, {:.0f} s\n".format(front.watched, args.idle_seconds))
    print("- all its threads and its server: %.2f %% of a core" % percent)
    target("at most %g %%" % IDLE_PERCENT, percent <= IDLE_PERCENT)
    print(flush=True)


def cpu(pid):
    """Seconds of this process and all below it."""
    with open("/proc/%d/stat" % pid) as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    total = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total + sum(cpu(child) for child in children(pid))


def children(pid):
    found = []
    for task in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/children" % (pid, task)) as words:
                found += map(int, words.read().split())
        except FileNotFoundError:
            # That thread has ended since.
            pass
    return found


def matrix(args):
    """What is measured unless `--only` says otherwise."""
    of = lambda kind, *rows: [Case(kind, *row) for row in rows]
    others = [("sse", 10, False), ("stdio", 5000, False), ("sse", 5000, True), ("stdio", 10, True)]
    cases = of(servers.Plain, ("sse", 10, False), ("stdio", 10, False), ("sse", 5000, False), ("stdio", 5000, False), ("sse", 5000, False, 20),
               ("sse", 10, True), ("sse", 5000, True), ("stdio", 5000, True, 20))
    for kind in (servers.Sdk, servers.Everything, servers.Rust):
        cases += of(kind, *others)
    return [case for case in cases if chosen(args, case.name)]


def chosen(args, name):
    return not args.only or any(name.startswith(only) for only in args.only.split(","))


def median(values):
    return statistics.median(values) if values else float("nan")


def number(value, digits=0):
    return "{:,.{}f}".format(value, digits)


def table(head, rows, words=1):
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join(["---"] * words + ["---:"] * (len(head) - words)) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def target(text, is_met):
    print("- target: %s: %s" % (text, "met" if is_met else "NOT met"))


def say(text):
    print(text, file=sys.stderr, flush=True)


TRANSPORTS = {"sse": "HTTP+SSE", "stdio": "stdio"}


def show_calls(cases):
    print("### What became of the calls\n")
    rows = []
    for case in cases:
        ours = case.kind is not servers.Incumbent
        hold = ("10 s" if case.hold else "0") if ours else "none"
        old = str(case.old) if case.hold else "-"
        rows.append([case.kind.name, TRANSPORTS[case.transport], case.tree(), hold, number(case.calls), number(case.failed), number(case.lost),
                     number(case.wrong), number(case.drops), "%.0f %%" % (100 * case.broken), old])
    table(["server", "transport", "files", "hold", "calls", "failed", "lost", "wrong ids", "drops", "answered while broken", "old answers"], rows, 4)


def show_times(cases):
    """With `--hold 0`, where a call is answered at once, by old code or new."""
    measured = [case for case in cases if not case.hold or case.kind is servers.Incumbent]
    if not measured:
        return
    print("### From an edit to the first new answer, and the time between two good answers around it (--hold 0)\n")
    rows = []
    for case in measured:
        own = number(median(case.own)) if case.own else "-"
        more = number(median(case.new) - median(case.own)) if case.own else "-"
        rows.append([case.kind.name, TRANSPORTS[case.transport], case.tree(), number(median(case.new)), number(max(case.new, default=float("nan"))),
                     own, more, number(median(case.gaps)), number(max(case.gaps, default=float("nan")))])
    table(["server", "transport", "files", "new answer after ms", "at most", "the server itself", "more", "between good answers", "at most"], rows, 3)
    for case in measured:
        if case.kind is servers.Incumbent:
            continue
        name = "%s, %s, %s files" % (case.kind.name, TRANSPORTS[case.transport], case.tree())
        target("%s: at most %d ms more than the server itself" % (name, MORE_MS), median(case.new) - median(case.own) <= MORE_MS)
        target("%s: at most %d ms between good answers" % (name, GAP_MS), median(case.gaps) <= GAP_MS)
        if case.kind is servers.Plain:
            target("%s: below %d ms in all" % (name, BARE_MS), median(case.new) < BARE_MS)
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", type=Path, required=True, help="the release binary")
    parser.add_argument("--clients", type=Path, required=True, help="where mcp-2.3.0 and node are installed")
    parser.add_argument("--venv", type=Path, required=True, help="the environment of the incumbent")
    parser.add_argument("--work", type=Path, required=True, help="a directory for the servers that are edited")
    parser.add_argument("--only", default="", help="how the names of cases begin, divided by commas: plain-sse-10, sdk, incumbent, idle, ...")
    parser.add_argument("--edits", type=int, default=20)
    parser.add_argument("--apart", type=float, default=0, help="seconds from an edit being live to the next one, at least")
    parser.add_argument("--patience", type=float, default=60, help="seconds until an edit is given up, and with it all")
    parser.add_argument("--idle-seconds", type=float, default=20)
    parser.add_argument("--log", action="store_true", help="keeps the log of each front, at level debug, beside the servers")
    args = parser.parse_args()
    # Relative words would be looked up in the directory of each server.
    for name in ("ours", "clients", "venv", "work"):
        setattr(args, name, Path(os.path.abspath(getattr(args, name))))
    if (os.cpu_count() or 1) < 2:
        sys.exit("two cores are needed: one for front and server, one for the load")
    os.sched_setaffinity(0, {LOAD})
    print("%d cores, load average %.1f when it began; %d edits each, 50 calls/s and 5 slow ones.\n" % (os.cpu_count(), os.getloadavg()[0], args.edits))
    cases = [case.run(args) for case in matrix(args)]
    ours = list(cases)
    if chosen(args, "incumbent"):
        cases.append(incumbent(args))
    if cases:
        show_calls(cases)
        show_times(cases)
    if chosen(args, "idle"):
        idle(args)
    faults = {case.name: case.faults() for case in ours if case.faults()}
    for name, found in faults.items():
        print("- FAULT in %s: %s" % (name, ", ".join("%s: %s" % pair for pair in found.items())))
    for case in ours:
        for failure in case.failures[:3]:
            print("  - %s: %s" % (case.name, failure))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
