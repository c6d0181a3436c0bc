"""Processes that are waited for by event, and what is asked of a server once it runs. Standard library only."""

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from urllib.parse import urlsplit

DEADLINE = 60


class Wrong(Exception):
    """What did not hold, for the reader of the report."""


def need(truth, text):
    if not truth:
        raise Wrong(text)
    return truth


def free_ports(count):
    listeners = [socket.socket() for _ in range(count)]
    for listener in listeners:
        listener.bind(("127.0.0.1", 0))
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


class Process:
    """A running command in a process group of its own, its output kept line by line."""

    def __init__(self, command, cwd, env):
        self.command = command
        self.child = subprocess.Popen(
            command,
            shell=isinstance(command, str),
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.out, self.errors, self.news = [], [], threading.Condition()
        self.readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in [(self.child.stdout, self.out), (self.child.stderr, self.errors)]]
        for reader in self.readers:
            reader.start()

    def _read(self, pipe, lines):
        for line in pipe:
            with self.news:
                lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            lines.append(None)
            self.news.notify_all()

    def wait_for(self, lines, holds, what, begin=0):
        """The number of the first line from `begin` on for which `holds`."""
        deadline = time.monotonic() + DEADLINE
        with self.news:
            while True:
                for at in range(begin, len(lines)):
                    if lines[at] is not None and holds(lines[at]):
                        return at
                begin = max(begin, len(lines) - 1)
                left = deadline - time.monotonic()
                need(left > 0 and None not in lines, f"never saw {what}; {self.tail()}")
                self.news.wait(left)

    def tail(self):
        said = [line for line in (self.errors + self.out)[-12:] if line]
        return "its last words: " + " | ".join(said)

    def write(self, text):
        try:
            self.child.stdin.write(text)
            self.child.stdin.flush()
        except BrokenPipeError:
            raise Wrong(f"it does not read any more; {self.tail()}") from None

    def end(self, how, good=(0,)):
        """Ends it by closing stdin, or by a signal to its group, and looks at the exit status."""
        if self.child.poll() is None:
            if how == "stdin":
                self.child.stdin.close()
            else:
                os.killpg(self.child.pid, how)
        try:
            status = self.child.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Wrong("it does not end") from None
        need(status in good, f"it ended with {status}; {self.tail()}")

    def finish(self, good=(0,)):
        """Waits until it has ended by itself; returns all of its stdout and stderr."""
        self.child.stdin.close()
        try:
            status = self.child.wait(900)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Wrong("it does not end") from None
        for reader in self.readers:
            reader.join(DEADLINE)
        need(status in good, f"exit {status}; {self.tail()}")
        return "\n".join(self.out[:-1]), "\n".join(self.errors[:-1])

    def kill(self):
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()


INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "readme", "version": "1"}}


class StdioClient:
    """The client of a server on stdio."""

    def __init__(self, process):
        self.process, self.last = process, 0
        need("serverInfo" in self.ask("initialize", INITIALIZE), "no serverInfo in the answer to initialize")
        process.write('{"jsonrpc":"2.0","method":"notifications/initialized"}\n')

    def ask(self, method, params=None):
        self.last += 1
        number, begin = self.last, len(self.process.out)
        self.process.write(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}) + "\n")
        is_answer = lambda line: json.loads(line).get("id") == number and "method" not in json.loads(line)
        answer = json.loads(self.process.out[self.process.wait_for(self.process.out, is_answer, f"the answer to {method}", begin)])
        need("result" in answer, f"{method}: {answer}")
        return answer["result"]

    def greeting(self):
        return self.ask("tools/call", {"name": "greet", "arguments": {}})["content"][0]["text"]


def listening(process):
    """The base URL that a server over HTTP says on stderr."""
    at = process.wait_for(process.errors, lambda line: "listening on http://" in line, "'listening on'")
    return "http://" + process.errors[at].split("listening on http://")[1].split()[0].rstrip("/,")


def answers(url, token=None):
    """One request to an MCP URL, or to any other; its status must be 200."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if parts.path.endswith("/mcp"):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE})
        headers |= {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        connection.request("POST", parts.path, body, headers)
    else:
        connection.request("GET", parts.path, headers=headers)
    status = connection.getresponse().status
    connection.close()
    need(status == 200, f"{url} answered {status}")
