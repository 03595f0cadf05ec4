"""An MCP server of the older protocol, written by hand: it starts fast and misbehaves in every way it is told to.

`python plain.py [OPTION …]`: the options are the keywords below. Its tools are `echo`, `where`, `die`, `learn`, and
`page-1`, `page-2` on further pages of their list.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

TOOLS = ["echo", "where", "die", "learn"]
pages = [TOOLS, ["page-1"], ["page-2"]]


def say(message: dict[str, Any]) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def text(words: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}]}


def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    match name:
        case "where":
            return text(str(os.getpid()))
        case "die":
            print("these are my last words", file=sys.stderr, flush=True)
            os._exit(7)
        case "learn":
            pages[0] = ["echo", *arguments["tools"]]
            say({"method": "notifications/tools/list_changed"})
            return text("learnt")
        case "page-1":
            return {**text("the disk is full"), "isError": True}
        case _:
            meta = {"_meta": {"mine": 1}, "structuredContent": {"said": arguments or None, "by": name}}
            return {**text(json.dumps(arguments)), **meta}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    match method:
        case "initialize":
            return {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "plain", "version": "1"},
            }
        case "tools/list":
            page = int(params.get("cursor", 0))
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in pages[page]]
            return {"tools": tools, **({"nextCursor": str(page + 1)} if page + 1 < len(pages) else {})}
        case "tools/call":
            return call(params["name"], params.get("arguments", {}))
    raise LookupError(method)


def main(options: list[str]) -> None:
    if "dies" in options:
        print("no such database\nI give up", file=sys.stderr)
        sys.exit(5)
    if "chatty" in options:
        print("Welcome to the plain server!", flush=True)
    if "fertile" in options:  # leaves a child behind, and says who it is on standard error
        child = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        print(child.pid, file=sys.stderr, flush=True)
    if "stubborn" in options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        if "silent" in options:
            continue
        message = json.loads(line)
        if "id" not in message:
            continue
        try:
            say({"id": message["id"], "result": answer(message["method"], message.get("params", {}))})
        except LookupError as error:
            say({"id": message["id"], "error": {"code": -32601, "message": f"there is no {error}"}})
    while "stubborn" in options:
        time.sleep(1000)


if __name__ == "__main__":
    main(sys.argv[1:])
