"""Cases behind `mcp-http-transport run`: the server changes, the client never notices.

A server is started through servers/gate.py, so that the driver can hold its start back: the first call after an edit
is on its way while the new server still starts. Nothing here depends on how fast anything is.
"""

import re
import shutil
import signal
import sys
import time
from pathlib import Path

from kit import (
    HERE,
    INSTALLED,
    NODE,
    STEP_DEADLINE,
    STEPS,
    Client,
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

SERVERS = HERE / "servers"
KEY = "ab" * 32  # of session ids, as a person would set it
EVERYTHING = NODE / "node_modules" / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"


def wait(holds, what, seconds=STEP_DEADLINE):
    deadline = time.monotonic() + seconds
    while not holds():
        need(time.monotonic() < deadline, f"in vain waited for {what}")
        time.sleep(0.02)


class Front:
    """`run` before a server whose start is held back: started by its client (stdio), or by us (http)."""

    def __init__(self, binary, name, command, http):
        self.binary, self.place, self.state = binary, *directories(name)
        self.version_file = self.place / "version.txt"
        self.version_file.write_text("1")
        self.version, self.http = 1, http
        gate = [sys.executable, SERVERS / "gate.py", self.version_file, self.state, *command]
        # A hold as long as anything here may take, since the driver decides when a server has started.
        run = ["run", "--hold", "80s", "--start-timeout", "80s", "--watch", self.version_file]
        transport = ["--http", "--port", "0"] if http else []
        self.command = [str(word) for word in [binary, *run, *transport, "--", *gate]]
        self.server = None
        if http:
            self.start()

    def start(self):
        self.server = Server(self.command, cwd=self.place, MCP_STATE_KEY=KEY)
        if "--port" in self.command:  # the same one after a restart
            self.command[self.command.index("--port") + 1] = str(self.server.port)

    def stop(self, how):
        process = self.server.process
        process.child.send_signal(how)
        process.child.wait(30)
        process.kill()

    def restart(self, how):
        """Another process in the place of this one, on the same port."""
        self.stop(how)
        self.start()

    def starts(self):
        log = self.state / "starts"
        return log.read_text().split() if log.exists() else []

    def edit(self):
        """Saves another version; returns what is to happen while the client makes its first call after that: the gate
        opens once the new server is starting and the call is on its way."""
        self.version += 1
        before = self.close_gate()
        self.version_file.write_text(str(self.version))
        wait(lambda: str(self.version) in self.starts()[before:], f"the start of version {self.version}")

    def all_started(self):
        """Waits for the other sessions (mcp-remote opens one to see whether it can) to have the saved version, too: their starts
        are not to be taken for the next ones. One that has ended meanwhile never starts again, so the wait has an end."""
        deadline = time.monotonic() + 5
        while self.starts().count(str(self.version)) < self.starts().count("1") and time.monotonic() < deadline:
            time.sleep(0.02)

    def close_gate(self):
        (self.state / "closed").touch()
        return len(self.starts())

    def open_gate(self):
        (self.state / "closed").unlink(missing_ok=True)

    def open_when_sent(self, client):
        """For `Client.tell`: the new server may go on once the client's request is on its way."""

        def meanwhile():
            client.said("sent ")
            self.open_gate()

        while not client.errors.empty():  # what was sent before
            client.errors.get()
        return meanwhile

    def end(self):
        """The front ends cleanly when it is told to, and leaves no process."""
        if self.server:
            process = self.server.process
            need(process.child.poll() is None, f"the front ended by itself: {process.child.returncode}")
            code = process.end(signal.SIGTERM, 30)
            need(code == 0, f"exit code {code} of the front after SIGTERM")
            need(not any("panicked" in line for line in process.error_tail), "the front panicked")
        wait(lambda: not self.left(), "the end of the last process", 20)

    def left(self):
        """Processes of servers that were started behind this front."""
        mark, found = f"TEST_STATE={self.state}\0".encode(), []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in environ.read_bytes():
                    found.append(environ.parent.name)
            except OSError:
                pass
        return found

    def kill(self):
        self.open_gate()
        if self.server:
            self.server.process.kill()

    def log(self, client):
        """The process on whose stderr the front writes."""
        return self.server.process if self.server else client

    def tail(self):
        return "stderr of the front:\n" + "\n".join(self.server.process.error_tail) if self.server else ""

    def endpoint(self, transport, remote=None):
        if remote:
            words, path = remote
            command, _ = remote_command(self.server.base + path, words, f"{self.place.name}-remote")
            return Endpoint("stdio", command=command)
        if transport == "stdio":
            return Endpoint("stdio", command=self.command)
        return Endpoint(transport, url=self.server.base + {"sse": "/sse", "streamable": "/mcp"}[transport])


def directories(name):
    """A working directory of the front's own, and one that it does not watch."""
    made = [INSTALLED / "state" / f"{re.sub('[^a-z0-9]+', '-', name)}{kind}" for kind in ("", "-gate")]
    for place in made:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
    return made


# Label, program, transport, and mcp-remote's options and path if the client speaks through it.
CLIENTS = [
    (f"{name} {transport}", program, transport, None)
    for name, program in [
        ("python mcp 2.3.0", python_client("2.3.0")),
        ("python mcp 2.3.0 legacy", python_client("2.3.0", "--mode", "legacy")),
        ("python mcp 1.30.0", python_client("1.30.0")),
        ("typescript sdk 1.32.2", typescript_client()),
    ]
    for transport in ["stdio", "sse", "streamable"]
] + [
    (f"mcp-remote {words} at {path}", typescript_client(), "remote", (words, path))
    for words, path in [("--transport sse-only", "/sse"), ("--transport http-first", "/mcp"), ("--transport http-only", "/mcp"), ("--protocol auto", "/mcp")]
]


def told(name, binary, command, transport, remote, program, story, front=None):
    """Runs `story(front, client, ok)`, in which `ok(label)` notes what held."""
    results, make, front, client = [], front or Front, None, None

    def ok(label):
        results.append(Result(f"{name}: {label}"))

    try:
        front = make(binary, name, command, transport != "stdio")
        client = Client(program, front.endpoint(transport, remote), cwd=front.place)
        story(front, client, ok)
        code = client.end()
        need(code == 0, f"exit code {code} after stdin was closed")
        ok("close")
        front.end()
        ok("nothing is left")
    except (Failure, OSError, KeyError, TypeError) as failure:
        text = failure if isinstance(failure, Failure) else repr(failure)
        tails = [side.tail() for side in (client, front) if side]
        results.append(Result(f"{name}: after {len(results)} good steps", "\n".join([str(text), *tails])))
    finally:
        for side in (client, front):
            if side:
                side.kill()
    return results


def reloads(front, client, ok):
    """One connection, five reloads; the first call after each while the new server is still starting."""

    def call(**more):
        return client.tell("call", tool="version", **more)["text"]

    need(not client.tell("initialize")["modern"], "the server speaks legacy only, and so must the client")
    need(re.fullmatch(r"version 1, process \d+", call()), "the first version")
    for _ in range(4):
        tools = client.tell("tools")
        need(tools == ["version", f"only_in_{front.version}"], f"tools of version {front.version}: {tools}")
        start = client.tell("position")
        front.edit()
        text = call(meanwhile=front.open_when_sent(client))
        need(re.fullmatch(rf"version {front.version}, process \d+", text), f"after the edit: {text!r}")
        client.tell("come", method="notifications/tools/list_changed", start=start)
        ok(f"reload to version {front.version}")
    # The fifth, without an edit.
    front.all_started()
    before = front.close_gate()
    command = [front.binary, "reload", "--timeout", "80s"]
    asked = Process(command, cwd=front.place)
    try:
        wait(lambda: len(front.starts()) > before, "another start")
        again = call(meanwhile=front.open_when_sent(client))
        need(re.fullmatch(rf"version {front.version}, process \d+", again) and again != text, f"after `reload`: {again!r}, before: {text!r}")
        said = asked.line(asked.out, time.monotonic() + STEP_DEADLINE, "what `reload` prints")
        need("reloaded" in said and asked.child.wait(20) == 0, f"`reload` said {said!r}")
    finally:
        asked.kill()
    need(client.tell("tools") == ["version", f"only_in_{front.version}"], "tools at the end")
    ok("the command reload")


class Sdk:
    """What servers/sdk.py calls the things that `both_ways` needs."""

    subscribe = "test://thing"
    version = "version", {}
    steps = "steps", {"count": 3}
    logs = None  # `steps` logs by itself
    sample = "sample", {}
    ask = "ask", {}
    update = "update", {}
    answer = "accept teal"

    @staticmethod
    def at(version, text):
        return f"version {version}" in text

    @staticmethod
    def long(path):
        return "until", {"path": str(path)}


class Everything:
    """The same of @modelcontextprotocol/server-everything."""

    subscribe = "demo://resource/dynamic/text/1"
    version = "get-env", {}
    steps = "trigger-long-running-operation", {"duration": 0.3, "steps": 3}
    logs = "toggle-simulated-logging", {}
    sample = "trigger-sampling-request", {"prompt": "a sample, please"}
    ask = "trigger-elicitation-request", {}
    update = "toggle-subscriber-updates", {}
    answer = "Name: Ada"

    @staticmethod
    def at(version, text):
        return f'"TEST_VERSION": "{version}"' in text

    @staticmethod
    def long(path):
        return "trigger-long-running-operation", {"duration": 5, "steps": 50}


def both_ways(server, serial):
    """Everything that goes from the client to the server and back, before a reload, across it, and after it. A `serial`
    client reads nothing while a question to it is open (mcp 1.x), and so cannot call meanwhile."""

    def story(front, client, ok):
        def call(what, **more):
            tool, arguments = what
            return client.tell("call", tool=tool, arguments=arguments, **more)

        def begin(what, **more):
            tool, arguments = what
            client.tell("begin", tool=tool, arguments=arguments, **more)

        def all_of_it():
            text = call(server.version)["text"]
            need(server.at(front.version, text), f"version {front.version} answered {text!r}")
            start = client.tell("position")
            if server.logs:
                call(server.logs)
            data = call(server.steps)
            need(data["progress"] == [1, 2, 3], f"progress: {data}")
            client.tell("come", method="notifications/message", start=start)
            data = call(server.sample)
            need("a sample of teal" in data["text"] and data["asked"] == 1, f"sampling: {data}")
            data = call(server.ask)
            need(server.answer in data["text"] and data["asked"] == 1, f"elicitation: {data}")
            start = client.tell("position")
            call(server.update)
            updates = client.tell("come", method="notifications/resources/updated", start=start)
            need(all(update["uri"] == server.subscribe for update in updates), f"updates: {updates}")

        def reload():
            front.edit()
            text = call(server.version, meanwhile=front.open_when_sent(client))["text"]
            need(server.at(front.version, text), f"the first answer after the edit: {text!r}")

        tools = client.tell("tools")
        client.tell("level", level="debug")
        client.tell("subscribe", uri=server.subscribe)
        all_of_it()
        ok("sampling, elicitation, progress, logging, subscription")

        client.tell("hold")
        begin(server.ask, wait="elicitation/create")
        if serial:
            front.edit()
            front.open_gate()
            front.log(client).said("reloaded in")
        else:
            reload()
        client.tell("release")
        text = client.tell("finish")
        need(server.answer in text and (server is Everything or server.at(1, text)), f"the old server: {text!r}")
        ok("a question that is open across the reload is answered to the server that asked")
        all_of_it()
        ok("level and subscription are the new server's too")

        begin(server.long(front.state / "never"))
        reload()
        client.tell("abort")
        if server is Sdk:
            front.log(client).said("version 2 was cancelled")
        ok("a call of the old server is cancelled")

        end = front.state / "end"
        begin(server.long(end))
        reload()
        client.tell("come", method="notifications/progress", start=client.tell("position"))
        end.touch()
        text = client.tell("finish")
        need(server is Everything or server.at(3, text), f"the old server: {text!r}")
        ok("a call reports progress across the reload, and ends")

        all_of_it()
        client.tell("unsubscribe", uri=server.subscribe)
        start = client.tell("position")
        call(server.update)
        call(server.version)
        updates = client.tell("come", method="notifications/resources/updated", count=0, start=start)
        need(not updates, f"updates after unsubscribe: {updates}")
        if server is Sdk:
            need("only_in_1" in tools and "only_in_4" in client.tell("tools"), "tools at the end")
            client.tell("come", method="notifications/tools/list_changed")
            tail = front.log(client).error_tail
            wait(lambda: any("version 4 logs at debug" in line for line in list(tail)), "the level at version 4")
        ok("the last version does it all, and forgets the subscription")

    return story


class Direct(Front):
    """The demo without a front, to restart it."""

    def __init__(self, binary, name, command, http):
        self.place, self.state = directories(name)
        self.command = [str(binary), "demo", "--http", "--port", "0"]
        self.start()


def restarts(come_back, gap, tool, arguments, expected):
    """The whole process is replaced between two calls, told to end and killed; ids outlive it (MCP_STATE_KEY). Who must
    `come_back` (HTTP+SSE) may fail at calls until then. With a `gap`, a call made while there is no server fails, and
    the next is answered."""

    def story(front, client, ok):
        def call():
            text = client.tell("call", tool=tool, arguments=arguments)["text"]
            need(re.fullmatch(expected, text), f"answered {text!r}")

        def call_when_back():
            deadline = time.monotonic() + STEP_DEADLINE
            while True:
                try:
                    return call()
                except Failure:
                    if client.broken or time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)

        again = call_when_back if come_back else call
        call()
        client.tell("tools")
        for how in (signal.SIGTERM, signal.SIGKILL):
            front.restart(how)
            again()
            client.tell("tools")
            ok(f"goes on after {how.name}")
        if gap:
            front.stop(signal.SIGTERM)
            try:
                call()
            except Failure as failure:
                need(not client.broken, f"a call in the gap broke the client: {failure}")
            else:
                raise Failure("there is an answer, but no server")
            front.start()
            again()
            ok("goes on after a call in the gap")

    return story


