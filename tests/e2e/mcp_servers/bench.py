"""An MCP server with a tool for each thing that a test wants to see happen: `python bench.py [--http [PORT]] [NAME]`.

With `--http` it listens on the loopback interface, by default on a free port, and prints the origin of its URLs:
`/mcp` is streamable HTTP, `/sse` the transport before it.
"""

from __future__ import annotations

import base64
import socket
import sys

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Image
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

words = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
port = int(words.pop(0)) if words and words[0].isdigit() else 0
name = words[0] if words else "bench"
server = MCPServer(name, instructions=f"Use {name} with care.")


class Sum(BaseModel):
    total: int


@server.tool()
def add(a: int, b: int) -> Sum:
    """Add two numbers."""
    return Sum(total=a + b)


@server.tool(name="say-it")
def say_it(word: str) -> str:
    """A name that is no identifier."""
    return f"{name} says {word}"


@server.tool()
def header(context: Context, key: str) -> str:
    """A header of the request that the call came with."""
    request = context.request_context.request
    assert request is not None
    return str(request.headers.get(key, "(unset)"))


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("the disk is full")


@server.tool()
def refuse() -> str:
    """Answers with an error of the protocol."""
    raise MCPError(-32000 - 1, "not today")


@server.tool()
def picture() -> Image:
    """A pixel."""
    return Image(data=PIXEL, format="png")


@server.tool()
async def meet(address: str) -> str:
    """Wait at a unix socket until all who were invited are there."""
    async with await anyio.connect_unix(address) as stream:
        await stream.send(name.encode() + b"\n")
        return (await stream.receive()).decode()


@server.tool()
async def learn(context: Context, word: str) -> str:
    """Get another tool, and forget this one."""
    server.add_tool(lambda: word, name=word, description=f"Says {word}.")
    server.remove_tool("learn")
    await context.notify_tools_changed()
    return "learnt"


def listen_on_loopback() -> None:
    import uvicorn

    listener = socket.create_server(("127.0.0.1", port))
    app = server.streamable_http_app()
    app.routes.extend(server.sse_app().routes)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    if "--http" in sys.argv:
        listen_on_loopback()
    else:
        print("ready", file=sys.stderr, flush=True)
        server.run("stdio")
