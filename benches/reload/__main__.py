#!/usr/bin/env python3
"""Edits servers under a client that calls throughout, and prints as Markdown what the client saw of it, beside what it saw of peers; front and server
on one core, the client on another.

A time that misses its target is said, and fails nothing: times depend on the machine and on what else it does. A call of ours that fails, gets lost
or is answered by old code fails the run; what becomes of a peer's does not.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import client as clients  # noqa: E402
import fronts  # noqa: E402
import servers  # noqa: E402
from fronts import children  # noqa: E402

LOAD = 1
# What a session has to answer before the first edit, and how many seconds the source is broken: some, as a peer that waits before it acts is up
# meanwhile.
WARM, BROKEN = 15, 6
# Seconds until an edit before a peer counts as one that never was live.
PATIENCE_PEER = 20
# What the front may need more than the new server by itself, between two good answers more than between two calls, and in all where the server is a
# bare Python one.
MORE_MS, GAP_MS, BARE_MS, IDLE_PERCENT = 60, 30, 115, 3.0


class Case:
    """One server behind one front, ours or a peer's: `parts` files that are edited in turn, among `files` that are watched."""

    def __init__(self, kind, transport, files, hold, parts=1, front=fronts.Ours):
        self.kind, self.transport, self.files, self.hold, self.parts, self.front = kind, transport, files, hold, parts, front
        where = "%s-%s-%d" % (kind.__name__.lower(), transport, files)
        self.name = where + ("-each" if parts > 1 else "") + ("" if hold else "-unheld") if front.is_ours else front.__name__.lower()

    def tree(self):
        return "{:,}{}".format(self.watched, ", another each time" if self.parts > 1 else "")

    def run(self, args):
        say("%s ..." % self.name)
        server = self.kind(args, args.work / self.name, self.parts)
        server.fill(self.files)
        own = None
        if not self.hold and self.front.is_ours:
            own = Own(self.kind(args, args.work / (self.name + "-own"), self.parts))
        front = self.front(args, server, self.transport, self.hold)
        try:
            self.watched = front.watched
            client = front.client
            client.greet(60)
            with clients.Load(client, args.rate, front.comes_back):
                edits, broken = edit(args, server, client, own, front)
            answered_all(client, time.monotonic(), front)
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
        self.failed, self.lost = len(self.failures), sum(call.is_lost for call in calls)
        self.wrong, self.drops = client.wrong_ids, client.drops
        self.broken = share([call for call in calls if broken[0] <= call.sent < broken[1]])
        self.old = sum(is_old(call, edits) for call in calls) if self.hold else 0
        # The last one mends the source, which is quick where a server that cannot start is started again and again.
        live = [one for one in edits[:-1] if one["first"]]
        self.new, self.never = [(one["first"] - one["before"]) * 1000 for one in live], len(edits) - 1 - len(live)
        self.gaps = gaps(calls, live)
        self.own = own.times if own else []

    def faults(self):
        """What must not be. A peer's are its own."""
        found = {"failed": self.failed, "lost": self.lost, "wrong ids": self.wrong, "drops": self.drops, "old answers": self.old,
                 "not answered while broken": self.broken < 1, "bad exit of the front": self.exit != 0}
        return {what: count for what, count in found.items() if count} if self.front.is_ours else {}


class Own:
    """How long the server itself takes from its start, or that of its build, to the answer to `initialize`: on the same core, under the same load."""

    def __init__(self, server):
        self.server, self.times = server, []
        self.once()
        self.times.clear()

    def once(self):
        server = self.server
        server.edit()
        more = dict(cwd=server.place, env=server.environment(), preexec_fn=lambda: os.sched_setaffinity(0, {fronts.CORE}))
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


