"""The same server on fastmcp 2, which mcp-hmr wants: it imports `server`, anybody else runs this file."""

import anyio
from fastmcp import FastMCP

from answer import VERSION

server = FastMCP("fastmcp")


@server.tool
async def echo(message: str) -> str:
    if message.startswith("slow"):
        await anyio.sleep(0.4)
    return f"version {VERSION}: {message}"


if __name__ == "__main__":
    server.run(show_banner=False)
