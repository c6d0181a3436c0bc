"""The same server on the Python SDK 1.x (FastMCP) or 2.x (MCPServer), whichever is installed, over stdio.

Its version is TEST_VERSION; each version has one tool that no other has. What it does beyond answering, the tools ask
for: progress, log messages, sampling, elicitation, updates of a resource to which the client subscribed.
"""

import os
import sys
from pathlib import Path

import anyio
from pydantic import AnyUrl, BaseModel

try:
    from mcp.server.mcpserver import Context, MCPServer
    from mcp_types import EmptyResult, SamplingMessage, SubscribeRequestParams, TextContent, UnsubscribeRequestParams

    SDK = 2
except ImportError:
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as MCPServer
    from mcp.types import SamplingMessage, TextContent

    SDK = 1

VERSION = os.environ["TEST_VERSION"]
server = MCPServer(f"sdk {SDK}")
subscribed = set()


@server.tool()
def version() -> str:
    return f"version {VERSION}"


@server.tool(name=f"only_in_{VERSION}")
def only() -> str:
    return VERSION


@server.tool()
async def steps(count: int, ctx: Context) -> str:
    """Progress and a log message for each step."""
    for step in range(1, count + 1):
        await ctx.report_progress(step, count)
        await ctx.info(f"step {step}")
    return f"version {VERSION}: {count} steps"


@server.tool()
async def until(path: str, ctx: Context) -> str:
    """Runs until there is such a file, and says so if it is cancelled."""
    step = 0
    try:
        while not Path(path).exists():
            step += 1
            await ctx.report_progress(step)
            await anyio.sleep(0.05)
    except anyio.get_cancelled_exc_class():
        print(f"version {VERSION} was cancelled", file=sys.stderr, flush=True)
        raise
    return f"version {VERSION}: there it is"


@server.tool()
async def sample(ctx: Context) -> str:
    message = SamplingMessage(role="user", content=TextContent(type="text", text="a sample, please"))
    result = await ctx.session.create_message([message], max_tokens=10)
    return f"version {VERSION}: {result.content.text}"


class Answer(BaseModel):
    answer: str


@server.tool()
async def ask(ctx: Context) -> str:
    result = await ctx.elicit("Which colour?", Answer)
    return f"version {VERSION}: {result.action} {result.data.answer}"


@server.tool()
async def update(ctx: Context) -> str:
    """Tells the client about each resource it subscribed to."""
    for uri in subscribed:
        await ctx.session.send_resource_updated(AnyUrl(uri) if SDK == 1 else uri)
    return f"version {VERSION}: {len(subscribed)} subscriptions"


@server.resource("test://thing")
def thing() -> str:
    return f"version {VERSION}"


if SDK == 1:
    low = server._mcp_server

    @low.subscribe_resource()
    async def subscribe(uri):
        subscribed.add(str(uri))

    @low.unsubscribe_resource()
    async def unsubscribe(uri):
        subscribed.discard(str(uri))

    @low.set_logging_level()
    async def level(level):
        print(f"version {VERSION} logs at {level}", file=sys.stderr, flush=True)
else:
    low = server._lowlevel_server

    async def subscribe(ctx, params):
        subscribed.add(str(params.uri))
        return EmptyResult()

    async def unsubscribe(ctx, params):
        subscribed.discard(str(params.uri))
        return EmptyResult()

    async def level(ctx, params):
        print(f"version {VERSION} logs at {params.level}", file=sys.stderr, flush=True)
        return EmptyResult()

    from mcp_types import SetLevelRequestParams

    low.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
    low.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, unsubscribe)
    low.add_request_handler("logging/setLevel", SetLevelRequestParams, level)

server.run("stdio")
