"""Clients that hand on every message a server sends: over stdio, HTTP+SSE and Streamable HTTP. Standard library only."""

import http.client
import json
import os
import queue
import re
import subprocess
import threading
from urllib.parse import urlsplit

DEADLINE = 20


class Failure(Exception):
    """A conversation that came to nothing; the text is for the reader of the TAP output."""


class Target:
    """A server in a process of its own, on stdio or on a free port."""

    def __init__(self, command, is_stdio):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MCP_")}
        if not is_stdio:
            environment |= {"MCP_TRANSPORT": "http", "MCP_HTTP_PORT": "0"}
        pipe = subprocess.PIPE if is_stdio else subprocess.DEVNULL
        self.child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.PIPE, env=environment)
        self.said, self.addresses = [], queue.Queue()
        run(self._errors)
        if not is_stdio:
            try:
                self.address = self.addresses.get(timeout=DEADLINE)
            except queue.Empty:
                self.__exit__()
                raise Failure("\n".join(["the server did not say where it listens:", *self.said])) from None

    def _errors(self):
        for line in self.child.stderr:
            self.said.append(line.decode(errors="replace").rstrip())
            if found := re.search(r"listening on http://(127\.0\.0\.1:\d+)", self.said[-1]):
                self.addresses.put(found[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.terminate()
        try:
            self.child.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def run(work, *arguments):
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


def headers_of(message):
    """What a modern request repeats in headers."""
    params = message.get("params", {})
    meta, method = params.get("_meta", {}), message.get("method", "")
    headers = {"MCP-Protocol-Version": meta.get("io.modelcontextprotocol/protocolVersion", "2026-07-28"), "Mcp-Method": method}
    name = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}.get(method)
    if name in params:
        headers["Mcp-Name"] = params[name]
    if params.get("name") == "test_custom_header":
        headers["Mcp-Param-Value"] = params["arguments"]["value"]
    return headers


def events(answer):
    """The events of a stream: each its id and its data."""
    id, data = None, []
    for raw in answer:
        line = raw.decode().rstrip("\r\n")
        if not line:
            if id is not None or data:
                yield id, "\n".join(data)
            id, data = None, []
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif line.startswith("id:"):
            id = line[3:].removeprefix(" ")


class Stdio:
    name, takes_batches = "stdio", True

    def __init__(self, target, version, incoming):
        self.target, self.incoming, self.lock = target, incoming, threading.Lock()
        run(self._read)

    def _read(self):
        for line in self.target.child.stdout:
            self.incoming(json.loads(line))

    def send(self, message):
        self.send_text(json.dumps(message))

    def send_text(self, text):
        with self.lock:
            self.target.child.stdin.write(text.encode() + b"\n")
            self.target.child.stdin.flush()

    def listen(self):
        pass

    def abandon(self, id):
        self.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})

    def trouble(self):
        return "\n".join(self.target.said[-5:])

    def close(self):
        self.target.child.stdin.close()
        self.target.child.wait(DEADLINE)


class Sse:
    name, takes_batches = "HTTP+SSE", False

    def __init__(self, target, version, incoming):
        self.address, self.incoming = target.address, incoming
        self.said, self.endpoint = target.said, queue.Queue()
        self.stream = http.client.HTTPConnection(self.address, timeout=2 * DEADLINE)
        self.stream.request("GET", "/sse", headers={"Accept": "text/event-stream"})
        run(self._read, self.stream.getresponse())
        self.path = self.endpoint.get(timeout=DEADLINE)

    def _read(self, answer):
        for _, data in events(answer):
            if data.startswith("/"):
                self.endpoint.put(data)
            elif data:
                self.incoming(json.loads(data))

    def send(self, message):
        status, body = self._post(json.dumps(message))
        if status != 202:
            raise Failure(f"POST was answered {status} {body[:200]}")

    def send_text(self, text):
        self.incoming(json.loads(self._post(text)[1]))

    def _post(self, text):
        connection = http.client.HTTPConnection(self.address, timeout=DEADLINE)
        connection.request("POST", self.path, text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body

    def listen(self):
        pass

    def trouble(self):
        return "\n".join(self.said[-5:])

    def close(self):
        self.stream.sock and self.stream.sock.close()


class Streamable:
    name, takes_batches = "Streamable HTTP", True

    def __init__(self, target, version, incoming):
        self.address, self.version, self.incoming = target.address, version, incoming
        self.session, self.failures, self.open = None, [], {}

    def _headers(self, message):
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self.version == "2026-07-28":
            return headers | headers_of(message)
        if self.session:
            headers |= {"Mcp-Session-Id": self.session, "MCP-Protocol-Version": self.version}
        return headers

    def send(self, message):
        """Waits for the head of the answer only; what comes on a stream comes in a thread."""
        self.send_text(json.dumps(message), message)

    def send_text(self, text, message=None):
        connection = http.client.HTTPConnection(self.address, timeout=2 * DEADLINE)
        connection.request("POST", "/mcp", text, self._headers(message or {}))
        answer = connection.getresponse()
        self.session = answer.getheader("Mcp-Session-Id") or self.session
        kind = answer.getheader("Content-Type", "")
        if kind.startswith("text/event-stream"):
            id = message.get("id") if isinstance(message, dict) else None
            self.open[id] = connection
            run(self._read, answer, id)
        elif body := answer.read():
            if not kind.startswith("application/json"):
                raise Failure(f"{text[:200]} was answered {answer.status} {body[:200]}")
            self.incoming(json.loads(body))

    def _read(self, answer, id):
        """Comes back for what a stream that ended early did not bring (2025-11-25)."""
        try:
            last, is_answered = None, id is None
            for event, data in events(answer):
                last = event or last
                if data:
                    message = json.loads(data)
                    is_answered = is_answered or ("method" not in message and message.get("id") == id)
                    self.incoming(message)
            if last and not is_answered:
                self._get({"Last-Event-ID": last}, id)
        except (OSError, ValueError, http.client.HTTPException) as failure:
            self.failures.append(repr(failure))

    def _get(self, more, id):
        connection = http.client.HTTPConnection(self.address, timeout=2 * DEADLINE)
        connection.request("GET", "/mcp", headers=self._headers({}) | {"Accept": "text/event-stream"} | more)
        answer = connection.getresponse()
        if answer.status != 200:
            raise Failure(f"GET was answered {answer.status} {answer.read()[:200]}")
        run(self._read, answer, id)

    def listen(self):
        self._get({}, None)

    def abandon(self, id):
        self.open[id].sock and self.open[id].sock.close()

    def trouble(self):
        return "; ".join(self.failures[-3:])

    def close(self):
        if self.version != "2026-07-28":
            connection = http.client.HTTPConnection(self.address, timeout=DEADLINE)
            connection.request("DELETE", "/mcp", headers=self._headers({}))
            if (answer := connection.getresponse()).status not in (200, 202, 204):
                raise Failure(f"DELETE was answered {answer.status}")
