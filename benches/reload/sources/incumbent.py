"""The same server on the incumbent, the Python package mcp-http-transport 0.2.0, with an `mcp` package that it works with."""

import asyncio
import os

from mcp.server import Server
from mcp.types import TextContent, Tool
from mcp_http_transport import MCPTransportManager

from .answer import VERSION

server = Server("incumbent")
SCHEMA = {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}


@server.list_tools()
async def list_tools():
    return [Tool(name="echo", description="Says it again", inputSchema=SCHEMA)]


@server.call_tool()
async def call_tool(name, arguments):
    message = arguments["message"]
    if message.startswith("slow"):
        await asyncio.sleep(0.4)
    return [TextContent(type="text", text=f"version {VERSION}: {message}")]


async def main():
    await MCPTransportManager(server, os.environ["MCP_TRANSPORT"], os.environ["MCP_HTTP_HOST"], int(os.environ["MCP_HTTP_PORT"])).start()


asyncio.run(main())