def edit(args, server, client, own, front):
    """All edits (half of them before a peer), each when the one before is live, what it left running has been answered and the old server has gone;
    then a spell of broken source, and one edit more."""
    chance = random.Random(7)
    good = lambda: sum(call.is_good for call in client.calls.values())
    client.wait(lambda: good() >= WARM, 60, "the first answers")
    edits, not_before = [], 0

    def one(change):
        # Anywhere between two calls.
        time.sleep(max(0, not_before - time.monotonic()) + chance.random() / args.rate)
        before = time.monotonic()
        version = change()
        edits.append({"version": version, "before": before, "after": time.monotonic(), "first": None})
        try:
            client.wait(lambda: client.newest >= version, args.patience if front.is_ours else PATIENCE_PEER, "version %d" % version)
        except TimeoutError as error:
            if front.is_ours:
                raise SystemExit("%s\n%s" % (error, "\n".join(front.log.lines))) from None
            return say("    %s" % error)
        edits[-1]["first"] = min(call.answered for call in list(client.calls.values()) if call.is_good and call.version >= version)

    for number in range(args.edits if front.is_ours else args.edits // 2):
        one(server.edit)
        now = time.monotonic()
        not_before = now + args.apart
        answered_all(client, now, front)
        front.settle()
        # Every third one is enough where it takes long.
        if own and (number % 3 == 0 or own.times and own.times[-1] < 200):
            own.once()
    server.break_it()
    broken = time.monotonic()
    time.sleep(BROKEN)
    front.has_seen_the_break()
    mended = time.monotonic()
    answered_all(client, mended, front)
    one(server.mend)
    return edits, (broken, mended)


def answered_all(client, before, front):
    if not client.answered_all(before, clients.LOST if front.is_ours else clients.LOST_PEER):
        say("    calls are lost")


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


def idle(args):
    """The share of a core that a front takes which watches 5000 files and has nothing to do, its server included."""
    server = servers.Plain(args, args.work / "idle")
    server.fill(5000)
    front = fronts.Ours(args, server, "stdio", True)
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


def matrix(args):
    """What is measured unless `--only` says otherwise."""
    of = lambda kind, *rows: [Case(kind, *row) for row in rows]
    others = [("sse", 10, False), ("stdio", 5000, False), ("sse", 5000, True), ("stdio", 10, True)]
    cases = of(servers.Plain, ("sse", 10, False), ("stdio", 10, False), ("sse", 5000, False), ("stdio", 5000, False), ("sse", 5000, False, 20),
               ("sse", 10, True), ("sse", 5000, True), ("stdio", 5000, True, 20))
    for kind in (servers.Sdk, servers.Everything, servers.Rust):
        cases += of(kind, *others)
    cases.append(Case(servers.Incumbent, "sse", 0, False, front=fronts.Incumbent))
    if args.hmr:
        cases += [Case(servers.Fastmcp, "stdio", 10, False), Case(servers.Fastmcp, "stdio", 10, False, front=fronts.Hmr)]
    if args.mcpmon:
        cases.append(Case(servers.Plain, "stdio", 10, False, front=fronts.Mcpmon))
    return [case for case in cases if chosen(args, case.name)]


# What README's table is made of.
BESIDE_PEERS = ["plain-sse-10-unheld", "plain-stdio-10-unheld", "fastmcp", "incumbent", "hmr", "mcpmon"]


def chosen(args, name):
    only = BESIDE_PEERS if args.only == "peers" else args.only.split(",")
    return any(name.startswith(each) for each in only)


def median(values):
    return statistics.median(values) if values else float("nan")


def most(values):
    return max(values, default=float("nan"))


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
        hold = ("10 s" if case.hold else "0") if case.front.is_ours else "none"
        old = str(case.old) if case.hold else "-"
        rows.append([case.front.name, case.kind.name, TRANSPORTS[case.transport], case.tree(), hold, number(case.calls), number(case.failed), number(case.lost),
                     number(case.wrong), number(case.drops), "%.0f %%" % (100 * case.broken), old])
    table(["front", "server", "transport", "files", "hold", "calls", "failed", "lost", "wrong ids", "drops", "answered while broken", "old answers"],
          rows, 5)


def show_times(cases, rate):
    """With `--hold 0`, where a call is answered at once, by old code or new."""
    measured = [case for case in cases if not case.hold]
    if not measured:
        return
    print("### From an edit to the first new answer, and the time between two good answers around it (--hold 0)\n")
    rows = []
    for case in measured:
        own = number(median(case.own)) if case.own else "-"
        more = number(median(case.new) - median(case.own)) if case.own else "-"
        rows.append([case.front.name, case.kind.name, TRANSPORTS[case.transport], case.tree(), number(median(case.new)), number(most(case.new)),
                     own, more, number(median(case.gaps)), number(most(case.gaps))])
    table(["front", "server", "transport", "files", "new answer after ms", "at most", "the server itself", "more", "between good answers", "at most"],
          rows, 4)
    for case in measured:
        if not case.front.is_ours:
            continue
        name = "%s, %s, %s files" % (case.kind.name, TRANSPORTS[case.transport], case.tree())
        target("%s: at most %d ms more than the server itself" % (name, MORE_MS), median(case.new) - median(case.own) <= MORE_MS)
        gap = GAP_MS + 1000 / rate
        target("%s: at most %d ms between good answers" % (name, gap), median(case.gaps) <= gap)
        if case.kind is servers.Plain:
            target("%s: below %d ms in all" % (name, BARE_MS), median(case.new) < BARE_MS)
    print(flush=True)


def show_peers(cases):
    """The same calls through each front, those of ours that have a peer's transport or server."""
    cases = [case for case in cases if not case.front.is_ours or chosen(argparse.Namespace(only="peers"), case.name)]
    if all(case.front.is_ours for case in cases):
        return
    print("### Beside the peers\n")
    rows = []
    for case in cases:
        new, broken = sorted(case.new) or [float("nan")], "%.0f %%" % (100 * case.broken)
        own = ", of which %s are the server's own start" % number(median(case.own)) if case.own else ""
        own += ", %d of %d never" % (case.never, case.never + len(case.new)) if case.never else ""
        rows.append([case.front.name, "%s, %s" % (case.kind.name, TRANSPORTS[case.transport]),
                     "%s / %s / %s%s" % (number(new[0]), number(median(new)), number(new[-1]), own), number(median(case.gaps)),
                     "%s / %s" % (number(case.failed + case.lost), number(case.calls)), number(case.wrong), number(case.drops), broken])
    table(["", "before", "edit to new answer, ms, least / median / most", "longest gap, median ms", "calls failed or lost / sent", "wrong ids",
           "dropped", "answered while broken"], rows, 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", type=Path, required=True, help="the release binary")
    parser.add_argument("--clients", type=Path, required=True, help="where mcp-2.3.0 and node are installed")
    parser.add_argument("--venv", type=Path, required=True, help="the environment of the incumbent")
    parser.add_argument("--hmr", type=Path, help="the environment of mcp-hmr, which is left out otherwise")
    parser.add_argument("--mcpmon", type=Path, help="the built mcpmon, which is left out otherwise")
    parser.add_argument("--work", type=Path, required=True, help="a directory for the servers that are edited")
    parser.add_argument("--only", default="", help="how the names of cases begin, divided by commas: plain-sse-10, sdk, incumbent, idle, ...; or peers")
    parser.add_argument("--edits", type=int, default=20)
    parser.add_argument("--rate", type=float, default=50, help="calls per second; a tenth as many slow ones come beside them")
    parser.add_argument("--apart", type=float, default=0, help="seconds from an edit being live to the next one, at least")
    parser.add_argument("--patience", type=float, default=60, help="seconds until an edit is given up, and with it all")
    parser.add_argument("--idle-seconds", type=float, default=20)
    parser.add_argument("--log", action="store_true", help="keeps the log of each front, at level debug, beside the servers")
    args = parser.parse_args()
    # Relative words would be looked up in the directory of each server.
    for name in ("ours", "clients", "venv", "work", "hmr", "mcpmon"):
        if getattr(args, name):
            setattr(args, name, Path(os.path.abspath(getattr(args, name))))
    if (os.cpu_count() or 1) < 2:
        sys.exit("two cores are needed: one for front and server, one for the load")
    os.sched_setaffinity(0, {LOAD})
    print("%d cores, load average %.1f when it began; %d edits each, %g calls/s and %g slow ones.\n"
          % (os.cpu_count(), os.getloadavg()[0], args.edits, args.rate, args.rate / 10))
    cases = [case.run(args) for case in matrix(args)]
    if cases:
        show_calls(cases)
        show_times(cases, args.rate)
        show_peers(cases)
    for name, what in (("mcp-hmr", args.hmr), ("mcpmon", args.mcpmon)):
        if not what:
            print("%s was left out: it is not there.\n" % name)
    if chosen(args, "idle"):
        idle(args)
    print("Load average %.1f in the end. Where others were at work as well, what is more than the server itself says more than the sum.\n" % os.getloadavg()[0])
    faults = {case.name: case.faults() for case in cases if case.faults()}
    for name, found in faults.items():
        print("- FAULT in %s: %s" % (name, ", ".join("%s: %s" % pair for pair in found.items())))
    for case in cases:
        for failure in case.failures[:3]:
            print("  - %s: %s" % (case.name, failure))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
