"""The client: an open loop of calls over stdio or HTTP+SSE, each of which is remembered with when it was sent, when answered and by which version."""

import http.client
import json
import queue
import re
import socket
import subprocess
import threading
import time
from collections import deque

# After so long without an answer a call is lost. A front that holds a call does so for 10 s at most.
LOST = 20.0
# A peer that has not answered by then does not, or does so after the next edit.
LOST_PEER = 5.0
VERSION = "2025-11-25"
ANSWER = re.compile(r"version (\d+): ((?:call|slow)-(\d+))")
INITIALIZE = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "bench-reload", "version": "1"}}


class Call:
    __slots__ = ("number", "is_slow", "sent", "answered", "version", "failure", "is_lost")

    def __init__(self, number, is_slow):
        self.number, self.is_slow, self.sent = number, is_slow, time.monotonic()
        self.answered = self.version = self.failure = None
        self.is_lost = False

    @property
    def is_good(self):
        return self.version is not None


class Gone(Exception):
    """The connection is not there (any more)."""


class Client:
    """What both transports share. `transport` has `write(message)`, which may raise Gone, and calls `heard(text)` and `dropped()`."""

    def __init__(self):
        self.calls, self.wrong_ids, self.drops, self.strays = {}, 0, 0, []
        self.changed = threading.Condition()
        self.numbers = 0
        self.answers = {}
        self.newest = 0
        self.is_over = False
        self.session = 0

    # -- what comes

    def heard(self, text):
        now = time.monotonic()
        try:
            message = json.loads(text)
        except ValueError:
            self.strays.append(text[:200])
            return
        if "method" in message:
            return
        with self.changed:
            number = message.get("id")
            call = self.calls.get(number)
            if call is None:
                if number not in self.answers or self.answers[number] is not None:
                    self.wrong_ids += 1
                else:
                    self.answers[number] = message
            elif call.answered is not None:
                # Answered twice; one that failed because the connection went was the front's to answer.
                self.wrong_ids += call.is_good
            else:
                self.take(call, message, now)
            self.changed.notify_all()

    def take(self, call, message, now):
        call.answered = now
        result = message.get("result") or {}
        content = result.get("content") or [{}]
        found = ANSWER.match(content[0].get("text", ""))
        if found is None or result.get("isError"):
            call.failure = json.dumps(message)[:300]
        elif int(found[3]) != call.number:
            self.wrong_ids += 1
            call.failure = "the answer to another call: " + found[2]
        else:
            call.version = int(found[1])
            self.newest = max(self.newest, call.version)

    def dropped(self, session):
        """The connection went by itself: whatever is open on it has failed."""
        with self.changed:
            if self.is_over or session != self.session:
                return
            self.drops += 1
            self.session += 1
            now = time.monotonic()
            for call in self.calls.values():
                if call.answered is None:
                    call.answered, call.failure = now, "the connection was dropped"
            self.changed.notify_all()

    # -- what goes

    def new_number(self):
        with self.changed:
            self.numbers += 1
            return self.numbers

    def ask(self, method, params, seconds=30):
        number = self.new_number()
        self.answers[number] = None
        self.write({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        self.wait(lambda: self.answers[number] is not None, seconds, "an answer to " + method)
        return self.answers[number]

    def greet(self, seconds=30):
        answer = self.ask("initialize", INITIALIZE, seconds)
        if "result" not in answer:
            raise Gone("initialize was answered %s" % answer)
        self.write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer["result"]

    def call(self, is_slow=False):
        number = self.new_number()
        call = Call(number, is_slow)
        with self.changed:
            self.calls[number] = call
        arguments = {"message": "%s-%d" % ("slow" if is_slow else "call", number)}
        try:
            self.write({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "echo", "arguments": arguments}})
        except Gone as why:
            with self.changed:
                if call.answered is None:
                    call.answered, call.failure = time.monotonic(), "not sent: %s" % why
                self.changed.notify_all()
        return call

    def answered_all(self, before, seconds):
        """Waits until whatever was sent before is answered; what is not by then is lost, and no answer to it counts. Returns whether none was."""
        rest = lambda: [call for call in self.calls.values() if call.sent < before and call.answered is None]
        try:
            self.wait(lambda: not rest(), seconds, "the last answers")
        except TimeoutError:
            pass
        with self.changed:
            lost = rest()
            for call in lost:
                call.answered, call.is_lost = time.monotonic(), True
        return not lost

    def wait(self, holds, seconds, what):
        deadline = time.monotonic() + seconds
        with self.changed:
            while not holds():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("in vain waited for %s" % what)
                self.changed.wait(left)


class Stdio(Client):
    def __init__(self, command, **more):
        super().__init__()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, **more)
        self.log = Log(self.process.stderr)
        self.writing = threading.Lock()
        threading.Thread(target=self._read, name="read", daemon=True).start()

    def _read(self):
        with open(self.process.stdout.fileno(), "rb", closefd=False) as lines:
            for line in lines:
                self.heard(line)
        self.dropped(self.session)

    def write(self, message):
        with self.writing:
            try:
                self.process.stdin.write(json.dumps(message).encode() + b"\n")
            except (OSError, ValueError) as error:
                raise Gone(str(error)) from None

    def close(self):
        """Leaves; returns the exit code of the front."""
        self.is_over = True
        self.process.stdin.close()
        return end(self.process)


