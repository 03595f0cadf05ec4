"""A cell's calls out of its session: tools and notifications, until they are answered or cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec import Raw, Struct

from codemode_host.runtimes.host_side.output import ItemTooLargeError, LinkError
from codemode_protocol.limits import MAX_ITEM_JSON_BYTES, MAX_JSON_DEPTH, NOTIFICATION_TOO_LARGE
from codemode_protocol.nesting import NestingError, checked_json
from codemode_protocol.values import ToolDefinition, ToolInvocation

_TOO_DEEP = f"failed to serialize JavaScript value: it is nested more than {MAX_JSON_DEPTH} levels deep"


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
        """Answer with what the tool returned, JSON text."""
        self.cell.answered(self, b"true", bytes(result))

    def reject(self, message: str) -> None:
        """Answer that the tool failed: the promise is rejected with `message`."""
        self.cell.answered(self, b"false", msgspec.json.encode(message))

    def delivered(self) -> None:
        """Answer that a notification arrived, or never will: to the cell it is the same."""
        self.cell.answered(self, b"true", b"null")


class Outlet(Protocol):
    """Where a session's cells reach their owner. Nothing here raises, and what is synchronous does not wait."""

    def invoke_tool(self, call: Call, invocation: ToolInvocation) -> None:
        """Have a tool called."""
        ...

    def notify(self, call: Call, call_id: str, text: str) -> None:
        """Have a notification delivered."""
        ...

    def cancel(self, call: Call) -> None:
        """Drop a call: its answer is no longer wanted."""
        ...

    def cell_closed(self, cell_id: str) -> None:
        """Report a cell closed, which is the last that is said about it."""
        ...

    def flush(self) -> None:
        """Write what was said: that is all for now."""
        ...

    async def room(self, *, calling: bool = False) -> None:
        """Wait while too much was said that has not been read; for one who makes many calls, that is little."""
        ...


class SessionCalls:
    """How many calls of a session's cells are not answered yet, and the cells that wait until they are fewer."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._waiting: dict[Callable[[], None], None] = {}

    @property
    def full(self) -> bool:
        """Whether the session's cells make no more."""
        return self._count >= self._limit

    def made(self) -> None:
        """Count one more."""
        self._count += 1

    def over(self, count: int) -> None:
        """Count so many less."""
        self._count -= count
        if self._waiting and not self.full:
            waiting, self._waiting = self._waiting, {}
            for wake in waiting:
                wake()

    def tell(self, wake: Callable[[], None]) -> None:
        """Call `wake` once there is room, however often this was asked for."""
        self._waiting[wake] = None


class PendingCalls(Struct, eq=False):
    """The calls of one cell that are not answered yet."""

    cell: CallingCell
    tools: list[ToolDefinition]
    """Those that it may call."""
    call_id: str
    """Of the request that started it, which its notifications carry."""
    outlet: Outlet
    session: SessionCalls
    """Those of all the session's cells."""
    pending: dict[Call, None] = msgspec.field(default_factory=dict)
    """In the order in which they were made."""
    notifications: int = 0
    """How many of them are notifications."""

    def invoke_tool(self, payload: bytes) -> None:
        """Make the tool call that a frame asks for. Raises LinkError when it is malformed."""
        try:
            sequence, index, text = payload.split(b" ", 2)
            if not (sequence.isdigit() and index.isdigit()):
                raise ValueError("a number is no number")
            tool, number = self.tools[int(index)], int(sequence)
            call = Call(self.cell, number, tool.name)
            self._add(call)
            try:
                arguments = checked_json(text)
            except NestingError:
                call.reject(_TOO_DEEP)
                return
        except (ValueError, IndexError) as error:
            raise LinkError(f"a malformed tool call: {error}") from error
        invocation = ToolInvocation(self.cell.id, f"tool-{number}", tool.tool_name, tool.kind, arguments)
        self.outlet.invoke_tool(call, invocation)

    def notify(self, payload: bytes) -> None:
        """Send the notification that a frame asks for. Raises LinkError when it is malformed, ItemTooLargeError."""
        try:
            text = payload.decode()
        except UnicodeDecodeError as error:
            raise LinkError(f"a malformed notification: {error}") from error
        if len(payload) > MAX_ITEM_JSON_BYTES // 6 and len(msgspec.json.encode(text)) > MAX_ITEM_JSON_BYTES:
            raise ItemTooLargeError(NOTIFICATION_TOO_LARGE(limit=MAX_ITEM_JSON_BYTES))
        call = Call(self.cell, None)
        self._add(call)
        self.notifications += 1
        self.outlet.notify(call, self.call_id, text)

    def _add(self, call: Call) -> None:
        self.pending[call] = None
        self.session.made()

    def finish(self, call: Call) -> bool:
        """Take a call off, since it has been answered. Returns False when it was over already."""
        if call not in self.pending:
            return False
        del self.pending[call]
        if call.sequence is None:
            self.notifications -= 1
        self.session.over(1)
        return True

    def cancel(self) -> None:
        """Cancel all of them, the newest first, as the reference does it."""
        for call in reversed(self.pending):
            self.outlet.cancel(call)
        count = len(self.pending)
        self.pending.clear()
        self.notifications = 0
        self.session.over(count)
