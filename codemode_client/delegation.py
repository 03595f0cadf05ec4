"""The calls that a host makes on a session's delegate: each a task, answered once, gone with its cell.

What comes of a call that the host has cancelled, or whose cell is closed, is swallowed. `cell_closed` is
reported after the last of a cell's calls has ended, whatever ended them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
import trio
from msgspec import Raw

from codemode_client.cells import CellRecord
from codemode_protocol.errors import MessageTooLargeError, ToolError
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

MAX_DELEGATE_CALLS = 65_536
"""Calls in flight on one connection. Each one more is answered with an error, unless the host does not even read those
that there are: then the connection ends.
"""

logger = logging.getLogger("codemode_client")

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
        self._tasks: dict[int, DelegateTask] = {}
        self._nursery: trio.Nursery | None = None

    def attach(self, nursery: trio.Nursery) -> None:
        """Say where the calls run."""
        self._nursery = nursery

    def requested(self, message: DelegateRequest, cell: CellRecord) -> None:
        """The host makes a call for a live cell."""
        assert self._nursery is not None
        if len(self._tasks) >= MAX_DELEGATE_CALLS:
            if self._driver.full:
                self._driver.fail("the host does not read the answers to its calls")
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
                self._answer(task, Failure(_message_of(error)))
        finally:
            self._tasks.pop(task.id, None)
            task.cell.tasks.discard(task)
            if task.cell.closed and not task.cell.tasks:
                self._report(task.cell)

    async def _call(self, task: DelegateTask) -> Success[DelegateValue]:
        delegate = task.cell.binding.delegate
        call = task.call
        if isinstance(call, InvokeTool):
            invocation = call.invocation
            if task.cell.public_id != invocation.cell_id:
                invocation = msgspec.structs.replace(invocation, cell_id=task.cell.public_id)
            value = await delegate.invoke_tool(invocation)
            return Success(ToolResult(_checked(value)))
        await delegate.notify(call.call_id, task.cell.public_id, call.text)
        return _delivered

    def _answer(self, task: DelegateTask, result: Success[DelegateValue] | Failure) -> None:
        if task.revoked:
            return
        try:
            self._driver.answer(DelegateResponse(task.id, result))
        except MessageTooLargeError as error:
            self._driver.answer(DelegateResponse(task.id, Failure(f"the tool's answer is too large: {error}")))
        task.revoked = True
        self._tasks.pop(task.id, None)

    def _report(self, cell: CellRecord) -> None:
        try:
            cell.binding.delegate.cell_closed(cell.public_id)
        except Exception:
            logger.exception("the delegate's cell_closed failed for cell %s", cell.public_id)
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


def _message_of(error: Exception) -> str:
    """What JavaScript is told about an exception of a tool's."""
    text = str(error).encode("utf-8", "replace").decode()  # what has lone surrogates cannot be sent
    if isinstance(error, ToolError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
