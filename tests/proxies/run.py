#!/usr/bin/env python3
"""Puts nginx and Caddy in front of our binary, with nginx.conf and Caddyfile of this folder, and prints TAP.

    run.py BINARY

The proxies are Debian's packages, unpacked into target/proxies; without apt, the ones on PATH. Only the ports of the configurations are
replaced by free ones. Everything is on loopback. Standard library only.
"""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = ROOT / "target" / "proxies"
BINARY = Path(sys.argv[1]).resolve()
DEADLINE = 20
HOST = "mcp.example"
TOKEN = "pr0xy-t0ken"

passed, failed, skipped = [], [], []


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(condition, what):
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"not within {DEADLINE} s: {what}")


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


# The proxies ---------------------------------------------------------------------------------------------------------------------------


def unpack():
    """The folder that Debian's packages are unpacked in; None without apt."""
    if not shutil.which("apt-get"):
        return None
    root, debs = WORK / "root", WORK / "debs"
    if not (root / "usr/bin/caddy").exists() or not (root / "usr/sbin/nginx").exists():
        debs.mkdir(parents=True, exist_ok=True)
        download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "nginx", "caddy"]
        if subprocess.run(download, cwd=debs, capture_output=True).returncode != 0:
            subprocess.run(["apt-get", "-qq", "update"], capture_output=True)
            done = subprocess.run(download, cwd=debs, capture_output=True, text=True)
            if done.returncode != 0:
                print(f"# apt-get download: {done.stderr.strip()}")
                return None
        for deb in debs.glob("*.deb"):
            subprocess.run(["dpkg", "-x", deb, root], check=True)
    return root


def program(root, place):
    """The unpacked program, or the installed one of the same name."""
    unpacked = root and root / place
    installed = shutil.which(Path(place).name)
    found = unpacked if unpacked and unpacked.exists() else installed and Path(installed)
    if not found:
        sys.exit(f"{Path(place).name}: neither Debian's package nor an installed one is to be had")
    return found


class Nginx:
    name, config, place = "nginx", "nginx.conf", "usr/sbin/nginx"

    def version(self, found):
        return subprocess.run([found, "-v"], capture_output=True, text=True).stderr.strip()

    def site(self, text, _found):
        return text

    def start(self, found, site, folder):
        kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        temp = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in kinds)
        user = "user root;\n" if os.geteuid() == 0 else ""
        main = folder / "main.conf"
        main.write_text(
            f"{user}daemon off;\nmaster_process on;\nworker_processes 1;\npid {folder}/pid;\nerror_log stderr warn;\n"
            f"events {{ worker_connections 256; }}\nhttp {{\n    access_log off;\n{temp}    include {site};\n}}\n"
        )
        return subprocess.Popen([found, "-p", folder, "-c", main, "-e", "stderr"], stderr=(folder / "log").open("w"))


class Caddy:
    name, config, place = "caddy", "Caddyfile", "usr/bin/caddy"

    def version(self, found):
        return "caddy " + subprocess.run([found, "version"], capture_output=True, text=True).stdout.strip()

    def site(self, text, found):
        is_old = re.match(r"caddy v?2\.([0-5]\.|6\.[0-3]\b)", self.version(found))
        return text if is_old else re.sub(r"^(\s*)buffer_requests$", r"\1request_buffers 4MiB", text, flags=re.MULTILINE)

    def start(self, found, site, folder):
        env = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        return subprocess.Popen([found, "run", "--adapter", "caddyfile", "--config", site], env=env, stderr=(folder / "log").open("w"))


# Clients -------------------------------------------------------------------------------------------------------------------------------


class Client:
    """One client behind the proxy, from an address of its own."""

    def __init__(self, port, address="127.0.0.1", host=HOST, prefix="", headers=()):
        self.port, self.address, self.prefix = port, address, prefix
        self.headers = {"Host": f"{host}:{port}", "Accept": "application/json, text/event-stream", **dict(headers)}
        self.open = []

    def request(self, method, path, body=None, **headers):
        # Only macOS has no 127.0.0.2.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE, source_address=(self.address, 0))
        self.open.append(connection)
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, body=body, headers={**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}})
        answer = connection.getresponse()
        # An answer that was not read to its end keeps the socket.
        self.open.append(answer)
        return answer

    def post(self, path, message, **headers):
        answer = self.request("POST", path, json.dumps({"jsonrpc": "2.0", **message}), **headers)
        return answer, answer.read()

    def close(self):
        while self.open:
            self.open.pop().close()


