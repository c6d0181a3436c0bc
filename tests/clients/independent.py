"""Clients that do not share their code with the official SDKs, through a front whose server is edited under them.

Each is a program of its own, as in kit.py, and knows the steps `tools` and `call`.
"""

import re
import sys

from behind import SERVERS, told
from kit import HERE, INSTALLED, NODE, need

CLIENTS = [
    ("chuk-mcp 0.9.4", [INSTALLED / "chuk-mcp-0.9.4" / "bin" / "python", HERE / "python" / "chuk.py"]),
    ("ai-sdk mcp 1.0.102", ["node", NODE / "ai.mjs"]),
]


def edits(front, client, ok):
    """One connection, four edits; the first call after each is made while the new server is still starting."""

    def call(**more):
        return client.tell("call", tool="version", **more)["text"]

    need(re.fullmatch(r"version 1, process \d+", call()), "the first version")
    for _ in range(4):
        tools = client.tell("tools")
        need(tools == ["version", f"only_in_{front.version}"], f"tools of version {front.version}: {tools}")
        front.edit()
        text = call(meanwhile=front.open_when_sent(client))
        need(re.fullmatch(rf"version {front.version}, process \d+", text), f"after the edit: {text!r}")
        need(call() == text, "the calls after it have the same server")
        ok(f"edit to version {front.version}")


def cases(binary):
    """(name, thunk) of each client over each transport."""
    plain = [sys.executable, SERVERS / "plain.py"]
    for label, program in CLIENTS:
        for transport in ["stdio", "sse", "streamable"]:
            name = f"4 edits, {label} {transport}"
            yield name, lambda n=name, p=program, t=transport: told(n, binary, plain, t, None, p, edits)
