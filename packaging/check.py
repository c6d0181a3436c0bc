"""Installs every package of target/dist into a prefix of its own and runs it there. TAP on stdout.

    python3 packaging/check.py target/dist TARGET
"""

import base64
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path

import packages
from packages import NAME, ROOT, VERSION

DIST, TARGET = Path(sys.argv[1]).resolve(), sys.argv[2]
WORK = DIST.parent / "packages"
BASE = f"{NAME}-v{VERSION}-{TARGET}"
# Nothing of the caller's settings, so that what is installed is what runs.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("MCP_", "PYTHON", "npm_"))}

passed, failed = [], []


def test(what):
    """Runs a test where it stands and prints its line."""

    def run(body):
        begun = time.monotonic()
        try:
            note = body() or ""
            passed.append(what)
        except Exception as why:  # a test fails by raising
            failed.append(what)
            note = f"\n# {type(why).__name__}: {why}".replace("\n", "\n# ")
        word = "not ok" if what in failed else "ok"
        print(f"{word} {len(passed) + len(failed)} - {what} ({time.monotonic() - begun:.1f} s) {note}".rstrip(), flush=True)

    return run


def call(*command, timeout=900, **options):
    command = [str(word) for word in command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env={**CLEAN, **options.pop("env", {})}, **options)
    if done.returncode != 0:
        raise AssertionError(f"{shlex.join(command)}: exit {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def fresh(name):
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def runs(program, cwd):
    """`--version`, and a session with the demo over stdio."""
    version = call(program, "--version", cwd=cwd).strip()
    assert version == f"{NAME} {VERSION}", version
    messages = [
        {"id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "check", "version": "1"}}},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "add", "arguments": {"a": 2, "b": 3}}},
    ]
    text = "".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages)
    answers = [json.loads(line) for line in call(program, "demo", cwd=cwd, input=text, timeout=30).splitlines()]
    results = {answer["id"]: answer["result"] for answer in answers if "result" in answer}
    assert results[1]["protocolVersion"] == "2025-06-18", results[1]
    assert results[2]["content"][0]["text"] == "5", results[2]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def interpreter(binary):
    """The dynamic loader that an ELF file asks for; None when it is static."""
    data = binary.read_bytes()
    assert data[:5] == b"\x7fELF\x02", "not a 64 bit ELF file"
    (offset,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for at in range(offset, offset + size * count, size):
        kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", data, at)
        if kind == 3:
            return data[start : start + length].rstrip(b"\0").decode()
    return None


def instructions(dockerfile):
    """The instructions of a Dockerfile as (word, rest); continued lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.M).replace("\\\n", " ")
    return [(line.split(None, 1)[0].upper(), line.split(None, 1)[1].strip()) for line in text.splitlines() if line.strip()]


def version_files():
    names = {file.name for file in DIST.iterdir() if file.is_file()}
    rows = [line.split("  ") for line in (DIST / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in rows} == names - {"SHA256SUMS"}, (rows, names)
    for digest, name in rows:
        assert hashlib.sha256((DIST / name).read_bytes()).hexdigest() == digest, name
    return rows


@test("SHA256SUMS names every file and is right")
def _():
    return f"{len(version_files())} files"


@test("the tarball holds the binary, the licence and README, and runs")
def _():
    with tarfile.open(DIST / f"{BASE}.tar.gz") as archive:
        names = sorted(archive.getnames())
        assert names == sorted(f"{BASE}/{name}" for name in [NAME, *packages.PAPERS]), names
        folder = fresh("tarball")
        archive.extractall(folder)
    binary = folder / BASE / NAME
    runs(binary, folder)
    note = f"{binary.stat().st_size} bytes"
    if "linux" in TARGET:
        assert interpreter(binary) is None, interpreter(binary)
        note += ", static"
    return note


@test("packed twice, the bytes are the same")
def _():
    again = fresh("again")
    call(sys.executable, ROOT / "packaging/packages.py", WORK / "tarball" / BASE / NAME, TARGET, again)
    assert (again / "SHA256SUMS").read_text() == (DIST / "SHA256SUMS").read_text()


@test("cargo binstall finds the tarball by the names that Cargo.toml gives")
def _():
    meta = json.loads(call("cargo", "metadata", "--no-deps", "--format-version", "1", cwd=ROOT))["packages"][0]["metadata"]["binstall"]
    values = {"name": NAME, "version": VERSION, "target": TARGET, "bin": NAME, "binary-ext": "", "archive-suffix": ".tar.gz", "repo": packages.REPOSITORY}

    def fill(template):
        return re.sub(r"\{ ([a-z-]+) \}", lambda found: values[found[1]], template)

    url = fill(meta["pkg-url"])
    assert url.rsplit("/", 1)[1] == f"{BASE}.tar.gz" and meta["pkg-fmt"] == "tgz", url
    with tarfile.open(DIST / f"{BASE}.tar.gz") as archive:
        assert fill(meta["bin-dir"]) in archive.getnames(), fill(meta["bin-dir"])
    return url


@test("pip installs the wheel into a fresh environment; it runs, and is gone when uninstalled")
def _():
    folder = fresh("pip")
    # Debian splits ensurepip off; then the pip of the system installs into the environment.
    call(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", folder / "venv/bin/python"]
    (wheel,) = DIST.glob("*.whl")
    # pip itself does not compare the hashes.
    with zipfile.ZipFile(wheel) as archive:
        (record,) = [name for name in archive.namelist() if name.endswith(".dist-info/RECORD")]
        rows = dict(line.rsplit(",", 2)[:2] for line in archive.read(record).decode().splitlines())
        assert rows.keys() == set(archive.namelist()), rows
        for name in rows.keys() - {record}:
            digest = base64.urlsafe_b64encode(hashlib.sha256(archive.read(name)).digest()).rstrip(b"=").decode()
            assert rows[name] == f"sha256={digest}", name
    call(*pip, "install", "--no-index", wheel)
    program = folder / "venv/bin" / NAME
    runs(program, folder)
    shown = call(*pip, "show", "--files", NAME)
    assert f"Version: {VERSION}" in shown and f"bin/{NAME}" in shown, shown
    with zipfile.ZipFile(wheel) as archive:
        about = archive.read(record.replace("RECORD", "METADATA")).decode()
    assert f"\nProject-URL: Repository, {packages.REPOSITORY}\n" in about
    near = re.findall(r"\]\((?!https?:|#)[^)]*\)|src=\"(?!https?:)[^\"]*\"", about)
    assert not near, f"these lead nowhere on PyPI: {near}"
    call(*pip, "check")
    call(*pip, "uninstall", "--yes", NAME)
    assert not program.exists()
    return wheel.name


@test("npm installs the package into an empty folder; it runs, passes exit codes and signals on")
def _():
    folder = fresh("npm")
    call("npm", "install", "--offline", "--no-audit", "--no-fund", "--prefix", folder, DIST / f"{NAME}-{VERSION}.tgz", cwd=folder)
    program = folder / "node_modules/.bin" / NAME
    about = json.loads((folder / "node_modules" / NAME / "package.json").read_text())
    assert about["repository"]["url"] == f"git+{packages.REPOSITORY}.git", about
    runs(program, folder)
    wrong = subprocess.run([program, "no-such-command"], capture_output=True, timeout=30, env=CLEAN)
    assert wrong.returncode == 2, wrong
    port = free_port()
    with subprocess.Popen([program, "demo", "--http", "--port", str(port)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=CLEAN) as server:
        try:
            until(lambda: healthy(port), "the demo answers")
            server.send_signal(signal.SIGTERM)
            assert server.wait(20) == 0
        finally:
            server.kill()
    until(lambda: not healthy(port), "the program behind the launcher is gone as well")


@test("cargo install builds and installs from this folder")
def _():
    folder = fresh("cargo")
    call("cargo", "install", "--path", ROOT, "--locked", "--root", folder, cwd=ROOT)
    runs(folder / "bin" / NAME, folder)
    return f"{(folder / 'bin' / NAME).stat().st_size} bytes"


@test("cargo package holds what is needed to build and nothing else, and builds by itself")
def _():
    listed = call("cargo", "package", "--locked", "--allow-dirty", "--list", cwd=ROOT).splitlines()
    allowed = re.compile(r"(src|examples)/.*\.rs|Cargo\.(toml|lock|toml\.orig)|\.cargo_vcs_info\.json|(README|CHANGELOG|DESIGN|SECURITY)\.md|LICENSE")
    strange = [name for name in listed if not allowed.fullmatch(name)]
    assert not strange, strange
    # Not in the usual folder: what is built from the copy there passes for a build of this checkout, and later edits of it are not seen.
    call("cargo", "package", "--locked", "--allow-dirty", "--target-dir", WORK / "cargo-package", cwd=ROOT)
    return f"{len(listed)} files"


@test("the Dockerfile: its parts exist, and what it says runs in an empty root")
def _():
    if "linux" not in TARGET:
        return "# SKIP no image for this system"
    context = DIST / "image"
    steps = instructions((context / "Dockerfile").read_text())
    words = [word for word, _ in steps]
    known = {"FROM", "COPY", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    assert words[0] == "FROM" and set(words) == known, words
    said = dict(steps)
    assert said["FROM"] == "scratch"
    folder = Path(tempfile.mkdtemp(dir=fresh("image")))
    folder.chmod(0o755)
    for word, rest in steps:
        if word == "COPY":
            source, place = rest.split()
            shutil.copy(context / source, folder / place.lstrip("/"))
    env = dict(part.split("=", 1) for part in said["ENV"].split())
    assert env["MCP_HTTP_PORT"] == said["EXPOSE"]
    check = json.loads(said["HEALTHCHECK"].split("CMD", 1)[1])
    patience = int(re.search(r"--timeout=(\d+)s", said["HEALTHCHECK"])[1])
    assert patience > 5, "healthcheck itself waits 5 s"
    server = json.loads(said["ENTRYPOINT"]) + json.loads(said["CMD"])
    user, group = map(int, said["USER"].split(":"))
    assert interpreter(folder / server[0].lstrip("/")) is None
    # An engine gives every container /dev/null; more is not asked for.
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    (folder / "dev").mkdir()
    call(*sudo, "mknod", "-m", "666", folder / "dev/null", "c", "1", "3")
    port = free_port()
    env["MCP_HTTP_PORT"] = str(port)

    def inside(command, **more):
        variables = [f"{name}={value}" for name, value in {**env, **more}.items()]
        return [*sudo, "env", "-i", *variables, shutil.which("chroot") or "/usr/sbin/chroot", f"--userspec={user}:{group}", str(folder), *command]

    refused = subprocess.run(inside(server), capture_output=True, text=True, timeout=30)
    assert refused.returncode != 0 and "MCP_HTTP_TOKEN" in refused.stderr, refused
    with subprocess.Popen(inside(server, MCP_HTTP_TOKEN="s3cret"), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        try:
            until(lambda: healthy(port) or running.poll() is not None, "the server in the empty root answers")
            assert running.poll() is None, running.stderr.read()
            call(*inside(check), timeout=patience)
            running.send_signal(signal.SIGTERM)
            assert running.wait(20) == 0, running.stderr.read()
        finally:
            running.kill()
    gone = subprocess.run(inside(check), capture_output=True, timeout=30)
    assert gone.returncode == 1, gone
    return f"as {user}:{group}"


print(f"1..{len(passed) + len(failed)}")
print(f"{len(passed)} passed, {len(failed)} failed")
sys.exit(bool(failed))
