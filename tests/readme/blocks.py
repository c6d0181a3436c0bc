"""The fenced blocks of a Markdown file, each with the note that stands over it, and the commands of a shell block."""

import re
from dataclasses import dataclass

NOTE = re.compile(r"<!-- readme: (.*) -->$")


@dataclass
class Block:
    line: int
    language: str
    text: str
    # What the comment above it says; see run.py for what each word means.
    note: str = ""

    def commands(self):
        """Each command with its line: comments and blank lines are left out, a backslash joins lines."""
        found, begun = [], None
        for number, line in enumerate(self.text.splitlines(), self.line + 1):
            if begun:
                begun = (begun[0], begun[1].removesuffix("\\") + line.strip())
            elif line.strip() and not line.lstrip().startswith("#"):
                begun = (number, re.sub(r"\s+# .*$", "", line).strip())
            if begun and not begun[1].endswith("\\"):
                found.append(begun)
                begun = None
        return found


def blocks(text):
    found, open_block, note = [], None, ""
    for number, line in enumerate(text.splitlines(), 1):
        if open_block is not None:
            if line == "```":
                found.append(open_block)
                open_block, note = None, ""
            else:
                open_block.text += line + "\n"
        elif line.startswith("```"):
            open_block = Block(number, line[3:].split(",")[0], "", note)
        elif heard := NOTE.match(line):
            note = heard[1]
        elif note:
            raise SystemExit(f"line {number}: the note {note!r} stands over no block")
    if open_block is not None:
        raise SystemExit(f"line {open_block.line}: the block does not end")
    return found


def prose(text):
    """The text with its blocks blanked out; lines keep their numbers."""
    kept, inside = [], False
    for line in text.splitlines():
        fence = line.startswith("```")
        kept.append("" if inside or fence else line)
        inside ^= fence
    return kept
