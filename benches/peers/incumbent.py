"""The echo tool on the incumbent, the Python package mcp-http-transport 0.2.0, with an mcp package that it works with. Settings come from the environment."""

import asyncio
import os

from mcp.server import Server
from mcp.types import TextContent, Tool
from mcp_http_transport import MCPTransportManager

server = Server("echo")
SCHEMA = {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}


@server.list_tools()
async def list_tools():
    return [Tool(name="echo", description="Says what it is told", inputSchema=SCHEMA)]


@server.call_tool()
async def call_tool(name, arguments):
    return [TextContent(type="text", text=arguments["message"])]


async def main():
    host, port = os.environ["MCP_HTTP_HOST"], int(os.environ["MCP_HTTP_PORT"])
    await MCPTransportManager(server, os.environ["MCP_TRANSPORT"], host, port).start()


asyncio.run(main())
