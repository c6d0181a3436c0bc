#!/usr/bin/env python3
"""Validates what our servers send against the official schema of each version and prints TAP.

    check.py [--bin PATH] [--front] [--only TEXT]

The everything server and the demo are asked everything their clients may ask, in each version, over each transport; every message that comes
is checked, and so are the servers' lines in tests/transcripts. Needs jsonschema (requirements.txt; `make schema` installs it).
"""

import argparse
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

from jsonschema.validators import validator_for

from wire import Failure, Sse, Stdio, Streamable, Target

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
LEGACY = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]
MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"

RESULTS = {
    "initialize": "InitializeResult",
    "server/discover": "DiscoverResult",
    "subscriptions/listen": "SubscriptionsListenResult",
    "tools/list": "ListToolsResult",
    "tools/call": "CallToolResult",
    "resources/list": "ListResourcesResult",
    "resources/templates/list": "ListResourceTemplatesResult",
    "resources/read": "ReadResourceResult",
    "prompts/list": "ListPromptsResult",
    "prompts/get": "GetPromptResult",
    "completion/complete": "CompleteResult",
}
MAY_ASK = ("tools/call", "prompts/get", "resources/read")
ERRORS = {
    -32700: "ParseError",
    -32600: "InvalidRequestError",
    -32601: "MethodNotFoundError",
    -32602: "InvalidParamsError",
    -32603: "InternalError",
    -32020: "HeaderMismatchError",
    -32021: "MissingRequiredClientCapabilityError",
    -32022: "UnsupportedProtocolVersionError",
}

