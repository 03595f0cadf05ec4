"""Hosts that break their promises, chosen by the first argument. What works of them is as simple as it can be."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from typing import Any, NoReturn

mode = sys.argv[1]


def send(message: dict[str, Any]) -> None:
    payload = json.dumps(message).encode()
    send_bytes(struct.pack("<I", len(payload)) + payload)


def send_bytes(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def read(size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            at_end_of_input()
        data += piece
    return data


def receive() -> dict[str, Any]:
    message: dict[str, Any] = json.loads(read(struct.unpack("<I", read(4))[0]))
    return message


def at_end_of_input() -> NoReturn:
    if mode == "ignores-end-of-input":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)
    if mode == "ends-at-sigterm-only":
        time.sleep(1000)
    sys.exit(0)


def ready(version: int = 1) -> None:
    send({"type": "connection/ready", "selectedVersion": version, "capabilities": []})


def respond(request: dict[str, Any], value: dict[str, Any]) -> None:
    send({"type": "operation/response", "id": request["id"], "result": {"status": "ok", "value": value}})


def tool_call(number: int, cell_id: str = "1") -> dict[str, Any]:
    invocation = {
        "cell_id": cell_id,
        "runtime_tool_call_id": f"tool-{number}",
        "tool_name": {"name": "tool", "namespace": None},
        "tool_kind": "function",
        "input": None,
    }
    return {
        "type": "delegate/request",
        "id": number,
        "sessionId": session_id,
        "request": {"type": "tool/invoke", "invocation": invocation},
    }


if mode == "dies-at-start":
    for number in range(100):
        sys.stderr.write(f"line {number}\n")
    sys.stderr.write("the engine cannot be loaded\n")
    sys.exit(3)
receive()
match mode:
    case "silent":
        time.sleep(1000)
    case "dies-in-handshake":
        os.kill(os.getpid(), signal.SIGKILL)
    case "garbage":
        send_bytes(b"Welcome to the host! This is no frame at all.\n")
        time.sleep(1000)
    case "rejects-version":
        send({"type": "connection/rejected", "reason": {"type": "noCompatibleVersion", "supportedVersions": [7, 8]}})
        sys.exit(0)
    case "selects-unknown-version":
        ready(2)
        time.sleep(1000)
    case "slow":
        time.sleep(0.3)
ready()
if mode == "second-ready":
    ready()
    time.sleep(1000)
if mode == "dies-after-handshake":
    sys.exit(4)

session_id = ""
while True:
    message = receive()
    if message["type"] != "operation/request":
        continue
    request = message["request"]
    match request["method"]:
        case "session/open":
            session_id = request["sessionId"]
            if mode == "never-opens":
                continue
            respond(message, {"type": "session/ready", "sessionId": session_id})
        case "session/shutdown":
            if mode != "never-shuts-down":
                respond(message, {"type": "session/closed", "sessionId": session_id})
        case "session/execute":
            match mode:
                case "closes-output":
                    os.close(1)
                    time.sleep(1000)
                case "closes-input":
                    os.close(0)
                    time.sleep(1000)
                case "dies-leaving-a-child":
                    subprocess.Popen(["sleep", "1000"])
                    os._exit(5)
                case "frame-over-the-limit":
                    send_bytes(struct.pack("<I", 64 * 1024 * 1024 + 1))
                    time.sleep(1000)
                case "ends-inside-a-frame":
                    send_bytes(struct.pack("<I", 1000) + b'{"type"')
                    sys.exit(0)
                case "answers-nothing-asked":
                    message["id"] += 1000
            respond(message, {"type": "execution/started", "cellId": "1"})
            match mode:
                case "answers-twice":
                    respond(message, {"type": "execution/started", "cellId": "1"})
                case "repeats-call-ids":
                    send(tool_call(1))
                    send(tool_call(1))
                case "calls-for-a-dead-cell":
                    send(tool_call(1, cell_id="2"))
                case "floods-with-calls":
                    number = 0
                    while True:
                        number += 1
                        send(tool_call(number))
                case "floods-standard-error":
                    for _ in range(2000):
                        sys.stderr.write("x" * 999 + "\n")
                    sys.stderr.write("the end\n")
                    sys.exit(6)
