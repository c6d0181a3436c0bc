"""One MCP client of the Python SDK (1.x or 2.x, whichever is installed), driven line by line.

    client.py --transport sse|streamable|stdio [--mode auto|legacy] [--url URL] [-- COMMAND ...]

Reads one JSON object per line from stdin, {"step": NAME} and what the step needs, does the step over the one
connection it keeps, and answers with one line, {"step", "ok", "detail", "data"}; a step that failed adds "wire",
the last messages in both directions. Each request that leaves is named on stderr ("sent tools/call echo"), so that
the driver can act while it is under way. The end of stdin closes the connection. The same protocol is
spoken by ../node/client.mjs; the steps of both must stay the same.
"""

import argparse
import json
import os
import sys
import threading
import traceback

import anyio
import mcp
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

try:
    import mcp_types as types  # SDK 2.x

    SDK = 2
except ImportError:
    import mcp.types as types

    SDK = 1

# A step ends before the driver loses patience, so that the wire can be shown.
STEP_SECONDS = 60
LOG_LEVEL = "io.modelcontextprotocol/logLevel"


class Wire:
    """Every message of the connection, in order: ("out" | "in", message)."""

    def __init__(self):
        self.messages = []

    def add(self, way, item):
        message = getattr(item, "message", None)
        if hasattr(message, "model_dump"):
            self.messages.append((way, message.model_dump(mode="json", by_alias=True, exclude_unset=True)))
        else:
            self.messages.append((way, {"exception": repr(item)}))

    def tail(self):
        return [f"{way} {json.dumps(message)[:600]}" for way, message in self.messages[-24:]]


class Tap:
    """A stream of the SDK that also writes down what passes."""

    def __init__(self, inner, way, wire):
        self._inner, self._way, self._wire = inner, way, wire

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def __aenter__(self):
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *exc):
        return await self._inner.__aexit__(*exc)

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def receive(self):
        item = await self._inner.receive()
        self._wire.add("in", item)
        return item

    async def send(self, item):
        self._wire.add("out", item)
        message = self._wire.messages[-1][1]
        if "id" in message and "method" in message:
            print("sent", message["method"], (message.get("params") or {}).get("name", ""), file=sys.stderr, flush=True)
        await self._inner.send(item)


class Transport:
    """The transport asked for, tapped."""

    def __init__(self, args, wire):
        self._wire = wire
        if args.transport == "sse":
            self._inner = sse_client(args.url)
        elif args.transport == "streamable":
            self._inner = streamable_http_client(args.url)
        else:
            command, *rest = args.command
            self._inner = stdio_client(StdioServerParameters(command=command, args=rest))

    async def __aenter__(self):
        read, write, *_ = await self._inner.__aenter__()
        return Tap(read, "in", self._wire), Tap(write, "out", self._wire)

    async def __aexit__(self, *exc):
        return await self._inner.__aexit__(*exc)


def need(truth, text):
    if not truth:
        raise AssertionError(text)


def plain(result):
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


def text_of(result):
    return "".join(block.get("text", "") for block in result["content"])


