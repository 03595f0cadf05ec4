"""The calls that a host makes on a session's delegate: each one a task, answered once, cancelled with its cell.

The outcome of a call that the host has cancelled, or whose cell is closed, is dropped. `cell_closed` is reported after
the last of a cell's calls has ended.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Protocol

import msgspec
from msgspec import Raw, Struct

from codemode_client._loops.interface import Loop, Task, protect_from_interrupt
from codemode_client._loops.slots import Slot
from codemode_client._observability import events
from codemode_client._session.cells import Cell
from codemode_client.counters import Tally
from codemode_protocol.errors import MessageTooLargeError, tool_failure_text
from codemode_protocol.limits import DELEGATE_CALL_LIMIT, FRAME_LIMIT
from codemode_protocol.messages import (
    DelegateRequest,
    DelegateResponse,
    DelegateValue,
    Failure,
    InvokeTool,
    NotificationDelivered,
    SendNotification,
    Success,
    ToolResult,
)
from codemode_protocol.nesting import checked_answer

MAX_DELEGATE_CALLS = 65_536
"""The most calls in flight of one session. Further ones are answered with an error; the connection ends if the host
does not read these answers either.
"""

_delivered = Success[DelegateValue](NotificationDelivered())

Answer = Success[DelegateValue] | Failure


class AnswerOutlet(Protocol):
    """The part of a host connection (`Multiplexer`) that delegate calls use: it sends their answers."""

    loop: Loop
    tally: Tally

    @property
    def full(self) -> bool: ...

    @property
    def crowded(self) -> bool: ...

    async def room(self, *, ahead: bool = False) -> None: ...

    def answer(self, message: DelegateResponse) -> None:
        """Answer a delegate call, unless the host has cancelled it.

        Raises:
            MessageTooLargeError: The answer does not fit in a frame. It was not sent.
        """

    def fail(self, cause: str, *, way: str | None = None) -> None: ...


class DelegateCall(Struct, eq=False):
    """One delegate call under way."""

    id: int
    cell: Cell
    request: InvokeTool | SendNotification
    task: Task | None = None
    started: bool = False
    """Its task has begun to run."""
    over: bool = False
    """It was answered or revoked."""

    def revoke(self) -> None:
        """Cancel the call and drop its answer. Idempotent: under asyncio a second cancellation cuts clean-up short."""
        if self.over:
            return
        self.over = True
        # A task that has not begun checks `over` when it does; asyncio would never run its clean-up once cancelled.
        if self.started and self.task is not None:
            self.task.cancel()


class DelegateCalls:
    """The delegate calls of one connection."""

    def __init__(self, outlet: AnswerOutlet) -> None:
        self._outlet = outlet
        self._tally = outlet.tally
        self._pending: dict[int, DelegateCall] = {}
        """By the host's id, until they are answered or revoked."""
        self.running = 0
        """The number of tasks, including those of revoked calls."""
        self._all_ended: Slot[None] | None = None

    def start(self, message: DelegateRequest, cell: Cell) -> None:
        """Start a call that the host requests for a live cell."""
        if cell.home.running_calls >= MAX_DELEGATE_CALLS:
            self._tally.count_limit(DELEGATE_CALL_LIMIT)
            if self._outlet.full:
                self._outlet.fail("the host does not read the answers to its calls", way="answers_unread")
                return
            failure = Failure(f"more than {MAX_DELEGATE_CALLS} tool calls of the session are in flight")
            self._outlet.answer(DelegateResponse(message.id, failure))
            return
        call = DelegateCall(message.id, cell, message.request)
        self._pending[message.id] = call
        cell.calls.add(call)
        self.running += 1
        cell.home.running_calls += 1
        call.task = self._outlet.loop.start(partial(self._run, call), cell.home.context)

    def cancel(self, call_id: int) -> None:
        """Revoke a call that the host has cancelled."""
        if (call := self._pending.pop(call_id, None)) is not None:
            call.revoke()

    async def ended(self) -> None:
        """Wait until no call runs."""
        while self.running:
            self._all_ended = Slot(self._outlet.loop)
            await self._all_ended.get()

    @protect_from_interrupt
    async def _run(self, call: DelegateCall) -> None:
        call.started = True
        try:
            try:
                if not call.over and self._outlet.crowded:
                    # Before it has an answer: thousands of answers that wait take the memory of this process.
                    await self._outlet.room()
                if call.over:
                    return
                result = await self._call(call)
                if self._outlet.full:
                    await self._outlet.room(ahead=True)
                self._answer(call, result)
            except Exception as error:  # noqa: BLE001 - a delegate's exception fails that call alone
                self._answer(call, Failure(tool_failure_text(error)))
            except BaseException as error:
                if call.over:
                    raise
                # Not revoked by the host: the tool cancelled itself, or is ending the program.
                cancelled = self._outlet.loop.is_cancellation(error)
                what = "was cancelled" if cancelled else f"ended with {type(error).__name__}"
                self._answer(call, Failure(f"the tool {what}"))
                raise
        finally:
            self._pending.pop(call.id, None)
            self.running -= 1
            call.cell.home.running_calls -= 1
            call.cell.call_ended(call)
            if not self.running and self._all_ended is not None:
                self._all_ended.resolve(None)

    async def _call(self, call: DelegateCall) -> Success[DelegateValue]:
        cell, request = call.cell, call.request
        delegate = cell.home.delegate
        if not isinstance(request, InvokeTool):
            self._tally.notifications += 1
            await delegate.notify(request.call_id, cell.public_id, request.text)
            return _delivered
        invocation = request.invocation
        if cell.public_id != invocation.cell_id:
            invocation = msgspec.structs.replace(invocation, cell_id=cell.public_id)
        tally, log_all = self._tally, events.tool_log.isEnabledFor(logging.DEBUG)
        tally.tool_calls += 1
        if log_all:
            events.call_started(cell.labels, invocation)
        try:
            if cell.span is None:
                value = _checked(await delegate.invoke_tool(invocation))
            else:
                with cell.span.call(cell.labels, invocation):
                    value = _checked(await delegate.invoke_tool(invocation))
        except Exception as error:
            tally.tool_calls_failed += 1
            events.call_failed(cell.labels, invocation, error)
            raise
        except BaseException:
            tally.tool_calls_cancelled += 1
            events.call_cancelled(cell.labels, invocation)
            raise
        tally.tool_calls_succeeded += 1
        if log_all:
            events.call_succeeded(cell.labels, invocation)
        return Success(ToolResult(value))

    def _answer(self, call: DelegateCall, result: Answer) -> None:
        if call.over:
            return
        try:
            self._outlet.answer(DelegateResponse(call.id, result))
        except MessageTooLargeError as error:
            self._tally.count_limit(FRAME_LIMIT)
            self._outlet.answer(DelegateResponse(call.id, Failure(f"the tool's answer is too large: {error}")))
        call.over = True
        self._pending.pop(call.id, None)


def _checked(value: Raw) -> Raw:
    """Return a delegate's answer once it is known to be JSON: an invalid frame would end the whole connection."""
    if not isinstance(value, Raw):
        raise TypeError(f"a delegate's invoke_tool gives msgspec.Raw, not {type(value).__name__}")
    return checked_answer(value)
