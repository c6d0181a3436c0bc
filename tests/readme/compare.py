#!/usr/bin/env python3
"""Shows every fact of COMPARE.md that has a command: fetches the packages, runs the commands among them, and looks for what they are to print. TAP.

    compare.py            needs the registries of PyPI, npm and Rust, and two Git repositories; what cannot be fetched is said, and its rows fail

Nothing that is fetched is run or installed: packages are unpacked into target/compare and read.
"""

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = ROOT / "target" / "compare"
WHEELS = {
    "incumbent": "mcp-http-transport==0.2.0",
    "mcp-hmr": "mcp-hmr==0.0.3.5",
    "fastmcp": "fastmcp-slim==4.1.2",
    "mcp-proxy-py": "mcp-proxy==0.13.0",
}
NPM = {"supergateway": "supergateway@4.0.0", "mcp-proxy": "mcp-proxy@6.7.19", "mcp-remote": "mcp-remote@0.15.1"}
GIT = {"mcpmon": ("neilopet/mcp-server-hmr", "20437dc"), "reloaderoo": ("cameroncooke/reloaderoo", "6dddeec")}
CRATES = ["rmcp", "rust-mcp-sdk"]


def call(*words, **options):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True, timeout=300, **options).stdout


def wheel(place, what):
    with tempfile.TemporaryDirectory() as folder:
        call(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--python-version", "3.13", "-d", folder, what)
        zipfile.ZipFile(next(Path(folder).iterdir())).extractall(place)


def npm(place, what):
    with tempfile.TemporaryDirectory() as folder:
        call("npm", "pack", "--silent", what, cwd=folder)
        tarfile.open(next(Path(folder).iterdir())).extractall(place.with_suffix(".new"))
    (place.with_suffix(".new") / "package").rename(place)


def git(place, where):
    repository, commit = where
    with tempfile.TemporaryDirectory() as folder:
        call("git", "clone", "-q", f"https://github.com/{repository}", folder)
        archive = subprocess.run(["git", "-C", folder, "archive", commit], check=True, capture_output=True).stdout
    tarfile.open(fileobj=io.BytesIO(archive)).extractall(place)


def crate(place, name):
    manifest = ROOT / "benches/peers/Cargo.toml"
    packages = json.loads(call("cargo", "metadata", "--format-version", "1", "--locked", "--manifest-path", manifest))["packages"]
    place.symlink_to(Path(next(package for package in packages if package["name"] == name)["manifest_path"]).parent)


def fetch():
    WORK.mkdir(parents=True, exist_ok=True)
    ways = [(wheel, WHEELS), (npm, NPM), (git, GIT), (crate, {name: name for name in CRATES})]
    for way, subjects in ways:
        for name, what in subjects.items():
            place = WORK / name
            if place.exists():
                continue
            try:
                way(place, what)
            except (subprocess.SubprocessError, OSError, StopIteration) as why:
                shutil.rmtree(place, ignore_errors=True)
                print(f"# {name} cannot be fetched: {str(why)[:200]}")


def rows():
    """Each row with a command: the line, what it shows, the command, what is to be printed."""
    for number, line in enumerate((ROOT / "COMPARE.md").read_text().splitlines(), 1):
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 3 and all(re.fullmatch(r"`.*`", cell) for cell in cells[1:]):
            yield number, cells[0], cells[1][1:-1], cells[2][1:-1]


def main():
    fetch()
    passed = failed = 0
    for number, what, command, wanted in rows():
        done = subprocess.run(command, shell=True, cwd=WORK, capture_output=True, text=True, timeout=60)
        said = done.stdout.strip()
        # A count is compared as a whole; `some` is any count but none.
        right = int(said) > 0 if wanted == "some" else said == wanted if wanted.isdigit() else wanted in said
        passed, failed = passed + right, failed + (not right)
        print(f"{'ok' if right else 'not ok'} {passed + failed} - COMPARE.md:{number} {what}")
        if not right:
            print(f"# {command}\n# wanted {wanted!r}, printed {(said + done.stderr)[:300]!r}")
    print(f"1..{passed + failed}\n{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