def event(stream):
    """The next event of an open stream as (name, data); comments and `retry` are passed over."""
    name, data = "message", []
    while True:
        line = stream.readline()
        assert line, "the stream ended"
        line = line.decode().rstrip("\r\n")
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line and data:
            return name, "\n".join(data)
        if field == "event":
            name = value
        elif field == "data" and line:
            data.append(value)


HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "proxies", "version": "1"}}


class Sse(Client):
    """A session of HTTP+SSE."""

    def begin(self):
        self.stream = self.request("GET", f"{self.prefix}/sse")
        assert self.stream.status == 200, (self.stream.status, self.stream.read())
        name, self.endpoint = event(self.stream)
        assert name == "endpoint", name
        assert self.call(1, "initialize", HELLO)["result"]["protocolVersion"] == "2025-06-18"
        self.send({"method": "notifications/initialized"})
        return self

    def send(self, message):
        answer, body = self.post(self.endpoint, message)
        assert answer.status == 202, (answer.status, body)

    def call(self, number, method, params):
        self.send({"id": number, "method": method, "params": params})
        while True:
            message = json.loads(event(self.stream)[1])
            if message.get("id") == number:
                return message
            self.others = [*getattr(self, "others", []), message]

    def add(self, number):
        return self.call(number, "tools/call", {"name": "add", "arguments": {"a": 2, "b": number}})["result"]["content"][0]["text"]


class Streamable(Client):
    """A session of Streamable HTTP."""

    def begin(self):
        answer, body = self.post(f"{self.prefix}/mcp", {"id": 1, "method": "initialize", "params": HELLO})
        assert answer.status == 200, (answer.status, body)
        self.id = answer.headers["Mcp-Session-Id"]
        self.say = {"Mcp_Session_Id": self.id, "MCP_Protocol_Version": "2025-06-18"}
        answer, body = self.post(f"{self.prefix}/mcp", {"method": "notifications/initialized"}, **self.say)
        assert answer.status == 202, (answer.status, body)
        return self

    def add(self, number):
        params = {"name": "add", "arguments": {"a": 2, "b": number}}
        answer, body = self.post(f"{self.prefix}/mcp", {"id": number, "method": "tools/call", "params": params}, **self.say)
        assert answer.status == 200, (answer.status, body)
        text = body.decode()
        if answer.headers["Content-Type"].startswith("text/event-stream"):
            text = next(line[5:] for line in text.splitlines() if line.startswith("data:") and '"result"' in line)
        return json.loads(text)["result"]["content"][0]["text"]


class Server:
    """One of our processes, with its log."""

    def __init__(self, port, *flags, **env):
        self.log = WORK / f"server-{port}.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MCP_")}
        command = [BINARY, "demo", "--http", "--host", "127.0.0.1", "--port", str(port), "--log-level", "debug", "--allow-host", HOST, *flags]
        self.process = subprocess.Popen(command, cwd=WORK, stdin=subprocess.DEVNULL, stderr=self.log.open("w"), env={**clean, **env})
        self.port = port

    def sees(self, path):
        """Whether this server itself knows the session at `path`: asked past the proxy."""
        answer, _ = Client(self.port).post(path, {"method": "notifications/initialized"})
        return answer.status == 202


# Tests ---------------------------------------------------------------------------------------------------------------------------------