class Steps:
    """What a client can be told to do. Each step raises when the server did not behave."""

    def __init__(self, client, wire, modern):
        self.client, self.wire, self.modern = client, wire, modern
        self.questions, self.prompts = [], []
        self.answering = anyio.Event()  # unset while questions of the server are to stay open
        self.answering.set()
        self.group = self.under_way = None  # of `begin`

    async def tool(self, name, arguments, **more):
        result = plain(await self.client.call_tool(name, arguments, **more))
        need(not result.get("isError"), f"{name}: isError: {result}")
        return text_of(result)

    def sent(self, method, start=0):
        """The messages this client sent for `method`, from the wire's position `start` on."""
        return [m for way, m in self.wire.messages[start:] if way == "out" and m.get("method") == method]

    def received(self, method, start=0):
        return [m for way, m in self.wire.messages[start:] if way == "in" and m.get("method") == method]

    async def initialize(self):
        first = next(m for way, m in self.wire.messages if way == "out")
        opening = next(
            m["result"] for way, m in self.wire.messages if way == "in" and ("serverInfo" in m.get("result", {}) or "supportedVersions" in m.get("result", {}))
        )
        return {"first": first["method"], "modern": self.modern, "answer": opening}

    async def list(self):
        tools = plain(await self.client.list_tools())["tools"]
        names = sorted(tool["name"] for tool in tools)
        need({"add", "ask", "echo", "slow"} <= set(names), f"tools: {names}")
        need(all(tool["inputSchema"].get("type") == "object" for tool in tools), f"schemas: {tools}")
        return {"tools": names}

    async def echo(self):
        message = 'grüß "Gott"\n\u2028 end'
        text = await self.tool("echo", {"message": message})
        need(text == message, f"echo of {message!r} gave {text!r}")

    async def foreign(self):
        """What any server with a tool called echo can do: servers that are not ours, through `connect`."""
        names = [tool["name"] for tool in plain(await self.client.list_tools())["tools"]]
        need("echo" in names, f"tools: {names}")
        text = await self.tool("echo", {"message": "grüß Gott"})
        need("grüß Gott" in text, f"echo gave {text!r}")

    async def add(self):
        text = await self.tool("add", {"a": 2, "b": 40})
        need(float(text) == 42, f"2 + 40 gave {text!r}")

    async def progress(self):
        seen = []

        async def on_progress(progress, total, message):
            seen.append((progress, total))

        start = len(self.wire.messages)
        await self.tool("slow", {"seconds": 0.5, "steps": 5}, progress_callback=on_progress)
        need(len(seen) >= 4, f"progress callbacks: {seen}")
        need(all(a[0] < b[0] for a, b in zip(seen, seen[1:])), f"progress does not increase: {seen}")
        order = [m.get("method", "answer") for way, m in self.wire.messages[start:] if way == "in"]
        need(order.index("notifications/progress") < order.index("answer"), f"progress after the answer: {order}")
        return {"progress": seen}

    async def cancel(self):
        start = len(self.wire.messages)
        second = anyio.Event()
        count = 0

        async def on_progress(progress, total, message):
            nonlocal count
            count += 1
            if count == 2:
                second.set()

        async with anyio.create_task_group() as group:

            async def call():
                # Two hundred steps of 50 ms: had it not been cancelled, the calls below would see its progress.
                await self.client.call_tool("slow", {"seconds": 10, "steps": 200}, progress_callback=on_progress)
                raise AssertionError("the call ended before it was cancelled")

            group.start_soon(call)
            await second.wait()
            request = self.sent("tools/call", start)[0]
            if SDK == 1:  # 1.x forgets an abandoned call without a word: say it for it
                params = types.CancelledNotificationParams(requestId=request["id"], reason="test")
                note = types.CancelledNotification(params=params)
                await self.client.send_notification(types.ClientNotification(note))
            group.cancel_scope.cancel()

        await self.echo()
        answered = len(self.wire.messages)
        # The fence: as long as ten steps of the cancelled call.
        await self.tool("slow", {"seconds": 0.5, "steps": 2})
        told = [m["params"]["requestId"] for m in self.sent("notifications/cancelled", start)]
        token = request["params"]["_meta"]["progressToken"]
        late = [m for m in self.received("notifications/progress", answered) if m["params"]["progressToken"] == token]
        answers = [
            m for way, m in self.wire.messages[start:] if way == "in" and "method" not in m and m.get("id") == request["id"]
        ]
        need(not late, f"the cancelled call still runs: {late[-1:]}")
        need(all("error" in m for m in answers), f"the cancelled call gave a result: {answers}")
        return {"told": told == [request["id"]], "answers": answers}

    async def ask(self):
        before = len(self.questions)
        question = "Which colour?"
        text = await self.tool("ask", {"question": question})
        need(len(self.questions) == before + 1, f"questions that reached the client: {self.questions[before:]}")
        need(question in self.questions[-1], f"the question was {self.questions[-1]!r}")
        need("teal" in text, f"the answer 'teal' is not in {text!r}")

    async def log(self):
        if self.modern:
            start = len(self.wire.messages)
            await self.tool("slow", {"seconds": 0.1, "steps": 2}, meta={LOG_LEVEL: "debug"})
            loud = self.received("notifications/message", start)
            start = len(self.wire.messages)
            await self.tool("slow", {"seconds": 0.1, "steps": 2})
        else:
            await self.client.set_logging_level("debug")
            start = len(self.wire.messages)
            await self.tool("slow", {"seconds": 0.1, "steps": 2})
            loud = self.received("notifications/message", start)
            await self.client.set_logging_level("emergency")
            start = len(self.wire.messages)
            await self.tool("slow", {"seconds": 0.1, "steps": 2})
            await self.client.set_logging_level("info")
        quiet = self.received("notifications/message", start)
        need(loud, "no notifications/message at level debug")
        need(not quiet, f"log messages that were not asked for: {quiet}")
        return {"log": loud[0]["params"]}

    async def resource(self):
        uris = [r["uri"] for r in plain(await self.client.list_resources())["resources"]]
        need("demo://greeting" in uris, f"resources: {uris}")
        uri = "demo://greeting"
        contents = plain(await self.client.read_resource(uri))["contents"]
        need(contents[0]["uri"] == uri and contents[0].get("text"), f"contents: {contents}")

    async def prompt(self):
        prompts = [p["name"] for p in plain(await self.client.list_prompts())["prompts"]]
        need("greet" in prompts, f"prompts: {prompts}")
        messages = plain(await self.client.get_prompt("greet", {"name": "Ada"}))["messages"]
        need("Ada" in messages[0]["content"]["text"], f"messages: {messages}")

    async def ping(self):
        if not self.modern:  # modern has no ping
            await self.client.send_ping()

    async def refuse(self):
        """An unknown tool is a JSON-RPC error, and the connection lives on."""
        error = getattr(mcp, "MCPError", None) or mcp.McpError
        try:
            result = await self.client.call_tool("no-such-tool", {})
        except error as e:
            need(e.error.code == -32602, f"unknown tool: {e.error}")
        else:
            raise AssertionError(f"an unknown tool gave {plain(result)}")

    # What follows is for servers that are not the demo, and judged by the driver.

    async def tools(self):
        return [tool["name"] for tool in plain(await self.client.list_tools())["tools"]]

    async def call(self, tool, arguments={}):
        """The text of the result, the progress that was reported, and what else came meanwhile."""
        start, seen, asked = len(self.wire.messages), [], len(self.questions) + len(self.prompts)

        async def on_progress(progress, total, message):
            seen.append(progress)

        result = plain(await self.client.call_tool(tool, arguments, progress_callback=on_progress))
        need(not result.get("isError"), f"{tool}: isError: {result}")
        return {
            "text": text_of(result),
            "progress": seen,
            "logs": [m["params"] for m in self.received("notifications/message", start)],
            "asked": len(self.questions) + len(self.prompts) - asked,
        }

    async def begin(self, tool, arguments={}, wait="notifications/progress"):
        """Leaves a call under way, once its server has said something; `finish` or `abort` ends it."""
        start, call = len(self.wire.messages), {"scope": anyio.CancelScope(), "done": anyio.Event()}

        async def on_progress(progress, total, message):
            pass

        async def run():
            with call["scope"]:
                try:
                    call["result"] = plain(await self.client.call_tool(tool, arguments, progress_callback=on_progress))
                except Exception as e:
                    call["error"] = describe(e)
            call["done"].set()

        self.under_way = call
        self.group.start_soon(run)
        await self.come(wait, 1, start)
        call["request"] = self.sent("tools/call", start)[0]

    async def finish(self):
        """The text of the call under way."""
        call, self.under_way = self.under_way, None
        await call["done"].wait()
        need("error" not in call, call.get("error"))
        need(not call["result"].get("isError"), f"isError: {call['result']}")
        return text_of(call["result"])

    async def abort(self):
        """Cancels the call under way."""
        call, self.under_way = self.under_way, None
        if SDK == 1:
            params = types.CancelledNotificationParams(requestId=call["request"]["id"], reason="test")
            note = types.CancelledNotification(params=params)
            await self.client.send_notification(types.ClientNotification(note))
        call["scope"].cancel()
        await call["done"].wait()

    async def come(self, method, count=1, start=0):
        """Waits until that many messages with this method have come since `start`, and returns their params."""
        while len(found := self.received(method, start)) < count:
            await anyio.sleep(0.02)
        return [m.get("params", {}) for m in found]

    async def position(self):
        return len(self.wire.messages)

    async def level(self, level):
        await self.client.set_logging_level(level)

    async def subscribe(self, uri):
        await self.client.subscribe_resource(uri)

    async def unsubscribe(self, uri):
        await self.client.unsubscribe_resource(uri)

    async def hold(self):
        self.answering = anyio.Event()

    async def release(self):
        self.answering.set()


