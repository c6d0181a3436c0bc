"""A server on stdio of the standard library alone. Its version is the highest of its parts: an edit of any of them is new code."""

import importlib
import json
import pathlib
import sys
import threading

PARTS = sorted(path.name for path in pathlib.Path(__file__).with_name("parts").iterdir())
VERSION = max(importlib.import_module("parts.%s.answer" % part).VERSION for part in PARTS)
TOOL = {"name": "echo", "description": "Says it again", "inputSchema": {"type": "object", "properties": {"message": {"type": "string"}}}}
out = threading.Lock()


def write(number, **more):
    line = json.dumps({"jsonrpc": "2.0", "id": number, **more}) + "\n"
    with out:
        sys.stdout.write(line)
        sys.stdout.flush()


def echo(number, message):
    write(number, result={"content": [{"type": "text", "text": "version %d: %s" % (VERSION, message)}]})


def answer(number, method, params):
    if method == "initialize":
        server = {"name": "plain", "version": str(VERSION)}
        write(number, result={"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": server})
    elif method == "tools/list":
        write(number, result={"tools": [TOOL]})
    elif method == "tools/call":
        message = params["arguments"]["message"]
        if message.startswith("slow"):
            threading.Timer(0.4, echo, (number, message)).start()
        else:
            echo(number, message)
    elif method == "ping":
        write(number, result={})
    else:
        write(number, error={"code": -32601, "message": "Method not found"})


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message and "method" in message:
        answer(message["id"], message["method"], message.get("params"))
