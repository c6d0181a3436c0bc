"""Runs each example as its head says. The head has blocks of `text` that are transcripts:

    $ cargo run --example hello     a command; the first runs on until the block ends, unless it ends by itself
    > a line                        typed into it
    < a line                        the next line it prints, blank ones apart; `...` stands for anything
    ! some words                    a line with these words on standard error
    = 2                             it ends with this status

PORT is the port that the first command said it listens on, ID the id of the last request that was printed.
"""

import re
import signal
import subprocess

from blocks import blocks
from stage import need


def head(text):
    return "\n".join(line[4:] if line.startswith("//! ") else "" for line in text.splitlines() if line.startswith("//!"))


def fits(pattern, line):
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("...")), line) is not None


def play(stage, root, lines, ports):
    """One transcript, with free ports for those it names."""
    first, process, seen, known = None, None, 0, {str(old): str(new) for old, new in ports.items()}
    for line in lines:
        mark, rest = line[:1], re.sub(r"\b(300[0-9]|PORT|ID)\b", lambda name: known.get(name[0], name[0]), line[2:])
        if mark == "$":
            process, seen = stage.start(re.sub(r"^((?:[A-Z_]+=\S+ )*)", r"\1exec ", rest), root), 0
            first = first or process
        elif mark == ">":
            process.write(rest + "\n")
        elif mark == "<":
            seen = process.wait_for(process.out, bool, f"a line like {rest}", seen) + 1
            said = process.out[seen - 1]
            need(fits(rest.replace("ID", "..."), said), f"it printed {said!r}")
            if found := re.search(r'"id":(\d+),"method"', said):
                known["ID"] = found[1]
        elif mark == "!":
            at = process.wait_for(process.errors, lambda said: fits(f"...{rest}...", said), f"{rest!r} on stderr")
            if found := re.search(r"listening on http://[^ ]*:(\d+)", process.errors[at]):
                known["PORT"] = found[1]
        elif mark == "=":
            process.finish(good=(int(rest),))
        else:
            need(not line, f"{line!r} is no line of a transcript")
    if first.child.poll() is None:
        # What serves over HTTP is ended by Ctrl-C, as by a person; a program without a handler for it ends by the signal.
        serves_http = "PORT" in known or "MCP_TRANSPORT=http" in lines[0]
        first.end(signal.SIGINT, good=(0, -signal.SIGINT)) if serves_http else first.end("stdin")


def run_examples(stage, root):
    built = subprocess.run(["cargo", "build", "--locked", "--examples"], cwd=root, capture_output=True, text=True)
    stage.case("cargo build --examples", lambda: need(built.returncode == 0, built.stderr[-2000:]) and "ran")
    for file in sorted((root / "examples").glob("*.rs")):
        text = head(file.read_text())
        found = [block for block in blocks(text) if block.language == "text" and block.text.startswith("$ ")]
        stage.case(f"examples/{file.name} says how it is run", lambda: need(found, "there is no transcript in its head") and f"checked: {len(found)}")
        for block in found:
            lines = block.text.splitlines()
            what = f"examples/{file.name} {lines[0][2:]}"
            stage.case(what, lambda: play(stage, root, lines, stage.ports) or f"ran: {len(lines)} lines as written")
            stage.sweep()
