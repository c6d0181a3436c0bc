#!/usr/bin/env python3
"""Records an edit, a save, and a session that goes on: packaging/recording.txt and packaging/recording.svg.

    record.py --bin target/release/mcp-http-transport            writes both
    record.py --bin target/debug/mcp-http-transport --check      says whether the same would be written today, times apart

Everything in it has happened: README's server.py behind a front, with a client on one HTTP+SSE stream. Only the port, the folder, the session id and the
time of day are replaced by those of the text, so that two recordings differ in nothing but the milliseconds.
"""

import argparse
import html
import json
import os
import re
import shutil
import signal
import sys
import time
import urllib.request
from pathlib import Path

from blocks import blocks
from stage import Process, free_ports, listening, need

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT, PICTURE = ROOT / "packaging/recording.txt", ROOT / "packaging/recording.svg"
COLUMNS = 118


class Recording:
    def __init__(self, binary):
        self.lines = []
        self.place = (ROOT / "target/readme/recording").resolve()
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        self.port = free_ports(1)[0]
        self.source = self.place / "server.py"
        readme = (ROOT / "README.md").read_text()
        self.source.write_text(next(block.text for block in blocks(readme) if block.language == "python"))
        env = {name: value for name, value in os.environ.items() if not name.startswith("MCP_")}
        words = [binary, "run", "--http", "--port", str(self.port), "--", "python3", "server.py"]
        self.say("front", "$ mcp-http-transport run --http -- python3 server.py")
        self.front = Process(words, self.place, env | {"XDG_RUNTIME_DIR": str(self.place), "XDG_STATE_HOME": str(self.place)})
        self.heard = 0
        self.front_until("listening on")
        self.say("client", "$ curl -sN http://localhost:3000/sse")
        self.stream = Process(["curl", "-sN", f"http://localhost:{self.port}/sse"], self.place, env)
        at = self.stream.wait_for(self.stream.out, lambda line: "session_id=" in line, "the endpoint")
        self.path = self.stream.out[at].removeprefix("data: ")
        self.say("client", re.sub(r"session_id=.*", "session_id=7f0c9a…", self.stream.out[at]))

    def say(self, who, text):
        text = text.replace(str(self.place), "/home/me/mine").replace(str(self.port), "3000")
        self.lines.append((who, text))

    def front_until(self, last):
        """What the front says, up to a line that has `last` in it; what the server itself says is in the report anyway."""
        at = self.front.wait_for(self.front.errors, lambda line: last in line, last, self.heard)
        for line in self.front.errors[self.heard : at + 1]:
            line = re.sub(r"^\S+Z ", "", line)
            if "server: " not in line:
                self.say("front", line.replace(" and http://[::1]:%d" % self.port, ""))
        self.heard = at + 1

    def call(self, number):
        body = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "greet", "arguments": {}}}
        body, begin = json.dumps(body, separators=(",", ":")), len(self.stream.out)
        self.say("client", "> " + body)
        request = urllib.request.Request(f"http://localhost:{self.port}{self.path}", body.encode(), {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=20).close()
        at = self.stream.wait_for(self.stream.out, lambda line: f'"id": {number},' in line or f'"id":{number},' in line, "the answer", begin)
        message = self.stream.out[at].removeprefix("data: ").replace(str(self.place), "/home/me/mine")
        for begin in range(0, len(message), COLUMNS - 12):
            piece = message[begin : begin + COLUMNS - 12]
            self.say("client", ("  " if begin else "< ") + piece)

    def edit(self, what, old, new):
        self.say("editor", what)
        text = self.source.read_text()
        need(old in text, f"{old} is not in server.py")
        self.source.write_text(text.replace(old, new))

    def end(self):
        self.front.end(signal.SIGTERM)
        self.stream.kill()


def record(binary):
    show = Recording(binary)
    show.call(1)
    show.edit('"hello" becomes "good morning"; saved', "hello", "good morning")
    show.call(2)
    show.front_until("reloaded in")
    show.edit("a colon is lost; saved", "sys.stdin:", "sys.stdin")
    show.call(3)
    show.front_until("| SyntaxError")
    show.edit("the colon is back; saved", "sys.stdin", "sys.stdin:")
    show.call(4)
    show.front_until("reloaded in")
    show.say("client", "  the same stream, the same session, the same process in front")
    show.end()
    clock = lambda text: re.sub(r"\d\d:\d\d:\d\d UTC", "12:03:21 UTC", text)
    return [(who, clock(text)) for who, text in show.lines]


def as_text(lines):
    return "".join(f"{who:<8}{text}\n" for who, text in lines)


COLOURS = {"front": "#8bd5ca", "client": "#cad3f5", "editor": "#f5a97f"}


def as_svg(lines):
    """Lines come one after another, an edit after a pause; where nothing moves, all of them stand there."""
    width, height, step = 1000, len(lines) * 19 + 34, 0.0
    rows = []
    for number, (who, text) in enumerate(lines):
        step += 1.4 if who == "editor" or text[:1] in "$>" else 0.25
        colour = "#ed8796" if text.startswith("WARN") else COLOURS[who]
        y = 32 + number * 19
        label = f'<tspan fill="#6e738d">{who:<8}</tspan>'
        rows.append(f'<text x="16" y="{y}" fill="{colour}" style="animation-delay:{step:.2f}s">{label}{html.escape(text, quote=False)}</text>')
    style = (
        "text{font:13px ui-monospace,Menlo,Consolas,monospace;white-space:pre;animation:come .01s both}"
        "@keyframes come{from{opacity:0}to{opacity:1}}@media(prefers-reduced-motion:reduce){text{animation:none}}"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" xml:space="preserve">'
    body = "\n".join(rows)
    return f'{head}\n<style>{style}</style>\n<rect width="{width}" height="{height}" rx="8" fill="#24273a"/>\n{body}\n</svg>\n'


def still(text):
    """Without what differs from run to run, and from one Python to the next."""
    return re.sub(r"\d+ (ms|files?)", "N", text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    lines = record(str(Path(options.bin).resolve()))
    if options.check:
        old, new = still(TEXT.read_text()).splitlines(), still(as_text(lines)).splitlines()
        wrong = [f"was: {a}\nnow: {b}" for a, b in zip(old, new) if a != b]
        sys.exit("\n".join(wrong[:3]) if wrong or len(old) != len(new) else 0)
    TEXT.write_text(as_text(lines))
    PICTURE.write_text(as_svg(lines))
    print(as_text(lines), end="")


if __name__ == "__main__":
    main()
