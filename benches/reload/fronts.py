"""What stands between the client and the server that is edited: ours, and its peers. Each is started with the server it is to serve, and brings a client."""

import os
import signal
import socket
import subprocess
import time

import client as clients
import servers

# The core of front and server; the client has the other one.
CORE = 0


def pinned(words):
    return ["taskset", "-c", str(CORE), *map(str, words)]


class Ours:
    name, is_ours, comes_back = "this", True, False

    def __init__(self, args, server, transport, hold):
        words = [args.ours, "run", "--log-level", "debug" if args.log else "info"]
        words += [] if hold else ["--hold", "0"]
        words += ["--watch", server.watch] if server.watch else []
        words += ["--build", server.build] if server.build else []
        words += ["--http", "--port", "0"] if transport == "sse" else []
        words += ["--", *server.command]
        more = dict(cwd=server.place, env=servers.clean_environment())
        if transport == "stdio":
            self.client = clients.Stdio(pinned(words), **more)
            self.process, self.log = self.client.process, self.client.log
        else:
            self.process = subprocess.Popen(pinned(words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **more)
            self.log = clients.Log(self.process.stderr)
            port = int(self.log.find(r"listening on http://127\.0\.0\.1:(\d+)")[1])
            self.client = clients.Sse(port)
        self.watched = int(self.log.find(r"watching .*: (\d+) files?")[1])
        self.exit = None

    def settle(self):
        """Waits until the old server has gone."""
        deadline = time.monotonic() + 20
        while len(children(self.process.pid)) > 1 and time.monotonic() < deadline:
            time.sleep(0.005)

    def has_seen_the_break(self):
        self.log.find("keeps serving")

    def end(self):
        if isinstance(self.client, clients.Stdio):
            self.exit = self.client.close()
        else:
            self.client.close()
            self.process.send_signal(signal.SIGTERM)
            self.exit = clients.end(self.process)


class Peer:
    """Somebody else's. `words` is its command line, in the directory of the server; it is told to end with all that it started."""

    is_ours, comes_back, exit = False, False, 0

    def __init__(self, args, server, transport, hold):
        self.watched = sum(1 for path in server.root().rglob("*") if path.is_file())
        self.start(args, server, dict(cwd=server.place, env=server.environment(), start_new_session=True))

    def start(self, args, server, more):
        self.client = clients.Stdio(pinned(self.words(args, server)), **more)
        self.process, self.log = self.client.process, self.client.log

    def settle(self):
        """It does not say when it is done."""

    has_seen_the_break = settle

    def end(self):
        self.client.is_over = True
        # The wrapper of the incumbent leaves the server behind when it is told to end.
        os.killpg(self.process.pid, signal.SIGTERM)
        clients.end(self.process, 5)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            # All have ended.
            pass


class Incumbent(Peer):
    """With its wrapper, repaired: watchdog 6, an `mcp` package below 2. Its client comes back as soon as it can."""

    name, comes_back = "incumbent 0.2.0, repaired", True

    def start(self, args, server, more):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        more["env"].update(MCP_TRANSPORT="http", MCP_HTTP_HOST="127.0.0.1", MCP_HTTP_PORT=str(port))
        quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.process = subprocess.Popen(pinned(server.command), **quiet, **more)
        self.log = clients.Log(self.process.stderr)
        self.log.find("Uvicorn running")
        self.client = clients.Sse(port, fresh=True)

    def end(self):
        self.client.close()
        super().end()


class Hmr(Peer):
    """Loads the edited module again in the process that serves it."""

    name = "mcp-hmr 0.0.3.5"

    def words(self, args, server):
        return [args.hmr / "bin" / "mcp-hmr", "server.py:server"]


class Mcpmon(Peer):
    """Told to watch the directory of the file that is edited: unasked it watches the script alone."""

    name = "mcpmon 0.3.0"

    def words(self, args, server):
        return ["node", args.mcpmon / "dist" / "cli.js", "--watch", server.answer(0).parent, *server.command]


def children(pid):
    found = []
    for task in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/children" % (pid, task)) as words:
                found += map(int, words.read().split())
        except FileNotFoundError:
            # That thread has ended since.
            pass
    return found
