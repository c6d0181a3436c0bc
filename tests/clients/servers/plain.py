"""A server on stdio that has a version (TEST_VERSION) and a tool that only this version has. Standard library only."""

import json
import os
import sys

VERSION = os.environ["TEST_VERSION"]


def result(method, params):
    if method == "initialize":
        server = {"name": "plain", "version": VERSION}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": server}
    if method == "tools/list":
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in ["version", f"only_in_{VERSION}"]]}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": f"version {VERSION}, process {os.getpid()}"}]}
    return {} if method == "ping" else None


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message and "method" in message:
        found = result(message["method"], message.get("params"))
        answer = {"error": {"code": -32601, "message": "Method not found"}} if found is None else {"result": found}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
