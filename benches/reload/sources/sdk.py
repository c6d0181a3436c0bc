"""The same server on the `mcp` package 2.x."""

import anyio
from mcp.server.mcpserver import MCPServer

from answer import VERSION

server = MCPServer("sdk")


@server.tool()
async def echo(message: str) -> str:
    if message.startswith("slow"):
        await anyio.sleep(0.4)
    return f"version {VERSION}: {message}"


server.run("stdio")