class Sse(Client):
    """HTTP+SSE. Each POST has one connection of a few that are kept, or, with `fresh`, one of its own. Comes back when it was dropped."""

    def __init__(self, port, fresh=False):
        super().__init__()
        self.port, self.fresh = port, fresh
        self.path, self.socket = None, None
        self.posts = queue.Queue()
        for _ in range(4):
            threading.Thread(target=self._post, name="post", daemon=True).start()
        self._open(10)

    def _open(self, seconds):
        """A new session; raises Gone when there is no server."""
        with self.changed:
            self.path = None
            self.session += 1
            session = self.session
        try:
            stream = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
            stream.request("GET", "/sse", headers={"Accept": "text/event-stream"})
            self.socket = stream.sock
            answer = stream.getresponse()
            self.socket.settimeout(None)
        except OSError as error:
            raise Gone(str(error)) from None
        threading.Thread(target=self._read, args=(answer, session), name="read", daemon=True).start()
        try:
            self.wait(lambda: self.path is not None or self.session != session, seconds, "the endpoint event")
        except TimeoutError as error:
            raise Gone(str(error)) from None
        if self.session != session:
            raise Gone("the stream ended before it said where to POST")

    def _read(self, answer, session):
        event, data = "message", []
        try:
            for raw in answer:
                line = raw.decode().rstrip("\r\n")
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "event":
                    event = value
                elif name == "data":
                    data.append(value)
                elif not line and data:
                    if event == "endpoint":
                        with self.changed:
                            self.path = data[0]
                            self.changed.notify_all()
                    else:
                        self.heard("\n".join(data))
                    event, data = "message", []
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass
        self.dropped(session)

    def write(self, message):
        # A call is not held up by the one before; whatever else goes in order.
        is_call = message.get("method") == "tools/call"
        done = None if is_call else queue.Queue()
        self.posts.put((message, self.path, done))
        if done is not None:
            failure = done.get(timeout=30)
            if failure:
                raise Gone(failure)

    def _post(self):
        connection = None
        while True:
            message, path, done = self.posts.get()
            failure = None
            call = self.calls.get(message.get("id"))
            # What is measured begins here: the thread may have had to wait for its turn.
            if call is not None:
                call.sent = time.monotonic()
            try:
                if path is None:
                    raise OSError("there is no session")
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("POST", path, json.dumps(message), {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status not in (200, 202):
                    failure = "POST was answered %d" % answer.status
            except (OSError, http.client.HTTPException) as error:
                failure = str(error) or type(error).__name__
            if (self.fresh or failure) and connection:
                connection.close()
                connection = None
            if done is not None:
                done.put(failure)
            elif failure and call is not None:
                with self.changed:
                    if call.answered is None:
                        call.answered, call.failure = time.monotonic(), failure
                    self.changed.notify_all()

    def close(self):
        self.is_over = True
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The other side was first.
            pass


class Load:
    """`rate` calls a second and a tenth as many slow ones, however long each takes to be answered. With `comes_back` a new session is opened when one
    was dropped, again and again until there is one."""

    def __init__(self, client, rate, comes_back):
        self.client, self.rate, self.stopping = client, rate, threading.Event()
        self.thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.returning = threading.Thread(target=self._return, name="return", daemon=True) if comes_back else None

    def __enter__(self):
        self.thread.start()
        if self.returning:
            self.returning.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
        if self.returning:
            self.returning.join()

    def _run(self):
        start = time.monotonic()
        sent = 0
        while not self.stopping.wait(max(0.0, start + sent / self.rate - time.monotonic())):
            self.client.call()
            if sent % 10 == 0:
                self.client.call(is_slow=True)
            sent += 1

    def _return(self):
        client, known = self.client, self.client.drops
        while not self.stopping.wait(0.02):
            if client.drops == known:
                continue
            try:
                client._open(5)
                client.greet(5)
                known = client.drops
            except (Gone, TimeoutError, queue.Empty):
                pass


class Log:
    """What a process says on stderr: the end of it, and waiting for a line."""

    def __init__(self, pipe):
        self.lines, self.changed, self.count = deque(maxlen=4000), threading.Condition(), 0
        threading.Thread(target=self._read, args=(pipe,), name="log", daemon=True).start()

    def _read(self, pipe):
        with open(pipe.fileno(), "rb", closefd=False) as lines:
            for raw in lines:
                with self.changed:
                    self.lines.append(raw.decode(errors="replace").rstrip("\n"))
                    self.count += 1
                    self.changed.notify_all()

    def find(self, pattern, seconds=20):
        """The first line that matches, now or later."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while True:
                for line in self.lines:
                    if found := re.search(pattern, line):
                        return found
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("no line %r in:\n%s" % (pattern, "\n".join(self.lines)))
                self.changed.wait(left)


def end(process, seconds=15):
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None
