"""An MCP server of the older protocol, written by hand: it starts fast and misbehaves in every way it is told to.

`python plain.py [OPTION …]`: the options are the keywords below. Its tools are those of `TOOLS`, and `page-1`, `page-2`
on further pages of their list.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

TOOLS = ["echo", "where", "variable", "die", "learn", "meet", "linger", "step", "raw", "flood"]
pages = [TOOLS, ["page-1"], ["page-2"]]
lingering: dict[object, socket.socket] = {}
"""Calls of `linger`, by their id."""
writing = threading.Lock()


def say(message: dict[str, Any]) -> None:
    with writing:
        print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def text(words: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}]}


def place(address: str) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(address)
    return stream


def call(name: str, arguments: dict[str, Any], token: object) -> dict[str, Any]:
    match name:
        case "where":
            return text(f"{os.getpid()} {os.getcwd()}")
        case "variable":
            return text(os.environ.get(arguments["key"], "(unset)"))
        case "meet":  # wait at a unix socket until all who were invited are there
            with place(arguments["address"]) as stream:
                stream.sendall(b"plain\n")
                return text(stream.recv(1000).decode())
        case "flood":  # with one line that never ends
            while True:
                sys.stdout.write("x" * (1 << 20))
        case "step":
            for number in range(arguments["steps"]):
                time.sleep(arguments["seconds"])
                say({"method": "notifications/progress", "params": {"progressToken": token, "progress": number}})
            return text("done")
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
            return call(params["name"], params.get("arguments", {}), params.get("_meta", {}).get("progressToken"))
    raise LookupError(method)


def raw(number: object, escaped: str) -> None:
    """Answer with a text whose JSON is given in base64, as it may be no Unicode."""
    blank = json.dumps({"jsonrpc": "2.0", "id": number, "result": text("…")}, ensure_ascii=False).encode()
    with writing:
        sys.stdout.buffer.write(blank.replace("…".encode(), base64.b64decode(escaped)) + b"\n")
        sys.stdout.buffer.flush()


def reply(number: object, method: str, params: dict[str, Any]) -> None:
    if method == "tools/call" and params["name"] == "raw":
        return raw(number, params["arguments"]["text"])
    try:
        say({"id": number, "result": answer(method, params)})
    except LookupError as error:
        say({"id": number, "error": {"code": -32601, "message": f"there is no {error}"}})


def heard(message: dict[str, Any]) -> None:
    method, params = message["method"], message.get("params", {})
    if method == "notifications/cancelled" and params["requestId"] in lingering:
        with lingering.pop(params["requestId"]) as stream:
            stream.sendall(b"cancelled\n")
    elif method == "tools/call" and params["name"] == "linger":  # say so at a unix socket, and never answer
        stream = lingering[message["id"]] = place(params["arguments"]["address"])
        stream.sendall(b"started\n")
    elif method == "tools/call":
        threading.Thread(target=reply, args=(message["id"], method, params), daemon=True).start()
    elif "id" in message:
        reply(message["id"], method, params)


def main(options: list[str]) -> None:
    if "dies" in options:
        print("no such database\nI give up", file=sys.stderr)
        sys.exit(5)
    if "chatty" in options:
        print("Welcome to the plain server!", flush=True)
    if "fertile" in options:  # leaves a child behind
        subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    if "stubborn" in options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        if "silent" not in options:
            heard(json.loads(line))
    while "stubborn" in options:
        time.sleep(1000)


if __name__ == "__main__":
    main(sys.argv[1:])
