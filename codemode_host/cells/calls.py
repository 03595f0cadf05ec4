"""A cell's calls out of its session: tools and notifications, until they are answered or cancelled."""

from __future__ import annotations

import time
from typing import Protocol

import msgspec
from msgspec import Raw

from codemode_protocol.values import ToolInvocation

_NESTING = 200
"""How much deeper than a call's input the frame may be that carries it, and whoever decodes that in his turn."""

_raw = msgspec.json.Decoder(Raw)


class NestingError(Exception):
    """JSON text is nested so deeply that its receiver could not read it."""


def checked_json(text: bytes) -> Raw:
    """JSON text that a runtime sent, for a frame to carry as it is. Raises ValueError when it is none, NestingError."""
    if not text.isascii():
        str(text, "utf-8")
    try:
        _raw.decode(text)
        if text.count(b"[") + text.count(b"{") > _NESTING:
            _raw.decode(b"[" * _NESTING + text + b"]" * _NESTING)
    except RecursionError:
        raise NestingError("failed to serialize JavaScript value: it is nested too deeply") from None
    return Raw(text)


class CallingCell(Protocol):
    """The cell that makes a call, as the call sees it."""

    id: str

    def answered(self, call: Call, verdict: bytes, text: bytes) -> None:
        """Take the answer of a call, JSON text, unless the call is over already."""
        ...


class Call:
    """A tool call or a notification that the owner has been asked to make, until it is answered or cancelled."""

    __slots__ = ("cell", "handle", "sequence", "since", "tool")

    def __init__(self, cell: CallingCell, sequence: int | None, tool: str | None = None) -> None:
        self.cell: CallingCell = cell
        self.tool: str | None = tool
        """The tool's name for JavaScript; None for a notification."""
        self.since: int = time.perf_counter_ns()
        self.sequence: int | None = sequence
        """The call's number within its cell; None for a notification."""
        self.handle: int = 0
        """For the owner's use."""

    def resolve(self, result: Raw) -> None:
        """The tool gave back `result`, JSON text."""
        self.cell.answered(self, b"true", bytes(result))

    def reject(self, message: str) -> None:
        """The tool failed: the promise is rejected with `message`."""
        self.cell.answered(self, b"false", msgspec.json.encode(message))

    def delivered(self) -> None:
        """The notification arrived, or never will; the cell does not care which."""
        self.cell.answered(self, b"true", b"null")


class Outlet(Protocol):
    """Where a session's cells reach their owner. Synchronous: nothing here may wait or raise."""

    def invoke_tool(self, call: Call, invocation: ToolInvocation) -> None: ...

    def notify(self, call: Call, call_id: str, text: str) -> None: ...

    def cancel(self, call: Call) -> None:
        """The answer to `call` is no longer wanted."""
        ...

    def cell_closed(self, cell_id: str) -> None:
        """The last word about a cell."""
        ...
