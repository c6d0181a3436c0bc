"""An MCP client of chuk-mcp, driven line by line as client.py is: the steps `tools` and `call`.

    chuk.py --transport sse|streamable|stdio [--url URL] [-- COMMAND ...]
"""

import argparse
import json
import sys

import anyio
from chuk_mcp.protocol.messages.initialize.send_messages import send_initialize
from chuk_mcp.protocol.messages.tools.send_messages import send_tools_call, send_tools_list
from chuk_mcp.transports.http import http_client
from chuk_mcp.transports.http.parameters import StreamableHTTPParameters
from chuk_mcp.transports.sse import sse_client
from chuk_mcp.transports.sse.parameters import SSEParameters
from chuk_mcp.transports.stdio import stdio_client
from chuk_mcp.transports.stdio.parameters import StdioParameters


def connection(args):
    if args.transport == "sse":
        return sse_client(SSEParameters(url=args.url.removesuffix("/sse")))
    if args.transport == "streamable":
        return http_client(StreamableHTTPParameters(url=args.url))
    return stdio_client(StdioParameters(command=args.command[0], args=args.command[1:]))


async def do(step, words, streams):
    if step == "tools":
        return [tool.name for tool in (await send_tools_list(*streams)).tools]
    print("sent tools/call", words["tool"], file=sys.stderr, flush=True)
    result = await send_tools_call(*streams, words["tool"], words.get("arguments", {}), timeout=60)
    return {"text": "".join(block["text"] for block in result.content)}


async def main(args):
    async with connection(args) as streams:
        await send_initialize(*streams)
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            words = json.loads(line)
            answer = {"step": words.pop("step"), "ok": True}
            try:
                answer["data"] = await do(answer["step"], words, streams)
            except Exception as error:
                answer |= {"ok": False, "detail": repr(error)}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--transport", choices=["sse", "streamable", "stdio"], required=True)
    parser.add_argument("--url")
    parser.add_argument("command", nargs="*")
    anyio.run(main, parser.parse_args())
