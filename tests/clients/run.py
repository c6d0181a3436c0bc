#!/usr/bin/env python3
"""Drives real third-party MCP clients against our binary and prints TAP.

    run.py [--bin PATH] [--only TEXT] [--jobs N] [--idle SECONDS]

The clients are separate programs (python/client.py, node/client.mjs) that keep one connection and are told
step by step what to do; see `converse`. Installed by clients.mk. Standard library only.
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
STEP_DEADLINE = 40
STEPS = ["initialize", "list", "echo", "add", "progress", "cancel", "ask", "log", "resource", "prompt", "ping", "refuse"]


class Failure(Exception):
    """A check that did not hold; the text is for the reader of the TAP output."""


def need(truth, text):
    if not truth:
        raise Failure(text)


def environment(**more):
    """Ours, without the variables that would configure the server or a client."""
    return {k: v for k, v in os.environ.items() if not k.startswith("MCP_")} | more


class Process:
    """A child of ours in its own process group, read line by line with deadlines."""

    def __init__(self, command, **env):
        self.command = [str(word) for word in command]
        self.child = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(**env),
            cwd=INSTALLED,
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

    def end(self, how="stdin", seconds=10):
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

    def __init__(self, command):
        self.process = Process(command)
        deadline = time.monotonic() + 20
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


def remote_command(url, strategy, name):
    """mcp-remote with a state directory of its own: nothing of ~/.mcp-auth is read or written."""
    state = INSTALLED / "state" / name
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    return ["env", f"MCP_REMOTE_CONFIG_DIR={state}", "node", REMOTE, url, "--transport", strategy], state


@dataclass
class Result:
    name: str
    failure: str = None


def converse(name, program, endpoint, steps=STEPS, between=None, check=None):
    """One client, one connection, all steps. `between(step)` runs before each (a reload, a restart); `check(step,
    data, client)` may judge what the client reports. A connection that broke fails every step after it."""
    client = Process([*program, *endpoint.words()])
    results, broken = [], None
    try:
        for step in steps:
            label = f"{name}: {step}"
            if broken:
                results.append(Result(label, f"not run, the connection had failed: {broken}"))
                continue
            try:
                if between:
                    between(step)
                client.write({"step": step})
                try:
                    answer = json.loads(client.line(client.out, time.monotonic() + STEP_DEADLINE, f"step {step}"))
                except Failure as failure:
                    broken = str(failure)
                    raise
                if answer["step"] == "connection":
                    broken = answer["detail"]
                need(answer["ok"], "\n".join([answer.get("detail", ""), "on the wire:", *answer.get("wire", [])]))
                if check:
                    check(step, answer.get("data"), client)
                results.append(Result(label))
            except Failure as failure:
                broken = broken or (str(failure) if client.child.poll() is not None else None)
                results.append(Result(label, f"{failure}\nstderr of the client:\n" + "\n".join(list(client.error_tail)[-25:])))
        if not broken:
            code = client.end()
            results.append(Result(f"{name}: close", None if code == 0 else f"exit code {code} after stdin was closed"))
    finally:
        client.kill()
    return results


def quiet_cancel(data, log):
    """Our own server does not answer a cancelled call at all, and its handler ends: the demo says so on stderr, once
    per call. (Progress alone does not show it: the library holds back what a cancelled handler still reports.)
    `log` is the process whose stderr that is."""
    need(data["told"], f"the client did not send notifications/cancelled: {data}")
    need(data["answers"] == [], f"the cancelled call was answered: {data['answers']}")
    deadline = time.monotonic() + 10
    while "slow was cancelled at step" not in log.line(log.errors, deadline, "'slow was cancelled' on the server's stderr"):
        pass


def opening(first, server=None):
    """The client really opened as it does by default, and got the version it asked for. Without a `server` the client
    has started one of its own, whose stderr is the client's."""

    def check(step, data, client):
        if step == "initialize":
            need(data["first"] == first, f"the first request was {data['first']}")
            if not data["modern"]:
                need(data["answer"]["protocolVersion"] == "2025-11-25", f"initialize was answered {data['answer']}")
        if step == "cancel":
            quiet_cancel(data, server.process if server else client)

    return check


