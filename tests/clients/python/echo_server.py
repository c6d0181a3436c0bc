"""A server with one tool, by the Python SDK (1.x or 2.x, whichever is installed).

    echo_server.py sse|streamable-http PORT
"""

import sys

transport, port = sys.argv[1], int(sys.argv[2])


def echo(message: str) -> str:
    return f"Echo: {message}"


try:
    from mcp.server import MCPServer  # SDK 2.x

    server = MCPServer("echo")
    server.tool()(echo)
    server.run(transport=transport, port=port)
except ImportError:
    from mcp.server.fastmcp import FastMCP

    server = FastMCP("echo", port=port)
    server.tool()(echo)
    server.run(transport=transport)
