"""Our host, wrong in the one way that the argument names: what it says is tampered with on its way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any

Message = dict[str, Any]


def _changed(kind: str, **fields: Any) -> Callable[[Message], list[Message]]:
    return lambda message: [{**message, **fields} if message["type"] == kind else message]


def _dropped(kind: str) -> Callable[[Message], list[Message]]:
    return lambda message: [message] if message["type"] != kind else []


def _doubled(kind: str) -> Callable[[Message], list[Message]]:
    return lambda message: [message] * (1 + (message["type"] == kind))


def _late() -> Callable[[Message], list[Message]]:
    """Say once more what was said first of a cell, when that has closed."""
    first: list[Message] = []

    def tamper(message: Message) -> list[Message]:
        if message["type"] == "execute/initialResponse":
            first.append(message)
        return [message, *first] if message["type"] == "cell/closed" else [message]

    return tamper


def _swapped() -> Callable[[Message], list[Message]]:
    """Close a cell before its result is told."""
    kept: list[Message] = []

    def tamper(message: Message) -> list[Message]:
        if message["type"] == "execute/initialResponse":
            kept.append(message)
            return []
        if message["type"] == "cell/closed":
            return [message, *kept]
        return [message]

    return tamper


def _mute(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: [] if key == "content_items" else _mute(inner) for key, inner in value.items()}
    return value


FAULTS: dict[str, Callable[[Message], list[Message]]] = {
    "wrong-version": _changed("connection/ready", selectedVersion=2),
    "unasked-capability": _changed("connection/ready", capabilities=["x"]),
    "wrong-id": _changed("operation/response", id=4711),
    "two-answers": _doubled("operation/response"),
    "two-results": _doubled("execute/initialResponse"),
    "no-cell-closed": _dropped("cell/closed"),
    "closed-twice": _doubled("cell/closed"),
    "closed-too-early": _swapped(),
    "answer-after-close": _late(),
    "wrong-cell": _changed("cell/closed", cellId="2"),
    "call-not-withdrawn": _dropped("delegate/cancel"),
    "unknown-field": _changed("cell/closed", more=1),
    "no-output": lambda message: [_mute(message)],
}


def _payloads(output: IO[bytes]) -> Iterator[bytes]:
    while len(header := output.read(4)) == 4:
        yield output.read(int.from_bytes(header, "little"))


def main() -> int:
    """Pass the input on, and the output with its fault; returns the host's exit status."""
    tamper = FAULTS[sys.argv[1]]
    host = subprocess.Popen([sys.executable, "-m", "codemode_host"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert host.stdin is not None
    assert host.stdout is not None

    def pass_input_on(into: IO[bytes]) -> None:
        while data := os.read(0, 65536):
            try:
                into.write(data)
                into.flush()
            except BrokenPipeError:
                return
        into.close()

    threading.Thread(target=pass_input_on, args=(host.stdin,), daemon=True).start()
    for payload in _payloads(host.stdout):
        for message in tamper(json.loads(payload)):
            data = json.dumps(message, ensure_ascii=False).encode()
            sys.stdout.buffer.write(len(data).to_bytes(4, "little") + data)
        sys.stdout.buffer.flush()
    return host.wait()


if __name__ == "__main__":
    # The thread may still wait for input.
    status = main()
    sys.stdout.flush()
    os._exit(status)
