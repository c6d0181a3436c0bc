#!/usr/bin/env python3
"""Drives `connect` over https, against our demo behind a TLS forwarder with certificates of its own, and prints TAP.

    run.py BINARY [WORK]

BINARY is built with the feature `tls`; the certificates are made in WORK (target/tls/certificates) with `openssl`. Everything is on
loopback. Standard library only.
"""

import json
import os
import queue
import re
import select
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = Path(sys.argv[1]).resolve()
WORK = Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else ROOT / "target" / "tls" / "certificates"
DEADLINE = 20
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tls", "version": "1"}}

passed, failed = [], []


def test(name, run):
    try:
        run()
    except Exception as why:  # One that fails must not keep the others from being run.
        failed.append(name)
        print(f"not ok {len(passed) + len(failed)} - {name}")
        print("".join(f"# {line}\n" for line in f"{type(why).__name__}: {why}".splitlines()), end="", flush=True)
    else:
        passed.append(name)
        print(f"ok {len(passed) + len(failed)} - {name}", flush=True)


# Certificates --------------------------------------------------------------------------------------------------------------------------


def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], cwd=WORK, capture_output=True, text=True, timeout=DEADLINE, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"openssl {words[0]}: {done.stderr}"


KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def authority(name, *extensions):
    """A certificate that signs itself; without `extensions` it may sign others too."""
    added = [word for extension in extensions for word in ("-addext", extension)]
    openssl("req", "-x509", *KEY, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", 2, "-subj", f"/CN={name}", *added)
    return WORK / f"{name}.pem"


def certificate(name, issuer, names, days=2):
    """A server's certificate for `names`, signed by the authority `issuer`."""
    (WORK / f"{name}.ext").write_text(f"basicConstraints=CA:FALSE\nsubjectAltName={names}\n")
    openssl("req", "-new", *KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    signed_by = ["-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-CAcreateserial"]
    openssl("x509", "-req", "-in", f"{name}.csr", *signed_by, "-days", days, "-extfile", f"{name}.ext", "-out", f"{name}.pem")
    return name


# Servers -------------------------------------------------------------------------------------------------------------------------------


class Lines:
    """The lines of a pipe, each waited for with a deadline."""

    def __init__(self, pipe):
        self.queue, self.seen = queue.Queue(), []
        threading.Thread(target=self.read, args=(pipe,), daemon=True).start()

    def read(self, pipe):
        for line in pipe:
            self.queue.put(line.decode().rstrip("\r\n"))
        self.queue.put(None)

    def next(self, deadline, what):
        try:
            line = self.queue.get(timeout=max(0, deadline - time.monotonic()))
        except queue.Empty:
            raise AssertionError(f"not within {DEADLINE} s: {what}; seen: {self.seen[-5:]}") from None
        assert line is not None, f"it ended before {what}; seen: {self.seen[-5:]}"
        self.seen.append(line[:500])
        return line

    def until(self, pattern):
        deadline = time.monotonic() + DEADLINE
        while not (found := re.search(pattern, self.next(deadline, pattern))):
            pass
        return found


def clean(**extra):
    """The environment without settings of ours or of TLS."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MCP_", "SSL_CERT"))} | extra


class Demo:
    """Our demo over plain HTTP."""

    def __init__(self):
        command = [BINARY, "demo", "--http", "--port", "0"]
        self.child = subprocess.Popen(command, cwd=WORK, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=clean())
        try:
            self.port = int(Lines(self.child.stderr).until(r"listening on .*?:(\d+)")[1])
        except BaseException:
            self.stop()
            raise

    def stop(self):
        self.child.kill()
        self.child.wait(DEADLINE)


class Forwarder:
    """Ends TLS before the server on the port `behind`. Can be stopped, connections included, and started again on its port."""

    def __init__(self, behind, name, version=None):
        self.behind, self.port, self.versions = behind, 0, []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(WORK / f"{name}.pem", WORK / f"{name}.key")
        if version:
            self.context.maximum_version = version
        self.start()

    def start(self):
        self.stopped, self.threads = threading.Event(), []
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        self.spawn(self.accept, self.listener, self.stopped)

    def spawn(self, *work):
        thread = threading.Thread(target=work[0], args=work[1:], daemon=True)
        self.threads.append(thread)
        thread.start()

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(DEADLINE)
            assert not thread.is_alive(), "a thread of the forwarder does not end"

    def restart(self):
        self.stop()
        self.start()

    def accept(self, listener, stopped):
        with listener:
            while not stopped.is_set():
                if select.select([listener], [], [], 0.05)[0]:
                    self.spawn(self.serve, listener.accept()[0], stopped)

    def serve(self, raw, stopped):
        """One connection, on one thread: an SSL object is not for two."""
        raw.settimeout(DEADLINE / 2)
        try:
            with self.context.wrap_socket(raw, server_side=True) as client, socket.create_connection(("127.0.0.1", self.behind), 5) as server:
                self.versions.append(client.version())
                client.setblocking(False)
                server.settimeout(DEADLINE / 2)
                while not stopped.is_set():
                    # What is decrypted already does not show in select.
                    ready = [client] if client.pending() else select.select([client, server], [], [], 0.05)[0]
                    if client in ready:
                        try:
                            bytes = client.recv(1 << 16)
                        except ssl.SSLWantReadError:
                            continue
                        if not bytes:
                            return
                        server.sendall(bytes)
                    if server in ready:
                        bytes = server.recv(1 << 16)
                        if not bytes:
                            return
                        self.push(client, bytes)
        except OSError:
            pass  # A client that does not trust us, or is gone.
        finally:
            raw.close()

    def push(self, client, bytes):
        end = time.monotonic() + DEADLINE / 2
        while bytes:
            if time.monotonic() > end:
                raise OSError("the client does not read")
            try:
                bytes = bytes[client.send(bytes):]
            except ssl.SSLWantWriteError:
                select.select([], [client], [], 0.05)
            except ssl.SSLWantReadError:
                select.select([client], [], [], 0.05)


# The client ----------------------------------------------------------------------------------------------------------------------------


class Connect:
    """`connect` to `url`, trusting the certificates in the file `trusted`."""

    def __init__(self, url, trusted, *flags):
        command = [BINARY, "connect", *flags, url]
        env = clean(SSL_CERT_FILE=str(trusted))
        pipe = subprocess.PIPE
        self.child = subprocess.Popen(command, cwd=WORK, stdin=pipe, stdout=pipe, stderr=pipe, env=env)
        self.messages, self.log, self.last, self.others = Lines(self.child.stdout), Lines(self.child.stderr), 0, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait(DEADLINE)

    def send(self, **message):
        self.child.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.child.stdin.flush()

    def ask(self, method, params):
        self.last += 1
        self.send(id=self.last, method=method, params=params)
        return self.last

    def answer(self, number, what):
        """The answer to the request `number`; what comes before it is in `others`."""
        deadline, self.others = time.monotonic() + DEADLINE, []
        while (message := json.loads(self.messages.next(deadline, what))).get("id") != number:
            self.others.append(message)
        return message

    def request(self, method, params):
        return self.answer(self.ask(method, params), method)

    def result(self, method, params):
        message = self.request(method, params)
        assert "result" in message, message
        return message["result"]

    def tool(self, name, arguments, **more):
        return self.result("tools/call", {"name": name, "arguments": arguments, **more})["content"][0]["text"]

    def begin(self):
        assert self.result("initialize", HELLO)["serverInfo"]["name"], "no name"
        self.send(method="notifications/initialized")

    def add(self):
        text = self.tool("add", {"a": 2, "b": 40})
        assert float(text) == 42, text

    def end(self):
        self.child.stdin.close()
        code = self.child.wait(DEADLINE)
        assert code == 0, f"exit code {code}"


def lists(client):
    names = {tool["name"] for tool in client.result("tools/list", {})["tools"]}
    assert {"add", "echo", "slow"} <= names, names


def progresses(client):
    text = client.tool("slow", {"seconds": 0.4, "steps": 4}, _meta={"progressToken": "p"})
    steps = [message["params"]["progress"] for message in client.others if message.get("method") == "notifications/progress"]
    assert steps == [1, 2, 3, 4] and text.startswith("Done"), (steps, text)


def echoes(client):
    # Many TLS records, and characters of more than one byte across their edges.
    told = ("0123456789 é" * (256 << 10))[: 256 << 10]
    assert client.tool("echo", {"message": told}) == told, "another text came back"


STEPS = [
    ("initialize", Connect.begin),
    ("tools/list", lists),
    ("a call", Connect.add),
    ("progress", progresses),
    ("256 KiB there and back", echoes),
    ("EOF ends it with 0", Connect.end),
]


def refusal(url, trusted, *words, flags=()):
    """The first message gets an error with all of `words`. It is not held: the timeout is far beyond our deadline, unless `flags` set it."""
    with Connect(url, trusted, *(flags or ("--timeout", "90s"))) as client:
        message = client.request("initialize", HELLO)
        assert "error" in message, message
        text = message["error"]["message"]
        print(f"# {text}")
        for word in words:
            assert word in text, f"{word!r} is not in: {text}"
        client.end()


# Tests ---------------------------------------------------------------------------------------------------------------------------------


def works(forwarder, trusted, transport, path):
    name = f"--transport {transport} {path}"
    with Connect(f"https://localhost:{forwarder.port}{path}", trusted, "--transport", transport) as client:
        for step, run in STEPS:
            test(f"{name}: {step}", lambda: run(client))


def restarted(forwarder, trusted, path):
    """A call right after the cut, of which the front may have read nothing yet."""
    with Connect(f"https://localhost:{forwarder.port}{path}", trusted) as client:
        client.begin()
        client.add()
        for _ in range(2):
            forwarder.restart()
            client.add()
        client.end()


def kept(forwarder, trusted):
    """Calls one after the other share a connection: a handshake for each would be slow."""
    before = len(forwarder.versions)
    with Connect(f"https://localhost:{forwarder.port}/mcp", trusted) as client:
        client.begin()
        for _ in range(20):
            client.add()
        client.end()
    count = len(forwarder.versions) - before
    print(f"# {count} connections")
    assert count <= 6, f"{count} connections for 20 calls"


def held(forwarder, trusted, path):
    """A call while nothing listens is answered as soon as something does."""
    with Connect(f"https://localhost:{forwarder.port}{path}", trusted) as client:
        client.begin()
        client.add()
        forwarder.stop()
        try:
            number = client.ask("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
            client.log.until("cannot reach")
        finally:
            forwarder.start()
        message = client.answer(number, "the held call")
        assert float(message["result"]["content"][0]["text"]) == 3, message
        client.end()


def suite(demo, running):
    ours, other = authority("ours"), authority("other")

    def forwarder(name, **more):
        running.append(Forwarder(demo.port, name, **more))
        return running[-1]

    local = forwarder(certificate("localhost", "ours", "DNS:localhost"))
    for transport, path in [("http", "/mcp"), ("sse", "/sse"), ("auto", "/mcp"), ("auto", "/sse")]:
        works(local, ours, transport, path)

    def plain_works(host, forwarder, trusted=ours):
        with Connect(f"https://{host}:{forwarder.port}/mcp", trusted) as client:
            client.begin()
            client.add()
            client.end()

    def tls12():
        old = forwarder("localhost", version=ssl.TLSVersion.TLSv1_2)
        plain_works("localhost", old)
        assert set(old.versions) == {"TLSv1.2"}, old.versions

    both = forwarder(certificate("both", "ours", "DNS:localhost,IP:127.0.0.1"))
    test("a certificate for an address", lambda: plain_works("127.0.0.1", both))
    test("TLS 1.2", tls12)
    alone = authority("alone", "basicConstraints=critical,CA:FALSE", "subjectAltName=DNS:localhost")
    alone_forwarder = forwarder("alone")
    test("a certificate that signed itself, and nothing else", lambda: plain_works("localhost", alone_forwarder, alone))

    for transport, path in [("http", "/mcp"), ("sse", "/sse"), ("auto", "/sse")]:
        url = f"https://localhost:{local.port}{path}"
        name = f"--transport {transport} {path}"
        flags = ("--timeout", "90s", "--transport", transport)
        test(f"{name}: an issuer that is not trusted", lambda: refusal(url, other, "certificate", "SSL_CERT_FILE", flags=flags))
        wrong = f"https://127.0.0.1:{local.port}{path}"
        test(f"{name}: a certificate for another name", lambda: refusal(wrong, ours, "certificate", "127.0.0.1", "localhost", flags=flags))
        plain = f"https://localhost:{demo.port}{path}"
        test(f"{name}: a server without TLS", lambda: refusal(plain, ours, "does not speak TLS", "http://", flags=flags))

    expired = forwarder(certificate("expired", "ours", "DNS:localhost", days=-1))
    test("a certificate that has expired", lambda: refusal(f"https://localhost:{expired.port}/mcp", ours, "certificate", "expired"))
    self_signed = forwarder("ours")
    test("a certificate that is its own issuer", lambda: refusal(f"https://localhost:{self_signed.port}/mcp", ours, "certificate", "CA:FALSE"))
    (WORK / "empty.pem").write_text("")
    url = f"https://localhost:{local.port}/mcp"
    test("no certificates to trust", lambda: refusal(url, WORK / "empty.pem", "no certificates", "SSL_CERT_FILE"))
    test("SSL_CERT_FILE is not there", lambda: refusal(url, WORK / "missing.pem", "missing.pem", "SSL_CERT_FILE"))

    def silent():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            refusal(f"https://localhost:{listener.getsockname()[1]}/mcp", ours, "cannot reach", flags=("--timeout", "1s"))

    test("a server that accepts and says nothing", silent)

    test("/mcp: connections are kept", lambda: kept(local, ours))
    for path in ["/mcp", "/sse"]:
        test(f"{path}: the connection is cut between calls", lambda: restarted(local, ours, path))
        test(f"{path}: a call while the server is away", lambda: held(local, ours, path))


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    running, demo = [], Demo()
    try:
        suite(demo, running)
    finally:
        for forwarder in running:
            forwarder.stopped.set()
        demo.stop()
    print(f"1..{len(passed) + len(failed)}")
    print(f"{len(passed)} passed, {len(failed)} failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