# What the client answers when it is asked.
ANSWERS = {
    "sampling/createMessage": {"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "none", "stopReason": "endTurn"},
    "elicitation/create": {"action": "accept", "content": {"name": "Ada", "color": "red", "ok": True, "context": "c", "answer": "yes"}},
    "roots/list": {"roots": [{"uri": "file:///home/ada", "name": "home"}]},
}
ARGUMENTS = {
    "echo": {"message": "hello"},
    "add": {"a": 1, "b": 2.5},
    "slow": {"seconds": 0.1, "steps": 2},
    "ask": {"question": "Well?"},
    "test_sampling": {"prompt": "Which one?"},
    "test_elicitation": {"message": "Who are you?"},
    "test_custom_header": {"value": "v"},
    "json_schema_2020_12_tool": {"name": "n", "contactMethod": "phone", "phone": "1"},
}


class Schema:
    """The schema of one version."""

    def __init__(self, version):
        self.version = version
        self.schema = json.loads((HERE / f"schema-{version}.json").read_text())
        self.place = "$defs" if "$defs" in self.schema else "definitions"
        self.names = self.schema[self.place]

    def faults(self, name, value):
        """Why `value` is not a `name`."""
        whole = {**self.schema, "$ref": f"#/{self.place}/{name}"}
        whole.pop("anyOf", None)
        return [f"{name} at /{'/'.join(map(str, e.absolute_path))}: {e.message[:300]}" for e in validator_for(self.schema)(whole).iter_errors(value)]

    def by_method(self, union, method):
        """The member of `union` whose method this is."""
        members = [part["$ref"].rsplit("/", 1)[-1] for part in self.names.get(union, {}).get("anyOf", [])]
        return next((name for name in members if self.names[name]["properties"]["method"].get("const") == method), None)

    def judge(self, message, method):
        """What is wrong with a server's message; `method` is that of the request it answers, if it answers one."""
        if "error" in message and message.get("id", 0) is None and self.version < "2025-11-25":
            # JSON-RPC wants null where the request's id could not be read; these schemas have no word for it, and 2025-11-25 leaves the id out.
            message = message | {"id": 0}
        faults = self.faults("JSONRPCMessage", message)
        if "method" in message:
            union = "ServerRequest" if "id" in message else "ServerNotification"
            name = self.by_method(union, message["method"])
            return faults + (self.faults(name, message) if name else [f"{message['method']} is not in {union} of {self.version}"])
        if "error" in message:
            code = message["error"].get("code")
            if self.version == MODERN:
                if (known := ERRORS.get(code)) is None:
                    return [*faults, f"the code {code} is not one of {MODERN}"]
                # Some are the whole message, some what stands under error.
                faults += self.faults(known, message if "error" in self.names[known]["properties"] else message["error"])
            return faults
        result = message.get("result", {})
        name = RESULTS.get(method, "EmptyResult")
        if self.version == MODERN and method in MAY_ASK and result.get("resultType") == "input_required":
            name = "InputRequiredResult"
        return faults + self.faults(name, result)


class Dialogue:
    """One client: what it sent, and what is wrong with what came back."""

    def __init__(self, version, target, wire):
        self.schema, self.version = Schema(version), version
        self.capabilities = {"sampling": {}, "roots": {"listChanged": True}} | ({"elicitation": {}} if version >= "2025-06-18" else {})
        self.methods, self.answers, self.faults, self.seen, self.count = {}, {}, [], set(), 0
        self.news, self.next_id = threading.Condition(), 0
        self.wire = wire(target, version, self.incoming)

    def incoming(self, message):
        for one in message if isinstance(message, list) else [message]:
            with self.news:
                answered = self.methods.get(one.get("id")) if "method" not in one else None
                found = self.schema.judge(one, answered)
                self.count += 1
                self.faults += [f"{fault}\n  in {json.dumps(one)[:1000]}" for fault in found]
                self.seen.add(one.get("method") or ("error" if "error" in one else one["result"].get("resultType", "result")))
                if "method" not in one and "id" in one:
                    self.answers[one["id"]] = one
                self.news.notify_all()
            if "method" in one and "id" in one:
                self.wire.send({"jsonrpc": "2.0", "id": one["id"], "result": ANSWERS[one["method"]]})

    def request(self, method, params=None, meta=None):
        """A request; as a modern client, with what it must say of itself."""
        self.next_id += 1
        params = dict(params or {})
        if self.version == MODERN:
            own = {META + "protocolVersion": MODERN, META + "clientCapabilities": self.capabilities, META + "clientInfo": {"name": "c", "version": "1"}}
            meta = own | (meta or {})
        if meta:
            params["_meta"] = {name: value for name, value in meta.items() if value is not None}
        self.methods[self.next_id] = method
        message = {"jsonrpc": "2.0", "id": self.next_id, "method": method}
        return message | ({"params": params} if params else {})

    def answer(self, id):
        with self.news:
            if not self.news.wait_for(lambda: id in self.answers, 20):
                raise Failure(f"no answer to {self.methods[id]} came; {self.wire.trouble()}")
            return self.answers[id]

    def wait(self, name):
        with self.news:
            if not self.news.wait_for(lambda: name in self.seen, 20):
                raise Failure(f"{name} never came")

    def call(self, method, params=None, meta=None):
        message = self.request(method, params, meta)
        self.wire.send(message)
        return self.answer(message["id"])

    def ask(self, method, params, meta=None):
        """A call, and its retries until the server has no more questions."""
        for _ in range(5):
            answer = self.call(method, params, meta)
            result = answer.get("result", {})
            if result.get("resultType") != "input_required":
                return answer
            answers = {key: ANSWERS[one["method"]] for key, one in result["inputRequests"].items()}
            params = params | {"inputResponses": answers, "requestState": result["requestState"]}
        raise Failure(f"{params} asks for ever")

    def garble(self):
        """Says something that is no message, and waits for what is said to that."""
        with self.news:
            count = self.count
        self.wire.send_text('{"jsonrpc":"2.0","id":')
        with self.news:
            if not self.news.wait_for(lambda: self.count > count, 20):
                raise Failure("half a message was not answered")

    def notify(self, method, params=None):
        self.wire.send({"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {}))

    def offered(self):
        """Everything that is listed is used, and then what is not."""
        for tool in self.call("tools/list")["result"]["tools"]:
            # The forms with several titled choices came with 2025-11-25.
            if tool["name"] != "test_elicitation_sep1330_enums" or self.version >= "2025-11-25":
                meta = {"progressToken": f"of {tool['name']}"} | ({META + "logLevel": "debug"} if self.version == MODERN else {})
                self.ask("tools/call", {"name": tool["name"], "arguments": ARGUMENTS.get(tool["name"], {})}, meta)
        resources = [resource["uri"] for resource in self.call("resources/list")["result"]["resources"]]
        self.call("resources/templates/list")
        for uri in [*resources, "test://template/123/data", "test://nothing"]:
            self.call("resources/read", {"uri": uri})
        for prompt in self.call("prompts/list")["result"]["prompts"]:
            arguments = {argument["name"]: "test://x" for argument in prompt.get("arguments", [])}
            self.ask("prompts/get", {"name": prompt["name"], "arguments": arguments})
            self.call("prompts/get", {"name": prompt["name"], "arguments": {"arg1": 1}})
        reference = {"type": "ref/prompt", "name": "test_prompt_with_arguments"}
        self.call("completion/complete", {"ref": reference, "argument": {"name": "arg1", "value": "t"}})
        for method, params in [
            ("tools/call", {"name": "none"}),
            ("tools/call", {"name": "add", "arguments": {"a": "x"}}),
            ("tools/call", {"name": "test_simple_text", "arguments": []}),
            ("tools/call", {}),
            ("tools/list", {"cursor": "none"}),
            ("prompts/get", {"name": "none"}),
            ("resources/read", {}),
            ("none/none", {}),
        ]:
            self.call(method, params)


def legacy(dialogue):
    hello = {"protocolVersion": dialogue.version, "capabilities": dialogue.capabilities, "clientInfo": {"name": "c", "version": "1"}}
    answer = dialogue.call("initialize", hello)
    if answer.get("result", {}).get("protocolVersion") != dialogue.version:
        raise Failure(f"initialize was answered {answer}")
    dialogue.notify("notifications/initialized")
    dialogue.wire.listen()
    dialogue.call("ping")
    dialogue.call("logging/setLevel", {"level": "debug"})
    dialogue.call("logging/setLevel", {"level": "loud"})
    dialogue.call("resources/subscribe", {"uri": "test://watched-resource"})
    dialogue.offered()
    dialogue.call("resources/unsubscribe", {"uri": "test://watched-resource"})
    dialogue.call("server/discover")
    dialogue.garble()
    if dialogue.version == "2025-03-26" and dialogue.wire.takes_batches:
        batch = [dialogue.request("ping"), dialogue.request("tools/list"), {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}]
        dialogue.wire.send(batch)
        dialogue.answer(batch[0]["id"]), dialogue.answer(batch[1]["id"])
    return {"notifications/progress", "notifications/message", "error", "result"}


def modern(dialogue):
    dialogue.call("server/discover")
    wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True, "resourceSubscriptions": ["test://watched-resource"]}
    listen = dialogue.request("subscriptions/listen", {"notifications": wanted})
    dialogue.wire.send(listen)
    dialogue.wait("notifications/subscriptions/acknowledged")
    dialogue.offered()
    dialogue.wire.abandon(listen["id"])
    dialogue.garble()
    for method in ["ping", "initialize", "logging/setLevel", "resources/subscribe"]:
        dialogue.call(method)
    dialogue.call("tools/call", {"name": "test_missing_capability"}, {META + "clientCapabilities": {}})
    dialogue.call("tools/call", {"name": "test_input_required_result_elicitation", "requestState": "forged"})
    dialogue.call("tools/list", meta={META + "protocolVersion": "v999.0.0"})
    dialogue.call("tools/list", meta={META + "clientCapabilities": None})
    return {"notifications/progress", "notifications/message", "error", "complete", "input_required"}


def of_everything(version):
    """What the everything server must have sent, so that nothing is valid for not having come."""
    changes = {f"notifications/{what}" for what in ["tools/list_changed", "prompts/list_changed", "resources/updated"]}
    if version == MODERN:
        return changes | {"notifications/subscriptions/acknowledged"}
    return changes | {"sampling/createMessage", "roots/list"} | ({"elicitation/create"} if version >= "2025-06-18" else set())


def transcripts():
    """The servers' lines of each transcript, with its version and the methods that were called."""
    for file in sorted((ROOT / "tests" / "transcripts").glob("*.txt")):
        text = file.read_text()
        version = re.search(r"^version: (\S+)$", text, re.M)
        schema, methods, faults, count = Schema(version[1]), {}, [], 0
        for mark, line in re.findall(r"^[a-z]?([<>]) (?:data: )?(\{.*\}|\[.*\])$", text, re.M):
            # What is random has a name there; an id would be a number.
            message = json.loads(re.sub(r'(?<=:)\$\w+', "0", line))
            for one in message if isinstance(message, list) else [message]:
                if mark == ">":
                    methods[one.get("id")] = one.get("method")
                else:
                    count += 1
                    faults += [f"{fault}\n  in {line[:1000]}" for fault in schema.judge(one, methods.get(one.get("id")))]
        yield f"transcript {file.stem}, {version[1]}", count, faults, [] if count else ["it has no line of a server"]


def dialogues(binary, is_front):
    everything = str(BUILT / "examples" / "everything")
    servers = {"everything": [everything], "demo": [binary, "demo"]}
    if is_front:
        servers = {"everything behind run": [binary, "run", "--no-watch", "--", everything]}
    for server, command in servers.items():
        for wire, versions in [(Stdio, [*LEGACY, MODERN]), (Sse, LEGACY), (Streamable, [*LEGACY, MODERN])]:
            for version in versions:
                name = f"{server}, {wire.name}, {version}"
                try:
                    with Target(command, wire is Stdio) as target:
                        dialogue = Dialogue(version, target, wire)
                        needed = (modern if version == MODERN else legacy)(dialogue)
                        needed |= of_everything(version) if "everything" in server else set()
                        dialogue.wire.close()
                    missing = [f"{what} never came" for what in sorted(needed - dialogue.seen)]
                    yield name, dialogue.count, dialogue.faults, missing
                except (Failure, OSError, KeyError, ValueError, subprocess.SubprocessError) as failure:
                    yield name, 0, [], [f"{type(failure).__name__}: {failure}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=str(BUILT / "mcp-http-transport"))
    parser.add_argument("--front", action="store_true", help="the everything server behind the front, and nothing else")
    parser.add_argument("--only", default="", help="a part of a name")
    options = parser.parse_args()
    number, passed, messages = 0, 0, 0
    for source in [[] if options.front else transcripts(), dialogues(options.bin, options.front)]:
        for name, count, faults, missing in source:
            if options.only not in name:
                continue
            number, messages = number + 1, messages + count
            wrong = list(dict.fromkeys(faults)) + missing
            passed += not wrong
            print(f"{'not ok' if wrong else 'ok'} {number} - {name}, {count} messages", flush=True)
            for line in "\n".join(wrong[:12]).splitlines():
                print(f"# {line}")
    print(f"1..{number}\n# {messages} messages were validated")
    print(f"{passed} passed, {number - passed} failed")
    return 0 if passed == number else 1


if __name__ == "__main__":
    sys.exit(main())
