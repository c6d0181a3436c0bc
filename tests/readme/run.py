#!/usr/bin/env python3
"""Runs every command of README.md, parses its JSON, and runs every example as its head says. TAP on stdout.

    run.py --bin target/debug/mcp-http-transport [--clean] [--only readme|examples]

Each line of a shell block is a case. A command that serves is started, waited for, asked something as a client would, and stopped; `run` is
shown an edit besides, and must answer with the new code. What a machine need not have is stood in for or checked in another way, and the line says
how: "ran" is the command itself, "checked" is the other way. Ports are replaced by free ones; all files are below target/readme.

A block may have a note above it, an HTML comment `<!-- readme: NOTE -->`:
    typescript, cargo    the commands run in that folder of tests/readme/projects; without a note in one with README's own server.py
    front                a front serves the project meanwhile
    checkout             the commands run in this checkout; with --clean in the clone that the first of them makes, from nothing
    install, session, claude, log, hook, dockerfile, engine, probes, nginx: see the function of that name
"""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from blocks import blocks, prose
from examples import run_examples
from stage import DEADLINE, Process, StdioClient, Wrong, answers, free_ports, listening, need

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = ROOT / "target" / "readme"
# Of this run; removed at its end.
RUN = WORK / f"run-{os.getpid()}"
NAME = "mcp-http-transport"
REPOSITORY = re.search(r'^repository = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]
SERVERS = {"run", "demo", "connect"}
# How the projects say hello, and where.
SOURCES = {"python": "server.py", "typescript": "src/index.ts", "cargo": "src/main.rs"}


class Stage:
    """What all cases share: the folders, the environment, the ports, the results."""

    def __init__(self, options):
        self.options, self.binary = options, Path(options.bin).resolve()
        self.ports = dict(zip(range(3000, 3004), free_ports(4)))
        self.passed, self.failed, self.running = 0, 0, []
        self.bin = RUN / "bin"
        self.bin.mkdir(parents=True)
        os.link(self.binary, self.bin / NAME)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MCP_", "npm_", "MAKE", "CARGO_TARGET"))}
        runtime = RUN / "sockets"
        runtime.mkdir(mode=0o700)
        self.env = kept | {
            "PATH": f"{self.bin}:{WORK / 'uv' / 'bin'}:{os.environ['PATH']}",
            "UV_CACHE_DIR": str(WORK / "uv" / "cache"),
            "UV_PYTHON_DOWNLOADS": "never",
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_STATE_HOME": str(RUN / "state"),
            "MCP_HTTP_PORT": str(self.ports[3000]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def folder(self, name):
        """A project that nobody has touched yet."""
        place = RUN / f"{name}-{len(list(RUN.iterdir()))}"
        if name == "python":
            place.mkdir()
            (place / "server.py").write_text(self.server_py)
        else:
            shutil.copytree(HERE / "projects" / name, place)
            if name == "typescript":
                (place / "node_modules").symlink_to(WORK / "node" / "node_modules")
        return place

    def start(self, command, cwd, **more):
        process = Process(command, cwd, self.env | more)
        self.running.append(process)
        return process

    def moved(self, text):
        """The same with our ports."""
        return re.sub(r"\b300[0-3]\b", lambda port: str(self.ports[int(port[0])]), text)

    def case(self, what, body):
        begun = time.monotonic()
        try:
            how = body()
            self.passed += 1
            word = "ok"
        except (Wrong, KeyError, ValueError, OSError, subprocess.SubprocessError) as why:
            self.failed += 1
            how, word = f"{type(why).__name__}: {why}".replace("\n", "\n# "), "not ok"
        print(f"{word} {self.passed + self.failed} - {what} # {how} ({time.monotonic() - begun:.1f} s)", flush=True)

    def sweep(self):
        for process in self.running:
            process.kill()
        self.running = []


def plain(command):
    """The words of a command without its variables, and these; None for what a shell must read."""
    words, env = shlex.split(command), {}
    if any(mark in command for mark in ("&&", "|", ">", "*", "$")):
        return None, {}
    while words and re.match(r"[A-Z_]+=", words[0]):
        name, value = words.pop(0).split("=", 1)
        env[name] = value
    return words, env


def is_server(words):
    return bool(words) and len(words) > 1 and words[0] == NAME and words[1] in SERVERS


def greets_anew(client, stage, cwd, kind, words):
    """An edit, and the same session has the new answer."""
    need(client.greeting() == "hello", "it does not greet")
    source = cwd / SOURCES[kind]
    source.write_text(source.read_text().replace("hello", "good morning"))
    if "--no-watch" in words:
        done = subprocess.run([NAME, "reload"], cwd=cwd, env=stage.env, capture_output=True, text=True, timeout=DEADLINE)
        need(done.returncode == 0, f"reload: {done.returncode} {done.stdout}{done.stderr}")
    deadline = time.monotonic() + DEADLINE
    while client.greeting() != "good morning":
        need(time.monotonic() < deadline, "the edit is not live")
    return "reloaded"


def serves(stage, words, cwd, kind, env):
    """Starts what serves, asks it something, and ends it."""
    process = stage.start(words, cwd, **env)
    if "--http" in words or env.get("MCP_TRANSPORT") == "http":
        base = listening(process)
        answers(base + "/healthz")
        answers(base + "/mcp")
        process.end(signal.SIGTERM)
        return "ran: listens, answers initialize, ends at SIGTERM"
    client = StdioClient(process)
    more = "answers tools/list" if client.ask("tools/list")["tools"] else ""
    if words[1] == "run":
        more = greets_anew(client, stage, cwd, kind, words)
    process.end("stdin")
    return f"ran: answers initialize, {more}, ends with stdin"


def once(stage, command, cwd):
    done = subprocess.run(command, shell=True, cwd=cwd, env=stage.env, capture_output=True, text=True, timeout=DEADLINE)
    need(done.returncode == 0, f"exit {done.returncode}: {done.stdout[-600:]} {done.stderr[-600:]}")
    if done.stdout.startswith("{"):
        return f"ran: exit 0, and what it prints: {configured(stage, json.loads(done.stdout), cwd)}"
    return "ran: exit 0" + (f", {done.stdout.splitlines()[0][:60]!r}" if done.stdout.strip() else "")


def waits(stage, command, cwd, env):
    """A command that goes on beside the others of its block, as in a terminal of its own."""
    process = stage.start(shlex.split(command), cwd, **env)
    if command.startswith("curl"):
        at = process.wait_for(process.out, lambda line: "session_id=" in line, "the endpoint event")
        stage.session, stage.stream = process.out[at].split("session_id=")[1], process
        return "ran: the stream names its session"
    if "tsc -w" in command:
        process.wait_for(process.out, lambda line: "Watching for file changes" in line, "the compiler watching")
        return "ran: compiled, watches"
    listening(process)
    return "ran: listens"


def posts(stage, command, cwd):
    """A call whose answer comes on the stream."""
    begin = len(stage.stream.out)
    once(stage, command.replace("session_id=...", "session_id=" + stage.session), cwd)
    at = stage.stream.wait_for(stage.stream.out, lambda line: '"result"' in line, "the answer on the stream", begin)
    return json.loads(stage.stream.out[at].removeprefix("data: "))["result"]["content"][0]["text"]


def shell_block(stage, block):
    first = block.note.split(":")[0].split(",")[0].split(" ")[0]
    if special := SPECIAL.get(first):
        return special(stage, block)
    kind = first if first in SOURCES else "python"
    cwd = stage.folder(kind)
    commands = [(line, stage.moved(command)) for line, command in block.commands()]
    # The demo answers where nobody else does.
    if "localhost:300" in block.text and not any("--http" in command for _, command in commands):
        listening(stage.start([NAME, "demo", "--http", "--port", str(stage.ports[3000])], cwd))
    if first == "front":
        front(stage, cwd)
    for line, command in commands:
        words, env = plain(command)

        def body():
            if "session_id=..." in command:
                return f"ran: the answer on the stream is {posts(stage, command, cwd)!r}"
            if "/sse" in command or command.endswith("tsc -w"):
                return waits(stage, command, cwd, env)
            if is_server(words):
                return serves(stage, words, cwd, kind, env)
            return once(stage, command, cwd)

        stage.case(f"README.md:{line} {command}", body)
    stage.sweep()
    return None


def front(stage, cwd):
    """A front with a session in it, started and ready."""
    client = StdioClient(stage.start([NAME, "run", "--", "python3", "server.py"], cwd))
    need(client.greeting() == "hello", "it does not greet")
    return client


def session(stage, block):
    """A server, a stream and a call, each in a terminal of its own; then an edit, and the call again."""
    cwd = stage.folder("python")
    for line, command in block.commands():
        command = stage.moved(command)
        body = lambda: f"ran: the answer on the stream is {posts(stage, command, cwd)!r}" if "..." in command else waits(stage, command, cwd, {})
        stage.case(f"README.md:{line} {command}", body)

    def edited():
        source = cwd / "server.py"
        source.write_text(source.read_text().replace("hello", "good morning"))
        said = posts(stage, command, cwd)
        need(said == "good morning", f"it says {said}")
        return "ran: the new answer, on the same stream"

    stage.case(f"README.md:{line} the same after an edit", edited)
    stage.sweep()


def install(stage, block):
    """Each into a prefix of its own. Cargo's is a debug build in the usual target; the packages hold the binary under test, stripped."""
    place = RUN / "install"
    dist = place / "target" / "dist"
    dist.mkdir(parents=True)
    target = re.search(r"host: (.*)", subprocess.run(["rustc", "-vV"], capture_output=True, text=True).stdout)[1]
    small = place / NAME
    shutil.copyfile(stage.binary, small)
    subprocess.run(["strip", small], check=False)
    subprocess.run([sys.executable, ROOT / "packaging/packages.py", small, target, dist], check=True, capture_output=True)
    prefix = {"pip": {"PIP_PREFIX": str(place / "pip"), "PIP_NO_INDEX": "1", "PIP_BREAK_SYSTEM_PACKAGES": "1", "PIP_IGNORE_INSTALLED": "1"},
              "npm": {"npm_config_prefix": str(place / "npm"), "npm_config_offline": "true", "npm_config_update_notifier": "false"}}
    for line, command in block.commands():
        tool = command.split()[0]

        def body():
            run, cwd, how = command, place, "ran"
            if tool == "cargo":
                run, cwd = f"{command} --debug --root {place}/cargo --target-dir {stage.binary.parent.parent}", ROOT
                how = "ran with --debug and a --root of its own"
            elif not shutil.which(tool):
                return f"checked: no {tool} here; `make packages` installs the same file"
            process = Process(run, cwd, stage.env | prefix.get(tool, {}))
            process.finish()
            installed = place / tool / "bin" / NAME
            said = subprocess.run([installed, "--version"], capture_output=True, text=True, timeout=DEADLINE).stdout
            need(said.startswith(NAME), f"{installed} says {said!r}")
            return f"{how}: {said.strip()}"

        stage.case(f"README.md:{line} {command}", body)


def claude(stage, block):
    """What Claude Code would start is started; a real `claude` would write into its configuration."""
    for line, command in block.commands():

        def body():
            words = shlex.split(command)
            need(words[:3] == ["claude", "mcp", "add"] and words[4] == "--", "it is not `claude mcp add NAME -- COMMAND`")
            how = serves(stage, words[5:], stage.folder("python"), "python", {})
            return f"checked: without claude, what it is to start; {how}"

        stage.case(f"README.md:{line} {command}", body)
    stage.sweep()


def checkout(stage, block):
    """A fresh clone; what is built and run in it is run in this checkout, unless a clean one is asked for."""
    cwd, env = RUN, {name: value for name, value in stage.env.items() if not name.startswith("MCP_")}
    for line, command in block.commands():

        def body():
            nonlocal cwd
            if command.startswith("git clone"):
                need(f"git clone {REPOSITORY} && cd {NAME}" == command, f"Cargo.toml names {REPOSITORY}")
                clone = cwd / NAME
                subprocess.run(["git", "clone", ROOT, clone], check=True, capture_output=True)
                need((clone / "Makefile").exists(), "there is no Makefile in the clone")
                cwd = clone if stage.options.clean else ROOT
                return "ran: this checkout stands in for the address"
            where = "in the clone" if stage.options.clean else "in this checkout"
            if command == "make test" and not stage.options.clean:
                Process("make -n test", cwd, env).finish()
                return "checked: the target exists; .ci/run runs it, and `make readme-clean` in a fresh clone"
            if command == "make run":
                process = stage.start("exec make run", cwd, PORT=str(stage.ports[3000]))
                base = listening(process)
                answers(base + "/mcp")
                process.end(signal.SIGTERM, good=(0, 2, -signal.SIGTERM))
                return f"ran {where}: listens, answers initialize"
            Process(command, cwd, env).finish()
            return f"ran {where}: exit 0"

        stage.case(f"README.md:{line} {command}", body)
    stage.sweep()


def engine(stage, block):
    """Without an engine: do the flags exist?"""
    for line, command in block.commands():

        def body():
            words = shlex.split(command)
            if not shutil.which("docker"):
                return "checked: three words and flags, by eye only: no docker here"
            said = subprocess.run(["docker", words[1], "--help"], capture_output=True, text=True, timeout=DEADLINE).stdout
            flags = [word for word in words[2:] if word.startswith("-")]
            need(all(re.search(rf"(^|\s){flag}[, ]", said) for flag in flags), f"docker {words[1]} does not know one of {flags}")
            return f"checked: there is no engine; docker {words[1]} knows {', '.join(flags)}"

        stage.case(f"README.md:{line} {command}", body)


# What a note's first word stands for, in shell blocks.
SPECIAL = {"install": install, "session": session, "claude": claude, "checkout": checkout, "engine": engine}


def shape(line):
    return re.sub(r"\d+ (ms|files?)", r"N \1", re.sub(r"^\S+Z ", "", line)).replace("files", "file")


def log(stage, block):
    """The lines come from a good and a broken reload of README's server.py; times, numbers and paths apart."""
    cwd = stage.folder("python")
    process = stage.start([NAME, "run", "--", "python3", "server.py"], cwd)
    client, source = StdioClient(process), cwd / "server.py"
    client.ask("tools/list")
    good = source.read_text()
    source.write_text(good.replace("greet", "welcome"))
    client.greeting()
    process.wait_for(process.errors, lambda line: " reloaded in " in line, "the reload")
    source.write_text(good.replace("sys.stdin:", "sys.stdin"))
    client.greeting()
    process.end("stdin")
    said = [shape(line).replace(str(cwd.resolve()), "/home/me/mine") for line in process.errors if line]
    at = 0
    for line in map(shape, block.text.splitlines()):
        # What a Python calls the error changes from version to version.
        start = line.split("SyntaxError")[0] + "SyntaxError" if "SyntaxError" in line else line
        while at < len(said) and not said[at].startswith(start):
            at += 1
        need(at < len(said), f"no line {line!r} in its place in: {said}")
    return "checked: each line stands in the log of a good and a broken edit, in this order"


def hook(stage, value):
    """The command of an agent's hook: silent after a good edit; after a broken one it ends with 2 and says why on stderr."""
    command = value["hooks"]["PostToolUse"][0]["hooks"][0]["command"]
    cwd = stage.folder("python")
    client, source = front(stage, cwd), cwd / "server.py"
    call = lambda: subprocess.run(command, shell=True, cwd=cwd, env=stage.env, capture_output=True, text=True, timeout=DEADLINE)
    need(call().returncode == 0, "the hook fails after a good edit")
    source.write_text(source.read_text().replace("sys.stdin:", "sys.stdin"))
    done = call()
    need(done.returncode == 2 and "SyntaxError" in done.stderr and not done.stdout, f"the hook after a broken edit: {done}")
    client.process.end("stdin")
    stage.sweep()
    return "ran: 0 after a good edit, 2 with the reason on stderr after a broken one"


def json_block(stage, block):
    value = json.loads(stage.moved(block.text))
    if "hooks" in value:
        return hook(stage, value)
    cwd = stage.folder("python")
    listening(stage.start([NAME, "demo", "--http", "--port", str(stage.ports[3000])], cwd))
    how = configured(stage, value, cwd)
    stage.sweep()
    return how


def configured(stage, value, cwd):
    """Does with a client's configuration what the client would."""
    said = []
    for server in (value.get("mcpServers") or value["servers"]).values():
        if "url" in server:
            answers(server["url"])
            said.append("the demo answers initialize at this URL")
            continue
        real = {f"/absolute/path/{NAME}": NAME, "/absolute/path/python3": "python3", "/absolute/path/server.py": str(cwd / "server.py")}
        words = [real.get(word, word) for word in [server["command"], *server["args"]]]
        said.append(serves(stage, words, cwd, "python", {}))
    return "; ".join(said)


def dockerfile(stage, block):
    """Its command with its variables, without the image; and the health check of that."""
    cwd, env, commands = stage.folder("python"), {"MCP_HTTP_TOKEN": "secret"}, {}
    for line in block.text.splitlines():
        word, rest = line.split(" ", 1)
        if word == "ENV":
            env |= dict(pair.split("=") for pair in rest.split())
        elif word in ("CMD", "HEALTHCHECK"):
            commands[word] = [part.replace("/srv/", f"{cwd}/") for part in json.loads(rest[rest.index("[") :])]
        else:
            need(word in ("FROM", "COPY", "EXPOSE"), f"{word}?")
    # Beyond loopback only in the container.
    env["MCP_HTTP_HOST"] = need(env["MCP_HTTP_HOST"] == "0.0.0.0", "where does it listen?") and "127.0.0.1"
    process = stage.start(commands["CMD"], cwd, **env)
    answers(listening(process) + "/mcp", "secret")
    done = subprocess.run(commands["HEALTHCHECK"], env=stage.env | env, capture_output=True, text=True, timeout=DEADLINE)
    need(done.returncode == 0, f"the health check: {done}")
    process.end(signal.SIGTERM)
    return "checked: CMD and HEALTHCHECK run with ENV, without the image"


def probes(stage, block):
    process = stage.start([NAME, "demo", "--http"], WORK)
    base = listening(process)
    found = re.findall(r"path: (\S+), port: (\d+)", block.text)
    need(found and all(port == "3000" for _, port in found), "no path and port")
    for path, _ in found:
        answers(base + path)
    process.end(signal.SIGTERM)
    return "checked: " + ", ".join(path for path, _ in found) + " answer 200"


def nginx(_stage, block):
    """`make proxies` runs that file with a real nginx."""
    bare = lambda text: [re.sub(r"\s+#.*", "", line).strip() for line in text.splitlines()]
    mine, whole = bare(block.text), bare((ROOT / "tests/proxies/nginx.conf").read_text())
    need(any(whole[at : at + len(mine)] == mine for at in range(len(whole))), "tests/proxies/nginx.conf has other lines")
    return "checked: the lines of tests/proxies/nginx.conf, which `make proxies` runs"


def names(stage, text):
    """Commands, flags, variables, targets and files named in the prose exist."""
    help_of = lambda word: subprocess.run([stage.binary, word, "-h"], capture_output=True, text=True, timeout=DEADLINE).stdout
    commands = re.findall(r"^  (\w+) ", subprocess.run([stage.binary, "-h"], capture_output=True, text=True, timeout=DEADLINE).stdout, re.M)
    helps = {word: help_of(word) for word in commands}
    everything = "\n".join(helps.values())
    targets = re.findall(r"^(\S+)", subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE).stdout, re.M)
    checks = [
        (rf"`{NAME} (\w+)", lambda word: word in commands, "command"),
        (r"`(--[a-z-]+)", lambda word: re.search(rf"{word}\b", everything), "flag"),
        (r"\b(MCP_[A-Z_]+[A-Z])\b", lambda word: word in everything, "variable"),
        (r"`make ([a-z-]+)`", lambda word: word in targets, "target of the Makefile"),
        (r"\]\(([^)#:]+)\)", lambda word: (ROOT / word).exists(), "file"),
        (r"`((?:tests|packaging|examples)/[\w./]+)`", lambda word: (ROOT / word).exists(), "file"),
        (r"src=\"([^\":]+)\"", lambda word: (ROOT / word).exists(), "file"),
        (r"(https://github\.com/[\w-]+/mcp-http-transport)", lambda word: word == REPOSITORY, "address, as in Cargo.toml"),
    ]
    for pattern, holds, what in checks:
        found = {}
        for number, line in enumerate(prose(text), 1):
            for word in re.findall(pattern, line):
                found.setdefault(word, number)
        if found:
            wrong = [f"README.md:{number} {word}" for word, number in found.items() if not holds(word)]
            body = lambda: need(not wrong, ", ".join(wrong)) and f"checked: {', '.join(found)}"
            stage.case(f"README.md names {len(found)} x {what}", body)


# What a block of another language is held against: the function that its note names, or else its language.
CHECKS = {"json": json_block, "dockerfile": dockerfile, "yaml": probes, "nginx": nginx, "log": log}


def readme(stage, text):
    found = blocks(text)
    stage.server_py = next(block.text for block in found if block.language == "python")
    for block in found:
        what = f"README.md:{block.line} the block of {block.language}"
        check = CHECKS.get(block.note) or CHECKS.get(block.language)
        if block.language == "sh":
            shell_block(stage, block)
        elif check:
            stage.case(what, lambda: check(stage, block))
            stage.sweep()
        elif block.language == "rust":
            stage.case(what, lambda: "checked: compiled by `cargo test --doc`")
        elif block.language == "python":
            stage.case(what, lambda: "ran: it is the server of the other cases")
        else:
            stage.case(what, lambda: need(block.text.strip()[0] not in "$>{", "a command in a picture?") and "checked: a picture, nothing to run")
    words = [sys.executable, HERE / "record.py", "--bin", stage.binary, "--check"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE)
    stage.case("packaging/recording.txt", lambda: need(done.returncode == 0, done.stderr) and "ran: the same comes out today, times apart")
    names(stage, text)


def main():
    # Who is started in the background ignores these, and so would all that we start.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--clean", action="store_true")
    parser.add_argument("--only", choices=["readme", "examples"])
    stage = Stage(parser.parse_args())
    try:
        if stage.options.only != "examples":
            readme(stage, (ROOT / "README.md").read_text())
        if stage.options.only != "readme":
            run_examples(stage, ROOT)
    finally:
        stage.sweep()
        shutil.rmtree(RUN, ignore_errors=True)
    print(f"1..{stage.passed + stage.failed}")
    print(f"{stage.passed} passed, {stage.failed} failed")
    sys.exit(1 if stage.failed else 0)


if __name__ == "__main__":
    main()
