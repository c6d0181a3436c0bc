"""What the cases share: processes read with deadlines, the clients and how they are told what to do, servers, results.

The clients are separate programs (python/client.py, node/client.mjs) that keep one connection and are told
step by step what to do; see `Client`. Standard library only.
"""

import argparse
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
INSTALLED = ROOT / "target" / "clients"
NODE = INSTALLED / "node"
REMOTE = NODE / "node_modules" / "mcp-remote" / "dist" / "proxy.js"

# The clients give up on a step earlier, and then say what passed on the wire.
STEP_DEADLINE = 90
STEPS = ["initialize", "list", "echo", "add", "progress", "cancel", "ask", "log", "resource", "prompt", "ping", "refuse"]


class Failure(Exception):
    """A check that did not hold; the text is for the reader of the TAP output."""


def need(truth, text):
    if not truth:
        raise Failure(text)


def environment(**more):
    """Ours, without the variables that would configure the server or a client, and without those that SDKs do not pass
    on to a server: where a front's control socket lies must not depend on who started it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MCP_") and k not in ("XDG_RUNTIME_DIR", "TMPDIR")}
    return kept | more


class Process:
    """A child of ours in its own process group, read line by line with deadlines."""

    def __init__(self, command, cwd=INSTALLED, **env):
        self.command = [str(word) for word in command]
        self.child = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(**env),
            cwd=cwd,
            start_new_session=True,
        )
        self.out, self.errors, self.error_tail = queue.Queue(), queue.Queue(), deque(maxlen=60)
        self._readers = [
            threading.Thread(target=self._read, args=(self.child.stdout, self.out, None), daemon=True),
            threading.Thread(target=self._read, args=(self.child.stderr, self.errors, self.error_tail), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(pipe, lines, tail):
        for raw in pipe:
            line = raw.decode(errors="replace").rstrip("\n")
            lines.put(line)
            if tail is not None:
                tail.append(line)
        lines.put(None)

    def write(self, message):
        try:
            self.child.stdin.write(json.dumps(message).encode() + b"\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            raise Failure(f"the process has ended ({self.child.poll()})") from None

    def line(self, lines, deadline, what):
        """The next line, or a Failure that says what was awaited."""
        try:
            line = lines.get(timeout=max(0, deadline - time.monotonic()))
        except queue.Empty:
            raise Failure(f"nothing came while waiting for {what}") from None
        need(line is not None, f"the process closed its output before {what}")
        return line

    def said(self, text, seconds=STEP_DEADLINE):
        """Waits for a line with that text on stderr."""
        deadline = time.monotonic() + seconds
        while text not in self.line(self.errors, deadline, f"{text!r} on stderr"):
            pass

    def end(self, how="stdin", seconds=20):
        """Asks the process to end, sees to it that it does, and returns its exit code."""
        try:
            if how == "stdin":
                self.child.stdin.close()
            else:
                self.child.send_signal(how)
            return self.child.wait(seconds)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            return None
        finally:
            self.kill()

    def kill(self):
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self.child.wait()
        for reader in self._readers:
            reader.join(5)


class Server:
    """A server over HTTP that says on stderr where it listens."""

    def __init__(self, command, **more):
        self.process = Process(command, **more)
        deadline = time.monotonic() + 60
        try:
            while True:
                line = self.process.line(self.process.errors, deadline, "'listening on' on stderr")
                if found := re.search(r"listening on (http://127\.0\.0\.1:(\d+))", line):
                    self.base, self.port = found[1], int(found[2])
                    return
        except Failure as failure:
            self.process.kill()
            raise Failure("\n".join([str(failure), *self.process.error_tail])) from None


@dataclass
class Endpoint:
    """Where a client connects to: a URL, or a command whose stdio it speaks."""

    transport: str
    url: str = None
    command: list = field(default_factory=list)

    def words(self):
        where = ["--url", self.url] if self.url else ["--", *self.command]
        return ["--transport", self.transport, *where]


def python_client(version, *more):
    return [INSTALLED / f"mcp-{version}" / "bin" / "python", HERE / "python" / "client.py", *more]


def typescript_client():
    return ["node", NODE / "client.mjs"]


def remote_command(url, words, name):
    """mcp-remote with a state directory of its own: nothing of ~/.mcp-auth is read or written."""
    state = INSTALLED / "state" / re.sub("[^a-z0-9]+", "-", name)
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    return ["env", f"MCP_REMOTE_CONFIG_DIR={state}", "node", REMOTE, url, *words.split()], state


def steps_through(words):
    """The steps that mcp-remote with these options can do. It cancels a modern call by POSTing notifications/cancelled, where
    on this transport the closed response stream is the signal (an id says nothing where the requests of all clients
    meet), so that call runs on: 0.15.1."""
    return [step for step in STEPS if step != "cancel" or words != "--protocol auto"]


@dataclass
class Result:
    name: str
    failure: str = None


class Client(Process):
    """A client program with its one connection."""

    def __init__(self, program, endpoint, **more):
        super().__init__([*program, *endpoint.words()], **more)
        self.broken = None

    def tell(self, step, meanwhile=None, **words):
        """Has the client do a step, and returns what it reports. `meanwhile()` runs while the client is at it."""
        self.write({"step": step, **words})
        if meanwhile:
            meanwhile()
        try:
            answer = json.loads(self.line(self.out, time.monotonic() + STEP_DEADLINE, f"step {step}"))
        except Failure as failure:
            self.broken = str(failure)
            raise
        if answer["step"] == "connection":
            self.broken = answer["detail"]
        need(answer["ok"], "\n".join([answer.get("detail", ""), "on the wire:", *answer.get("wire", [])]))
        return answer.get("data")

    def tail(self):
        return "stderr of the client:\n" + "\n".join(list(self.error_tail)[-25:])


def converse(name, program, endpoint, steps=STEPS, between=None, check=None, **more):
    """One client, one connection, all steps. `between(step, client)` runs before each (a reload, a restart), and may return
    what is to happen while the step is under way; `check(step, data, client)` may judge what the client reports.
    A connection that broke fails every step after it."""
    client = Client(program, endpoint, **more)
    results = []
    try:
        for step in steps:
            label = f"{name}: {step}"
            if client.broken:
                results.append(Result(label, f"not run, the connection had failed: {client.broken}"))
                continue
            try:
                data = client.tell(step, between(step, client) if between else None)
                if check:
                    check(step, data, client)
                results.append(Result(label))
            except Failure as failure:
                client.broken = client.broken or (str(failure) if client.child.poll() is not None else None)
                results.append(Result(label, f"{failure}\n{client.tail()}"))
        if not client.broken:
            code = client.end()
            results.append(Result(f"{name}: close", None if code == 0 else f"exit code {code} after stdin was closed"))
    finally:
        client.kill()
    return results
