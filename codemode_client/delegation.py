"""The calls that a host makes on a session's delegate: each a task, answered once, gone with its cell.

What comes of a call that the host has cancelled, or whose cell is closed, is swallowed. `cell_closed` is
reported after the last of a cell's calls has ended, whatever ended them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import trio
from msgspec import Raw

from codemode_client.cells import CellRecord
from codemode_client.counters import DELEGATE_CALL_LIMIT, FRAME_LIMIT
from codemode_protocol.errors import MessageTooLargeError, ToolError, tool_failure_text
from codemode_protocol.limits import DEFAULTS
from codemode_protocol.messages import (
    DelegateCall,
    DelegateRequest,
    DelegateResponse,
    DelegateValue,
    Failure,
    InvokeTool,
    NotificationDelivered,
    Success,
    ToolResult,
)

if TYPE_CHECKING:
    from codemode_client.driver import Driver

MAX_DELEGATE_CALLS = DEFAULTS["delegate_calls"]
"""Calls in flight on one connection. Each one more is answered with an error, unless the host does not even read those
that there are: then the connection ends.
"""

_delivered = Success[DelegateValue](NotificationDelivered())
_json_text = msgspec.json.Decoder(Raw)


class DelegateTask:
    """One call under way."""

    __slots__ = ("call", "cell", "id", "revoked", "scope")

    def __init__(self, call_id: int, cell: CellRecord, call: DelegateCall) -> None:
        self.id = call_id
        self.cell = cell
        self.call = call
        self.revoked = False
        """Nobody waits for the answer any more."""
        self.scope = trio.CancelScope()

    def revoke(self) -> None:
        self.revoked = True
        self.scope.cancel()


class Delegation:
    """The delegate calls of one connection."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._observer = driver.observer
        self._tasks: dict[int, DelegateTask] = {}
        self._nursery: trio.Nursery | None = None

    def attach(self, nursery: trio.Nursery) -> None:
        """Say where the calls run."""
        self._nursery = nursery

    def requested(self, message: DelegateRequest, cell: CellRecord) -> None:
        """The host makes a call for a live cell."""
        assert self._nursery is not None
        if len(self._tasks) >= MAX_DELEGATE_CALLS:
            self._observer.tally.limit_met(DELEGATE_CALL_LIMIT)
            if self._driver.full:
                self._driver.fail("the host does not read the answers to its calls", way="answers_unread")
                return
            self._driver.answer(
                DelegateResponse(message.id, Failure(f"more than {MAX_DELEGATE_CALLS} tool calls are in flight"))
            )
            return
        task = DelegateTask(message.id, cell, message.request)
        self._tasks[message.id] = task
        cell.tasks.add(task)
        self._nursery.start_soon(self._run, task)

    def cancelled(self, call_id: int) -> None:
        """The host takes a call back."""
        if (task := self._tasks.pop(call_id, None)) is not None:
            task.revoke()

    def cell_over(self, cell: CellRecord) -> None:
        """The cell's host is done with it: end its calls, then report it, once."""
        if cell.closed:
            return
        cell.closed = True
        if cell.tasks:
            for task in cell.tasks:
                self._tasks.pop(task.id, None)
                task.revoke()
        else:
            self._report(cell)

    @trio.lowlevel.enable_ki_protection
    async def _run(self, task: DelegateTask) -> None:
        try:
            result: Success[DelegateValue] | Failure
            if task.revoked:  # before it came to run
                return
            try:
                with task.scope:
                    result = await self._call(task)
                    await self._driver.room()
                    self._answer(task, result)
            except Exception as error:  # noqa: BLE001 - whatever a delegate raises is that call's error alone
                self._answer(task, Failure(tool_failure_text(error)))
        finally:
            self._tasks.pop(task.id, None)
            task.cell.tasks.discard(task)
            if task.cell.closed and not task.cell.tasks:
                self._report(task.cell)

    async def _call(self, task: DelegateTask) -> Success[DelegateValue]:
        cell, call, observer = task.cell, task.call, self._observer
        delegate = cell.binding.delegate
        if not isinstance(call, InvokeTool):
            observer.tally.notifications += 1
            await delegate.notify(call.call_id, cell.public_id, call.text)
            return _delivered
        invocation = call.invocation
        if cell.public_id != invocation.cell_id:
            invocation = msgspec.structs.replace(invocation, cell_id=cell.public_id)
        observer.call_started(cell, invocation)
        try:
            if cell.span is None:
                value = _checked(await delegate.invoke_tool(invocation))
            else:
                with cell.span.call(cell, invocation):
                    value = _checked(await delegate.invoke_tool(invocation))
        except Exception as error:
            observer.call_failed(cell, invocation, error)
            raise
        except BaseException:
            observer.call_cancelled(cell, invocation)
            raise
        observer.call_succeeded(cell, invocation)
        return Success(ToolResult(value))

    def _answer(self, task: DelegateTask, result: Success[DelegateValue] | Failure) -> None:
        if task.revoked:
            return
        try:
            self._driver.answer(DelegateResponse(task.id, result))
        except MessageTooLargeError as error:
            self._observer.tally.limit_met(FRAME_LIMIT)
            self._driver.answer(DelegateResponse(task.id, Failure(f"the tool's answer is too large: {error}")))
        task.revoked = True
        self._tasks.pop(task.id, None)

    def _report(self, cell: CellRecord) -> None:
        self._observer.cell_over(cell)
        try:
            cell.binding.delegate.cell_closed(cell.public_id)
        except Exception as error:  # noqa: BLE001 the delegate's own affair
            self._observer.cell_closed_failed(cell, error)
        cell.binding.cell_reported(cell)


def _checked(value: Raw) -> Raw:
    """A delegate's answer, which must be JSON: over a frame that is not a host must end the whole connection."""
    if not isinstance(value, Raw):
        raise TypeError(f"a delegate's invoke_tool gives msgspec.Raw, not {type(value).__name__}")
    try:
        str(value, "utf-8")
        return _json_text.decode(value)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise ToolError(f"the tool's answer is not JSON: {error}") from error
