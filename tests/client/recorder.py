"""A delegate that remembers what happened to it, and lets a test wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import trio
from msgspec import Raw

from codemode_protocol.values import ToolDefinition, ToolInvocation, ToolKind, ToolName

ToolFunction = Callable[[ToolInvocation], Awaitable[Raw]]


def define_tool(name: str, namespace: str | None = None) -> ToolDefinition:
    return ToolDefinition(name, ToolName(name, namespace), f"the tool {name}", ToolKind.FUNCTION)


class Recorder:
    """`tools` by name; any other name answers with its own input.

    `closed` are the cells reported closed, in order. `running` counts the tool calls under way; a cell that is
    reported closed while one of its calls runs is in `errors`, and so is one that is reported twice.
    """

    def __init__(self, **tools: ToolFunction) -> None:
        self.tools = tools
        self.calls: list[ToolInvocation] = []
        self.cancelled: list[ToolInvocation] = []
        self.notifications: list[tuple[str, str, str]] = []
        self.closed: list[str] = []
        self.errors: list[str] = []
        self.running: dict[str, int] = {}
        self._changed: anyio.Event | None = None
        """While something waits: a flood of calls must cost the test itself little."""

    def _change(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something that was recorded fulfils a condition."""
        while not condition():
            if self._changed is None:
                self._changed = anyio.Event()
            await self._changed.wait()

    async def invoke_tool(self, invocation: ToolInvocation) -> Raw:
        self.calls.append(invocation)
        self.running[invocation.cell_id] = self.running.get(invocation.cell_id, 0) + 1
        self._change()
        try:
            tool = self.tools.get(invocation.tool_name.name)
            return invocation.input if tool is None else await tool(invocation)
        except (asyncio.CancelledError, trio.Cancelled):
            self.cancelled.append(invocation)
            raise
        finally:
            self.running[invocation.cell_id] -= 1
            self._change()

    async def notify(self, call_id: str, cell_id: str, text: str) -> None:
        self.notifications.append((call_id, cell_id, text))
        self._change()

    def cell_closed(self, cell_id: str) -> None:
        if self.running.get(cell_id):
            self.errors.append(f"cell {cell_id} was closed before its calls had ended")
        if cell_id in self.closed:
            self.errors.append(f"cell {cell_id} was closed twice")
        self.closed.append(cell_id)
        self._change()


async def forever(_: ToolInvocation) -> Raw:
    """A tool that never answers."""
    # Natively: anyio's own function would be most of what a flood of calls costs.
    if trio.lowlevel.in_trio_task():
        await trio.sleep_forever()
    await asyncio.get_running_loop().create_future()
    raise AssertionError