def through_remote(url, strategy, number):
    """What a desktop client does: plain JSON-RPC lines into mcp-remote."""
    name = f"mcp-remote {strategy}, run {number}"
    command, state = remote_command(url, strategy, f"{strategy}-{number}")
    remote = Process(command)

    def request(id, method, params):
        remote.write({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        deadline = time.monotonic() + STEP_DEADLINE
        while True:
            answer = json.loads(remote.line(remote.out, deadline, f"the answer to {method}"))
            if answer.get("id") == id and "method" not in answer:
                need("result" in answer, f"{method} was answered {answer}")
                return answer["result"]

    try:
        client = {"name": "clients-test", "version": "1.0.0"}
        opened = request(0, "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client})
        need(opened["protocolVersion"] == "2025-11-25", f"initialize was answered {opened}")
        remote.write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        tools = [tool["name"] for tool in request(1, "tools/list", {})["tools"]]
        need("echo" in tools, f"tools: {tools}")
        called = request("call", "tools/call", {"name": "echo", "arguments": {"message": "through"}})
        need(called["content"][0]["text"] == "through", f"tools/call was answered {called}")
        need(remote.end() is not None, "mcp-remote did not end after its stdin was closed")
        # http-first has posted to /sse, was told 405, and fell back.
        need(any("using SSEClientTransport" in line for line in remote.error_tail), "mcp-remote did not use SSE")
        kept = [p.name for p in state.rglob("*") if re.search("token|client_info|verifier", p.name)]
        need(not kept, f"mcp-remote went through OAuth and left {kept}")
        return [Result(name)]
    except (Failure, KeyError, ValueError) as failure:
        return [Result(name, f"{failure!r}\nstderr of mcp-remote:\n" + "\n".join(remote.error_tail))]
    finally:
        remote.kill()


def has_ipv6_loopback():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            return True
    except OSError:
        return False


def cases(server, binary):
    """(name, thunk) of everything `make clients` runs."""
    sse = Endpoint("sse", url=f"{server.base}/sse")
    stdio = Endpoint("stdio", command=[binary, "demo", "--stdio"])
    clients = [
        ("python mcp 2.3.0", python_client("2.3.0"), "server/discover"),
        ("python mcp 2.3.0 legacy", python_client("2.3.0", "--mode", "legacy"), "initialize"),
        ("python mcp 1.30.0", python_client("1.30.0"), "initialize"),
        ("typescript sdk 1.32.2", typescript_client(), "initialize"),
    ]

    def case(name, program, endpoint, first, steps=STEPS):
        log = None if endpoint is stdio else server
        return name, lambda: converse(name, program, endpoint, steps, check=opening(first, log))

    for name, program, first in clients:
        yield case(f"{name} sse", program, sse, first)
        yield case(f"{name} stdio", program, stdio, first)

    hosts = ["localhost"] + (["[::1]"] if has_ipv6_loopback() else [])
    for host in hosts:
        endpoint = Endpoint("sse", url=f"http://{host}:{server.port}/sse")
        yield case(f"typescript sdk 1.32.2 sse at {host}", typescript_client(), endpoint, "initialize", ["initialize", "echo"])

    # mcp-remote as a real client would use it: every feature through it, in both directions.
    for strategy in ["http-first", "sse-only"]:
        command, _ = remote_command(sse.url, strategy, f"all-{strategy}")
        endpoint = Endpoint("stdio", command=command)
        yield case(f"typescript sdk 1.32.2 through mcp-remote {strategy}", typescript_client(), endpoint, "initialize")

    for strategy in ["http-first", "sse-first", "sse-only"]:
        for number in range(1, 9):
            name = f"mcp-remote {strategy}, run {number}"
            yield name, lambda s=strategy, n=number: through_remote(sse.url, s, n)


def idle_cases(server, seconds):
    """Clients that say nothing for longer than the read timeout of theirs (300 s)."""

    def wait(step):
        if step == "echo":
            time.sleep(seconds)  # the silence is what is tested

    for name, program in [
        ("python mcp 2.3.0", python_client("2.3.0")),
        ("python mcp 1.30.0", python_client("1.30.0")),
        ("typescript sdk 1.32.2", typescript_client()),
    ]:
        label = f"{name} idle for {seconds} s over sse"
        endpoint = Endpoint("sse", url=f"{server.base}/sse")
        yield label, lambda l=label, p=program, e=endpoint: converse(l, p, e, ["initialize", "list", "echo", "ask"], between=wait)


class Tap:
    def __init__(self):
        self.passed = self.failed = 0

    def add(self, result):
        number = self.passed + self.failed + 1
        if result.failure is None:
            self.passed += 1
            print(f"ok {number} - {result.name}", flush=True)
        else:
            self.failed += 1
            print(f"not ok {number} - {result.name}")
            print("\n".join(f"#   {line}" for line in result.failure.split("\n")), flush=True)

    def finish(self):
        print(f"1..{self.passed + self.failed}")
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0


def ending(server):
    """The server that all clients used is alive, has not panicked, and ends cleanly."""
    log = "\n".join(server.process.error_tail)
    if server.process.child.poll() is not None:
        return Result("the server lives", f"exit code {server.process.child.returncode}\n{log}")
    code = server.process.end(signal.SIGTERM, 8)
    log = "\n".join(server.process.error_tail)
    if code != 0 or "panicked" in log:
        return Result("the server ends cleanly", f"exit code {code} after SIGTERM\n{log}")
    return Result("the server ends cleanly")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=Path, default=ROOT / "target" / "debug" / "mcp-http-transport")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--idle", type=int, help="instead: clients that are idle for that many seconds")
    args = parser.parse_args()
    binary = args.bin.resolve()

    tap = Tap()
    shutil.copy(HERE / "node" / "client.mjs", NODE)
    try:
        server = Server([binary, "demo", "--http", "--port", "0"])
    except (Failure, OSError) as failure:
        tap.add(Result("the server starts", str(failure)))
        return tap.finish()
    try:
        wanted = idle_cases(server, args.idle) if args.idle else cases(server, binary)
        wanted = [run for name, run in wanted if args.only in name]
        if not wanted:
            tap.add(Result("there are cases", f"none has {args.only!r} in its name"))
        jobs = len(wanted) if args.idle else args.jobs
        with ThreadPoolExecutor(max(1, jobs)) as pool:
            for results in pool.map(lambda run: run(), wanted):
                for result in results:
                    tap.add(result)
        tap.add(ending(server))
    finally:
        server.process.kill()
    if tap.failed:
        print("# end of the server's stderr:")
        print("\n".join(f"#   {line}" for line in server.process.error_tail))
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
