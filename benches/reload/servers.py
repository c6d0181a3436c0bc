"""The servers that are edited: each in a directory of its own, which holds its sources and as many other files as the case wants."""

import os
import shutil
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "sources"
# Files that are there from long ago: what is young is read again and again for two seconds.
LONG_AGO = 1_700_000_000


class Server:
    """One server. `command` runs in `place`; `build` is a shell line, or None."""

    name, suffix, build, watch = "", "py", None, None
    line = "VERSION = {}\n"
    # What no compiler and no interpreter takes.
    broken = "VERSION = (\n"

    def __init__(self, args, place, parts=1):
        self.args, self.place, self.parts, self.version, self.saves = args, place, parts, 1, 0
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        self.write()
        for part in range(parts):
            self.answer(part).write_text(self.line.format(1))

    def write(self):
        """Everything but the answer."""

    def answer(self, part):
        """The file that is edited."""
        return self.place / "answer.py"

    def root(self):
        return self.place

    def fill(self, total):
        """Adds files of the same kind until there are so many."""
        missing = total - sum(1 for path in self.root().rglob("*") if path.is_file())
        for number in range(missing):
            directory = self.root() / "more" / ("d%02d" % (number % 50))
            directory.mkdir(parents=True, exist_ok=True)
            (directory / ("f%04d.%s" % (number, self.suffix))).write_text("\n")
        for path in self.root().rglob("*"):
            os.utime(path, (LONG_AGO, LONG_AGO))

    def save(self, text):
        """In place one time, by renaming the next, as editors do."""
        path = self.answer(self.saves % self.parts)
        self.saves += 1
        if self.saves % 2:
            path.write_text(text)
        else:
            fresh = path.with_name(path.name + "~")
            fresh.write_text(text)
            os.replace(fresh, path)

    def edit(self):
        """The next version; returns its number."""
        self.version += 1
        self.save(self.line.format(self.version))
        return self.version

    def break_it(self):
        self.save(self.broken)

    def mend(self):
        """The next version, in the file that was broken."""
        self.saves -= 1
        return self.edit()

    def environment(self):
        """What the front's children have, ours included, so that like is compared with like."""
        return dict(clean_environment(), PYTHONDONTWRITEBYTECODE="1")


def clean_environment():
    unset = ("PYTHONDONTWRITEBYTECODE", "CARGO_TARGET_DIR", "CARGO_INCREMENTAL", "RUSTFLAGS")
    return {name: value for name, value in os.environ.items() if name not in unset and not name.startswith("MCP_")}


class Plain(Server):
    name = "bare Python"

    def write(self):
        self.command = [sys.executable, "server.py"]
        shutil.copy(SOURCES / "plain.py", self.place / "server.py")
        for part in range(self.parts):
            self.answer(part).parent.mkdir(parents=True)

    def answer(self, part):
        return self.place / "parts" / ("p%02d" % part) / "answer.py"


class Sdk(Server):
    name = "mcp 2.3.0"

    def write(self):
        self.command = [str(self.args.clients / "mcp-2.3.0" / "bin" / "python"), "server.py"]
        shutil.copy(SOURCES / "sdk.py", self.place / "server.py")


class Fastmcp(Server):
    name = "fastmcp 2.14.7"

    def write(self):
        self.command = [str(self.args.hmr / "bin" / "python"), "server.py"]
        shutil.copy(SOURCES / "fastmcp.py", self.place / "server.py")


class Everything(Server):
    """A copy of the package, whose tool `echo` says the version of a file beside it."""

    name, suffix = "server-everything", "js"
    line = "export const VERSION = {};\n"
    broken = "export const VERSION = (\n"

    def write(self):
        self.command = ["node", "dist/index.js", "stdio"]
        modules = self.args.clients / "node" / "node_modules"
        package = modules / "@modelcontextprotocol" / "server-everything"
        shutil.copytree(package / "dist", self.place / "dist")
        shutil.copy(package / "package.json", self.place)
        (self.place / "node_modules").symlink_to(modules)
        echo = self.place / "dist" / "tools" / "echo.js"
        text = echo.read_text()
        said, start = "`Echo: ${validatedArgs.message}`", "const validatedArgs"
        if said not in text or start not in text:
            raise SystemExit("this server-everything has another echo.js")
        wait = 'if (args.message.startsWith("slow")) await new Promise((done) => setTimeout(done, 400));\n'
        text = text.replace(said, "`version ${VERSION}: ${validatedArgs.message}`").replace(start, wait + start)
        echo.write_text('import { VERSION } from "../answer.js";\n' + text)

    def root(self):
        return self.place / "dist"

    def answer(self, part):
        return self.place / "dist" / "answer.js"


class Rust(Server):
    name, suffix, build, watch = "Rust, cargo build", "rs", "cargo build --quiet --offline", "src"
    line = "pub const VERSION: u32 = {};\n"
    broken = "pub const VERSION: u32 = (\n"

    def write(self):
        self.command = ["target/debug/edited"]
        (self.place / "src").mkdir()
        shutil.copy(SOURCES / "main.rs", self.place / "src")
        manifest = '[package]\nname = "edited"\nversion = "1.0.0"\nedition = "2024"\n\n[workspace]\n'
        (self.place / "Cargo.toml").write_text(manifest)

    def root(self):
        return self.place / "src"

    def answer(self, part):
        return self.place / "src" / "answer.rs"


class Incumbent(Server):
    """A package in a directory, as its README has it."""

    name = "its own, on mcp 1"

    def write(self):
        python = str(self.args.venv / "bin" / "python")
        self.command = [python, "-m", "watchdog.watchmedo", "auto-restart", "-d", "edited", "-p", "*.py", "-R", "--interval", "1.0",
                        "--debounce-interval", "0.5", "--", python, "-m", "edited.server"]
        (self.place / "edited").mkdir()
        shutil.copy(SOURCES / "incumbent.py", self.place / "edited" / "server.py")

    def answer(self, part):
        return self.place / "edited" / "answer.py"
