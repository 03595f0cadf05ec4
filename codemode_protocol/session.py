"""The interfaces between the callers of code mode and whatever runs their cells.

A provider opens sessions; a session owns cells and stored values; a delegate is how a session reaches back to its
owner. The client package implements them over a host process, and the host package's `inprocess` inside the
caller's process. They are the same on every event loop.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Raw

from codemode_protocol.values import ExecuteRequest, Outcome, RuntimeResponse, ToolInvocation, WaitRequest


class Delegate(Protocol):
    """What a session calls on its owner. Calls run concurrently and are cancelled when their cell closes."""

    async def invoke_tool(self, invocation: ToolInvocation) -> Raw:
        """Run a nested tool and give back its result as JSON text.

        An exception rejects the promise in JavaScript with its message; `ToolError` is the one that says nothing else.
        """
        ...

    async def notify(self, call_id: str, cell_id: str, text: str) -> None:
        """Take a text that a cell sent. `call_id` is the `tool_call_id` of the execute that started the cell."""
        ...

    def cell_closed(self, cell_id: str) -> None:
        """Take note that a cell is over and all its calls have ended. Called exactly once for each cell."""
        ...


class StartedCell(Protocol):
    """A cell that runs, and the first answer about it."""

    @property
    def cell_id(self) -> str: ...

    async def initial_response(self) -> RuntimeResponse:
        """Wait for the first answer: the cell's end, its first yield, or the end of the observation time."""
        ...


class Session(Protocol):
    """A logical session: the cells that share stored values."""

    async def execute(self, request: ExecuteRequest, /) -> StartedCell:
        """Start a cell. Returns as soon as it has an id."""
        ...

    async def wait(self, request: WaitRequest) -> Outcome:
        """Observe a cell until it ends, yields, or the time is over, and take what it wrote since the last answer."""
        ...

    async def terminate(self, cell_id: str) -> Outcome:
        """Stop a cell; answers when its runtime is gone."""
        ...

    async def shutdown(self) -> None:
        """Stop every cell and close the session. May be called again; later calls wait for the first."""
        ...


class SessionProvider(Protocol):
    """Where sessions come from."""

    async def open_session(self, delegate: Delegate) -> Session: ...

    async def aclose(self) -> None:
        """Shut every session down and let go of all resources. May be called again."""
        ...
