#!/usr/bin/env python3
"""Drives real third-party MCP clients against our binary and prints TAP.

    run.py [--bin PATH] [--only TEXT] [--jobs N] [--idle SECONDS]

The clients are separate programs that keep one connection and are told step by step what to do; see kit.py.
Installed by clients.mk. Standard library only.
"""

import argparse
import json
import re
import shutil
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import behind
import independent
from kit import (
    HERE,
    NODE,
    ROOT,
    STEP_DEADLINE,
    STEPS,
    Endpoint,
    Failure,
    Process,
    Result,
    Server,
    converse,
    need,
    python_client,
    remote_command,
    steps_through,
    typescript_client,
)


def quiet_cancel(data, log):
    """Our own server does not answer a cancelled call at all, and its handler ends: the demo says so on stderr, once
    per call. (Progress alone does not show it: the library holds back what a cancelled handler still reports.)
    `log` is the process whose stderr that is."""
    need(data["told"], f"the client did not send notifications/cancelled: {data}")
    need(data["answers"] == [], f"the cancelled call was answered: {data['answers']}")
    log.said("slow was cancelled at step")


def opening(first, server=None, modern=False):
    """The client really opened as it does by default, in the era it should, and got the version it asked for. Without
    a `server` the client has started one of its own, whose stderr is the client's."""

    def check(step, data, client):
        if step == "initialize":
            need(data["first"] == first, f"the first request was {data['first']}")
            need(data["modern"] == modern, f"the era: {data}")
            if not data["modern"]:
                need(data["answer"]["protocolVersion"] == "2025-11-25", f"initialize was answered {data['answer']}")
        if step == "cancel":
            quiet_cancel(data, server.process if server else client)

    return check


def through_remote(url, words, uses, number):
    """What a desktop client does: plain JSON-RPC lines into mcp-remote."""
    name = f"mcp-remote {words} at /{url.split('/')[-1]}, run {number}"
    command, state = remote_command(url, words, name)
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
        # http-first at /sse has posted there, was told 405, and fell back.
        need(any(f"using {uses}" in line for line in remote.error_tail), f"mcp-remote did not use {uses}")
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


# Name, program, first request, and whether it speaks the modern era to a server that has it (not over HTTP+SSE).
CLIENTS = [
    ("python mcp 2.3.0", python_client("2.3.0"), "server/discover", True),
    ("python mcp 2.3.0 legacy", python_client("2.3.0", "--mode", "legacy"), "initialize", False),
    ("python mcp 1.30.0", python_client("1.30.0"), "initialize", False),
    ("typescript sdk 1.32.2", typescript_client(), "initialize", False),
]

SSE, STREAMABLE = "SSEClientTransport", "StreamableHTTPClientTransport"
# mcp-remote's options, the path, and the transport it must end up with.
REMOTES = [
    ("--transport http-first", "/sse", SSE),
    ("--transport sse-first", "/sse", SSE),
    ("--transport sse-only", "/sse", SSE),
    ("--transport http-first", "/mcp", STREAMABLE),
    ("--transport http-only", "/mcp", STREAMABLE),
    ("--protocol auto", "/mcp", STREAMABLE),
]
REMOTE_RUNS = 8


def cases(server, binary):
    """(name, thunk) of everything against the demo."""
    sse = Endpoint("sse", url=f"{server.base}/sse")
    streamable = Endpoint("streamable", url=f"{server.base}/mcp")
    stdio = Endpoint("stdio", command=[binary, "demo", "--stdio"])

    def case(name, program, endpoint, first, modern=False, steps=STEPS):
        log = None if endpoint is stdio else server
        return name, lambda: converse(name, program, endpoint, steps, check=opening(first, log, modern))

    for name, program, first, modern in CLIENTS:
        yield case(f"{name} sse", program, sse, first)
        yield case(f"{name} stdio", program, stdio, first, modern)
        yield case(f"{name} streamable", program, streamable, first, modern)

    hosts = ["localhost"] + (["[::1]"] if has_ipv6_loopback() else [])
    for host in hosts:
        endpoint = Endpoint("sse", url=f"http://{host}:{server.port}/sse")
        yield case(f"typescript sdk 1.32.2 sse at {host}", typescript_client(), endpoint, "initialize", steps=["initialize", "echo"])

    # mcp-remote as a real client would use it: every feature through it, in both directions.
    for words, path, _ in REMOTES:
        name = f"typescript sdk 1.32.2 through mcp-remote {words} at {path}"
        command, _ = remote_command(server.base + path, words, name)
        endpoint = Endpoint("stdio", command=command)
        yield case(name, typescript_client(), endpoint, "initialize", steps=steps_through(words))

    for words, path, uses in REMOTES:
        for number in range(1, REMOTE_RUNS + 1):
            name = f"mcp-remote {words} at {path}, run {number}"
            yield name, lambda w=words, p=path, u=uses, n=number: through_remote(server.base + p, w, u, n)


def idle_cases(server, seconds):
    """Clients that say nothing for longer than the read timeout of theirs (300 s)."""

    def wait(step, client):
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
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--idle", type=int, help="instead: clients that are idle for that many seconds")
    args = parser.parse_args()
    binary = args.bin.resolve()

    tap = Tap()
    for program in ("client.mjs", "ai.mjs"):
        shutil.copy(HERE / "node" / program, NODE)
    try:
        server = Server([binary, "demo", "--http", "--port", "0"])
    except (Failure, OSError) as failure:
        tap.add(Result("the server starts", str(failure)))
        return tap.finish()
    try:
        wanted = idle_cases(server, args.idle) if args.idle else [*cases(server, binary), *behind.cases(binary), *independent.cases(binary)]
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