def demo(name, binary, transport, remote, program):
    """All steps with the demo as the server, which is reloaded before five of them."""
    front = Front(binary, name, [binary, "demo", "--stdio"], transport != "stdio")

    def between(step, client):
        if step in ("echo", "progress", "ask", "log", "prompt"):
            front.edit()
            return front.open_when_sent(client)

    # The front is as modern as its server; HTTP+SSE never is.
    modern = "2.3.0" in name and "legacy" not in name and transport != "sse"
    steps = steps_through(remote[0]) if remote else STEPS

    def check(step, data, client):
        if step == "initialize":
            need(data["modern"] == modern, f"the era: {data}")
        if step == "cancel":
            need(data["told"], f"the client did not send notifications/cancelled: {data}")
            need(data["answers"] == [], f"the cancelled call was answered: {data['answers']}")
            front.log(client).said("slow was cancelled at step")

    try:
        results = converse(name, program, front.endpoint(transport, remote), steps, between, check, cwd=front.place)
        try:
            front.end()
            results.append(Result(f"{name}: nothing is left"))
        except Failure as failure:
            results.append(Result(f"{name}: nothing is left", f"{failure}\n{front.tail()}"))
        if any(result.failure for result in results):
            results[-1].failure = "\n".join([results[-1].failure or "see above", front.tail()])
        return results
    finally:
        front.kill()