def suite(proxy, found):
    """All tests behind one proxy."""
    folder = WORK / proxy.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    text = proxy.site((HERE / proxy.config).read_text(), found)
    ports = {number: free_port() for number in [3000, 3001, 3002, 3003, 8080, 8081, 8082, 8083]}
    text = re.sub(r":(3\d\d\d|8\d\d\d)\b", lambda number: f":{ports[int(number[1])]}", text)
    (folder / proxy.config).write_text(text)
    key = {"MCP_STATE_KEY": "both have this one"}
    servers = [
        # Where the system does not tell when a client hangs up, the second comment after it cannot be written.
        Server(ports[3000], "--keep-alive", "500ms", MCP_HTTP_TOKEN=TOKEN),
        Server(ports[3001], "--base-path", "/tools"),
        Server(ports[3002], **key),
        Server(ports[3003], **key),
    ]
    one, prefix, two, by_session = (ports[number] for number in [8080, 8081, 8082, 8083])
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    running = [server.process for server in servers]
    clients = []

    def client(kind, *args, **options):
        clients.append(kind(*args, **options))
        return clients[-1]

    def test(what, body, needs_mcp=False):
        number = len(passed) + len(failed) + len(skipped) + 1
        name = f"{proxy.name}: {what}"
        if needs_mcp and not has_mcp:
            skipped.append(name)
            print(f"ok {number} - {name} # SKIP this build has no /mcp", flush=True)
            return
        try:
            body()
            passed.append(name)
            print(f"ok {number} - {name}", flush=True)
        except Exception as why:  # a test fails by raising
            failed.append(name)
            log = (folder / "log").read_text()[-1500:]
            print(f"not ok {number} - {name}\n# {type(why).__name__}: {why}\n# {log}".replace("\n", "\n# "), flush=True)
        finally:
            while clients:
                clients.pop().close()

    try:
        for server in servers:
            until(lambda: listens(server.port), f"{server.log} listens")
        running.append(proxy.start(found, folder / proxy.config, folder))
        until(lambda: all(map(listens, [one, prefix, two, by_session])), f"{proxy.name} listens, see {folder}/log")
        has_mcp = Client(ports[3001]).post("/mcp", {"id": 1, "method": "ping"})[0].status != 404

        def streams():
            session = client(Sse, one, headers=bearer).begin()
            # Each step happens while the stream stays open and after the one before has been seen: nothing is held back.
            params = {"name": "slow", "arguments": {"seconds": 0.4, "steps": 4}, "_meta": {"progressToken": 7}}
            session.send({"id": 5, "method": "tools/call", "params": params})
            seen = []
            while "id" not in (message := json.loads(event(session.stream)[1])):
                seen.append((message["method"], time.monotonic()))
            steps = [at for method, at in seen if method == "notifications/progress"]
            assert len(steps) >= 4 and steps[-1] - steps[0] > 0.15, seen

        def hosts():
            plain = client(Client, one, headers=bearer)
            assert plain.request("GET", "/healthz").status == 200
            stranger = client(Client, one, headers={**bearer, "Host": "evil.example"})
            answer = stranger.request("GET", "/sse")
            # Caddy answers names that it does not know by itself, with an empty 200.
            body = answer.read() if answer.status == 403 or not answer.headers.get("Content-Type", "").startswith("text/event") else b"stream"
            assert answer.status == 403 and b"--allow-host" in body or proxy.name == "caddy" and body == b"", (answer.status, body)

        def token():
            assert client(Client, one).request("GET", "/sse").status == 401
            assert client(Client, one, headers={"Authorization": "Bearer wrong"}).request("GET", "/sse").status == 401

        def bodies():
            session = client(Sse, one, headers=bearer).begin()
            big = "x" * (3 << 20)
            answer = session.call(2, "tools/call", {"name": "echo", "arguments": {"message": big}})
            assert answer["result"]["content"][0]["text"] == big

        def at_once():
            sessions = [client(Sse, one, headers=bearer).begin() for _ in range(20)]
            wrong = []

            def calls(session):
                for number in range(2, 12):
                    if session.add(number) != str(2 + number):
                        wrong.append(number)

            threads = [threading.Thread(target=calls, args=[session]) for session in sessions]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(DEADLINE)
            assert not wrong and not any(thread.is_alive() for thread in threads), wrong

        def gone():
            session = client(Sse, one, headers=bearer).begin()
            session.close()
            asker = Client(ports[3000], headers=bearer)
            until(lambda: asker.post(session.endpoint, {"method": "x"})[0].status == 404, "the session has ended with its client")

        def prefixed():
            session = client(Sse, prefix, prefix="/tools").begin()
            assert session.endpoint.startswith("/tools/messages/?session_id="), session.endpoint
            assert session.add(3) == "5"

        def affinity():
            homes = set()
            for address in range(2, 18):
                session = client(Sse, two, address=f"127.0.0.{address}").begin()
                assert [session.add(number) for number in range(2, 5)] == ["4", "5", "6"]
                homes.add(next(server.port for server in servers[2:] if server.sees(session.endpoint)))
            assert homes == {ports[3002], ports[3003]}, homes

        test("events arrive one by one while the stream is open", streams)
        test("Host is passed on, and one that is not allowed is refused", hosts)
        test("the token is passed on", token)
        test("a body of 3 MiB passes, and so does its answer", bodies)
        test("20 sessions at once", at_once)
        test("a client that leaves ends its session behind the proxy", gone)
        test("under a prefix the endpoint event has it, and the POST there works", prefixed)
        if sys.platform == "linux":
            test("of two servers each client has one, by address", affinity)

        def mcp(port, **options):
            session = client(Streamable, port, **options).begin()
            assert [session.add(number) for number in range(2, 6)] == ["4", "5", "6", "7"]
            answer = session.request("DELETE", f"{session.prefix}/mcp", **session.say)
            assert answer.status in (200, 204), answer.status

        def get_stream():
            session = client(Streamable, one, headers=bearer).begin()
            stream = session.request("GET", "/mcp", **session.say)
            assert stream.status == 200 and stream.headers["Content-Type"].startswith("text/event-stream"), stream.status

        def mcp_progress():
            session = client(Streamable, one, headers=bearer).begin()
            params = {"name": "slow", "arguments": {"seconds": 0.4, "steps": 4}, "_meta": {"progressToken": 7}}
            stream = session.request("POST", "/mcp", json.dumps({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": params}), **session.say)
            times = []
            while "id" not in json.loads(data := event(stream)[1] or '{"id":0}') or '"id":0' in data:
                times.append(time.monotonic())
            assert len(times) >= 4 and times[-1] - times[0] > 0.15, times

        def mcp_short_streams():
            # Answers that begin while the proxy is still at the end of the request: see Caddyfile for what came of it.
            sessions = [client(Streamable, one, headers=bearer).begin() for _ in range(8)]
            broken = []

            def calls(session):
                for number in range(2, 42):
                    params = {"name": "slow", "arguments": {"seconds": 0.01, "steps": 2}, "_meta": {"progressToken": number}}
                    _, body = session.post("/mcp", {"id": number, "method": "tools/call", "params": params}, **session.say)
                    if b'"result"' not in body:
                        broken.append(body)

            threads = [threading.Thread(target=calls, args=[session]) for session in sessions]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(DEADLINE)
            assert not broken and not any(thread.is_alive() for thread in threads), (len(broken), broken[:1])

        def mcp_affinity():
            for address in range(2, 10):
                mcp(two, address=f"127.0.0.{address}")
            for server in servers[2:]:
                assert "began before this process" not in server.log.read_text(), "a session came to the other server"

        def mcp_by_session():
            # A quarter of the sessions begins on the one and goes on on the other; as many on the other and on the one.
            for _ in range(100):
                mcp(by_session)
                if all("began before this process" in server.log.read_text() for server in servers[2:]):
                    return
            raise AssertionError("no session was taken over: the test shows nothing")

        test("Streamable HTTP", lambda: mcp(one, headers=bearer), needs_mcp=True)
        test("Streamable HTTP: progress comes one by one", mcp_progress, needs_mcp=True)
        test("Streamable HTTP: 320 short streams end with their answers", mcp_short_streams, needs_mcp=True)
        test("Streamable HTTP: the GET stream opens", get_stream, needs_mcp=True)
        test("Streamable HTTP under a prefix", lambda: mcp(prefix, prefix="/tools"), needs_mcp=True)
        if sys.platform == "linux":
            test("Streamable HTTP: of two servers each client has one, by address", mcp_affinity, needs_mcp=True)
        test("Streamable HTTP: of two servers each session has one, by its id", mcp_by_session, needs_mcp=True)
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()


def main():
    WORK.mkdir(parents=True, exist_ok=True)
    root = unpack()
    for proxy in [Nginx(), Caddy()]:
        found = program(root, proxy.place)
        print(f"# {proxy.version(found)} ({found})")
        suite(proxy, found)
    print(f"1..{len(passed) + len(failed) + len(skipped)}")
    print(f"{len(passed)} passed, {len(failed)} failed" + (f", {len(skipped)} skipped" if skipped else ""))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
