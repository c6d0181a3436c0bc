#!/usr/bin/env python3
"""Drives `connect` with the stdio clients of the Python and TypeScript SDKs, and prints TAP.

    connect.py [--bin PATH] [--only TEXT] [--jobs N]

Behind it stand our own demo, the reference server, and servers of the Python SDK, over both transports; they are
killed and started again between calls. The clients and their steps are those of run.py.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kit import HERE, INSTALLED, NODE, ROOT, STEPS, Endpoint, Failure, Result, converse, environment, need
from kit import python_client, typescript_client
from run import Tap

EVERYTHING = NODE / "node_modules" / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"
CLIENTS = [
    ("python mcp 2.3.0", python_client("2.3.0")),
    ("python mcp 2.3.0 legacy", python_client("2.3.0", "--mode", "legacy")),
    ("python mcp 1.30.0", python_client("1.30.0")),
    ("typescript sdk 1.32.2", typescript_client()),
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Remote:
    """A server on a port of its own that can be killed and started again. `command(port)` is its words."""

    def __init__(self, command, path):
        self.port = free_port()
        self.command = [str(word) for word in command(self.port)]
        self.url = f"http://localhost:{self.port}{path}"
        self.start()

    def start(self):
        # Each start has a key of its own: sessions of before are forgotten, as they are elsewhere.
        env = environment(PORT=str(self.port), MCP_STATE_KEY=os.urandom(32).hex())
        nowhere = subprocess.DEVNULL
        self.child = subprocess.Popen(self.command, stdin=nowhere, stdout=nowhere, stderr=nowhere, env=env, start_new_session=True)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                need(time.monotonic() < deadline and self.child.poll() is None, f"{self.command} does not start")
                time.sleep(0.02)

    def stop(self):
        self.child.kill()
        self.child.wait()

    def restart(self):
        self.stop()
        self.start()


def case(name, program, binary, command, path, steps, restart_before=(), flags=()):
    """One client through `connect` to a server of its own; the server is restarted before those steps (by number)."""

    def run():
        try:
            remote = Remote(command, path)
        except (Failure, OSError) as failure:
            return [Result(name, str(failure))]
        count = iter(range(len(steps)))

        def between(*_):
            if next(count) in restart_before:
                remote.restart()

        endpoint = Endpoint("stdio", command=[binary, "connect", *flags, remote.url])
        try:
            return converse(name, program, endpoint, steps, between=between)
        finally:
            remote.stop()

    return name, run


def cases(binary):
    def demo(port):
        return [binary, "demo", "--http", "--port", port]

    def everything(transport):
        return lambda port: ["node", EVERYTHING, transport]

    def echo(version, transport):
        return lambda port: [INSTALLED / f"mcp-{version}" / "bin" / "python", HERE / "python" / "echo_server.py", transport, port]

    for name, program in CLIENTS:
        for path in ["/sse", "/mcp"]:
            yield case(f"{name} through connect to our {path}", program, binary, demo, path, STEPS)
            steps = ["initialize", "list", "echo", "log", "ask", "progress", "echo", "ping"]
            yield case(f"{name} through connect to our {path}, restarted", program, binary, demo, path, steps, {2, 3, 4, 5, 6})

    foreign = [
        ("server-everything", everything("sse"), everything("streamableHttp")),
        ("python mcp 2.3.0 server", echo("2.3.0", "sse"), echo("2.3.0", "streamable-http")),
        ("python mcp 1.30.0 server", echo("1.30.0", "sse"), echo("1.30.0", "streamable-http")),
    ]
    steps = ["initialize", "foreign", "foreign", "ping", "foreign"]
    for name, program in [CLIENTS[0], CLIENTS[3]]:
        for server, sse, streamable in foreign:
            for path, command in [("/sse", sse), ("/mcp", streamable)]:
                yield case(f"{name} through connect to {server} {path}", program, binary, command, path, steps, {2, 4})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=Path, default=ROOT / "target" / "debug" / "mcp-http-transport")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    shutil.copy(HERE / "node" / "client.mjs", NODE)
    tap = Tap()
    wanted = [run for name, run in cases(args.bin.resolve()) if args.only in name]
    with ThreadPoolExecutor(max(1, args.jobs)) as pool:
        for results in pool.map(lambda run: run(), wanted):
            for result in results:
                tap.add(result)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