def cases(binary):
    """(name, thunk) of everything behind a front."""
    plain = [sys.executable, SERVERS / "plain.py"]
    for label, program, transport, remote in CLIENTS:
        name = f"5 reloads, {label}"
        yield name, lambda n=name, p=program, t=transport, r=remote: told(n, binary, plain, t, r, p, reloads)
        name = f"the demo behind run, {label}"
        yield name, lambda n=name, p=program, t=transport, r=remote: demo(n, binary, t, r, p)

    # Python's clients do not outlive a call in the gap, and their HTTP+SSE ends for good with its stream.
    for label, program, transport, remote in CLIENTS:
        sse, python = transport == "sse" or "/sse" in (remote or ()), "python" in label
        if transport == "stdio" or sse and python:
            continue
        still = restarts(sse, not python, "version", {}, r"version 1, process \d+")
        name = f"run is restarted, {label}"
        yield name, lambda n=name, p=program, t=transport, r=remote, s=still: told(n, binary, plain, t, r, p, s)
        still = restarts(sse, not python, "echo", {"message": "still"}, "still")
        name = f"the demo is restarted, {label}"
        yield name, lambda n=name, p=program, t=transport, r=remote, s=still: told(n, binary, None, t, r, p, s, Direct)

    servers = [
        ("FastMCP of mcp 1.30.0", [INSTALLED / "mcp-1.30.0" / "bin" / "python", SERVERS / "sdk.py"], Sdk),
        ("MCPServer of mcp 2.3.0", [INSTALLED / "mcp-2.3.0" / "bin" / "python", SERVERS / "sdk.py"], Sdk),
        ("server-everything", ["node", EVERYTHING], Everything),
    ]
    # Legacy clients, because it is the server that asks and logs, which the modern era does in another way.
    speakers = [
        ("python mcp 2.3.0 streamable", python_client("2.3.0", "--mode", "legacy"), "streamable", None),
        ("python mcp 1.30.0 stdio", python_client("1.30.0"), "stdio", None),
        ("typescript sdk 1.32.2 sse", typescript_client(), "sse", None),
        ("mcp-remote http-first", typescript_client(), "remote", ("--transport http-first", "/mcp")),
    ]
    for server, command, names in servers:
        for label, program, transport, remote in speakers:
            name = f"{server}, {label}"
            story = both_ways(names, serial="1.30.0" in label)
            yield name, lambda n=name, c=command, p=program, t=transport, r=remote, s=story: told(n, binary, c, t, r, p, s)