async def converse(steps):
    """Reads the commands and answers each."""
    async with anyio.create_task_group() as steps.group:
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            await obey(steps, json.loads(line))
        steps.group.cancel_scope.cancel()


async def obey(steps, words):
    name = words.pop("step")
    answer = {"step": name, "ok": True}
    try:
        with anyio.fail_after(STEP_SECONDS):
            answer["data"] = await getattr(steps, name)(**words)
    except Exception as e:
        answer |= {"ok": False, "detail": describe(e), "wire": steps.wire.tail()}
    say(answer)


def say(answer):
    print(json.dumps(answer), flush=True)


def describe(error):
    """The leaves of exception groups, one line each; the traceback goes to stderr."""
    traceback.print_exception(error)
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return str(error) if isinstance(error, AssertionError) else repr(error)


async def main(args):
    wire = Wire()
    steps = None

    async def on_elicit(context, params):
        steps.questions.append(params.message)
        await steps.answering.wait()
        # What the demo and the servers beside us ask for, and server-everything.
        asked = params.requestedSchema if SDK == 1 else params.requested_schema
        answers = {"answer": "teal", "name": "Ada"}
        return types.ElicitResult(action="accept", content={k: v for k, v in answers.items() if k in asked["properties"]})

    async def on_sample(context, params):
        steps.prompts.append(params.messages[-1].content.text)
        await steps.answering.wait()
        content = types.TextContent(type="text", text="a sample of teal")
        return types.CreateMessageResult(role="assistant", content=content, model="test")

    async def on_roots(context):
        return types.ListRootsResult(roots=[types.Root(uri="file:///one", name="one")])

    async def on_log(params):
        pass

    callbacks = {
        "elicitation_callback": on_elicit,
        "sampling_callback": on_sample,
        "list_roots_callback": on_roots,
        "logging_callback": on_log,
    }
    transport = Transport(args, wire)

    def give_up():
        say({"step": "connection", "ok": False, "detail": "no connection in time", "wire": wire.tail()})
        os._exit(1)

    # A thread, because a cancel scope must not be left open inside the contexts that connecting enters.
    patience = threading.Timer(STEP_SECONDS, give_up)
    patience.daemon = True
    patience.start()
    try:
        if SDK == 2:
            async with mcp.Client(transport, mode=args.mode, **callbacks) as client:
                patience.cancel()
                modern = client.session.discover_result is not None
                steps = Steps(client, wire, modern)
                await converse(steps)
        else:
            async with transport as (read, write), mcp.ClientSession(read, write, **callbacks) as session:
                await session.initialize()
                patience.cancel()
                steps = Steps(session, wire, False)
                await converse(steps)
    except Exception as e:
        say({"step": "connection", "ok": False, "detail": describe(e), "wire": wire.tail()})
        sys.exit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--transport", choices=["sse", "streamable", "stdio"], required=True)
    parser.add_argument("--mode", choices=["auto", "legacy"], default="auto", help="SDK 2.x only")
    parser.add_argument("--url")
    parser.add_argument("command", nargs="*")
    anyio.run(main, parser.parse_args())
