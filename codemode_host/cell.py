"""One cell: its runtime, its output, who observes it, and how it ends.

A cell is an actor. `Cell.run` is its only task; everything else is a synchronous method that changes the state and says
what is to be said, so that no invariant is ever broken across an await. Nothing in here knows of connections or frames:
`Outlet` is where a cell reaches its owner.

The life of a cell:

    running ──done──► draining ──all notifications delivered──► completed ──result taken──► closed
       └──terminate──► terminating ──its process is gone──► closed
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Protocol

import msgspec
import trio
from msgspec import Raw, Struct

from codemode_protocol.values import (
    ContentItem,
    ExecuteRequest,
    LiveCell,
    MissingCell,
    Outcome,
    Result,
    RuntimeResponse,
    Terminated,
    ToolDefinition,
    ToolInvocation,
    Yielded,
)

from .runtimes import link
from .runtimes.output import LinkError
from .runtimes.pool import Frame, Runtime, RuntimeExit

if TYPE_CHECKING:
    from .session import CellSession

MAX_YIELD_TIME_MS = 10**12
"""Observation times above this, some thirty years, are taken for it: the clock's numbers stay finite."""

ITEM_OVERHEAD = 64
"""What an item costs in an answer besides its own characters, roughly, in bytes."""


class Call:
    """A tool call or a notification that the owner has been asked to make, until it is answered or cancelled."""

    __slots__ = ("cell", "handle", "sequence")

    def __init__(self, cell: Cell, sequence: int | None) -> None:
        self.cell = cell
        self.sequence = sequence
        """The call's number within its cell; None for a notification."""
        self.handle = 0
        """For the owner's use."""

    def resolve(self, result: Raw) -> None:
        """The tool gave back `result`, JSON text."""
        self.cell._answered(self, b"true", bytes(result))

    def reject(self, message: str) -> None:
        """The tool failed: the promise is rejected with `message`."""
        self.cell._answered(self, b"false", msgspec.json.encode(message))

    def delivered(self) -> None:
        """The notification arrived, or never will; the cell does not care which."""
        self.cell._answered(self, b"true", b"null")


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


class State(Enum):
    RUNNING = "running"
    DRAINING = "draining"
    TERMINATING = "terminating"
    COMPLETED = "completed"
    CLOSED = "closed"


class CellRequestError(Exception):
    """A request about a cell cannot be met; the message is for the caller."""


class _Done(Struct, forbid_unknown_fields=True):
    error: str | None
    stored: dict[str, str]


_done_decoder = msgspec.json.Decoder(_Done)


class _Observer:
    __slots__ = ("answer", "since")

    def __init__(self, answer: Callable[[RuntimeResponse], None]) -> None:
        self.answer = answer
        self.since = time.perf_counter_ns()


class Cell:
    """A script that runs, or has run and not yet been asked for its result."""

    def __init__(self, session: CellSession, cell_id: str, request: ExecuteRequest, runtime: Runtime) -> None:
        self.id = cell_id
        self.state = State.RUNNING
        self._session = session
        self._runtime = runtime
        self._call_id = request.tool_call_id
        self._tools: list[ToolDefinition] = request.enabled_tools
        self._items: list[ContentItem] = []
        self._size = 0
        self._flush_withheld = False
        self._observer: _Observer | None = None
        self._deadline = inf
        self._scope: trio.CancelScope | None = None
        self._calls: dict[Call, None] = {}
        self._notifications = 0
        self._done: _Done | None = None
        self._done_at = 0
        self._terminator: _Observer | None = None

    # ---------------------------------------------------------------------------------------- what the session asks

    def observe(self, answer: Callable[[RuntimeResponse], None], yield_time_ms: int) -> None:
        """Answer once: at the cell's end, at its next yield, or when `yield_time_ms` milliseconds are over.

        Raises CellRequestError while somebody else observes the cell.
        """
        if self._observer is not None:
            raise CellRequestError(f"exec cell {self.id} already has an active observer")
        self._observer = _Observer(answer)
        if self.state is State.COMPLETED:
            self._deliver()
        elif yield_time_ms == 0 and self.state is State.RUNNING:
            self._yield()
        else:
            self._set_deadline(trio.current_time() + min(yield_time_ms, MAX_YIELD_TIME_MS) / 1000)

    def observe_start(self, answer: Callable[[RuntimeResponse], None], yield_time_ms: int) -> None:
        """`observe` for whoever has just started the cell: with no time at all, the answer is that it goes on."""
        if yield_time_ms == 0:
            answer(Yielded(self.id, [], 0))
        else:
            self.observe(answer, yield_time_ms)

    @property
    def observed(self) -> bool:
        return self._observer is not None

    def forget_observer(self) -> None:
        """The observer has been cancelled; what it would have got stays for the next one."""
        self._observer = None
        self._set_deadline(inf)

    def terminate(self, answer: Callable[[RuntimeResponse], None] | None) -> None:
        """Stop the cell; answers when its process is gone.

        A cell that has ended already answers with its result. Raises CellRequestError when it is being terminated.
        """
        if self.state is State.TERMINATING:
            raise CellRequestError(f"exec cell {self.id} is already terminating")
        if answer is not None:
            self._terminator = _Observer(answer)
        if self.state is State.COMPLETED:
            if answer is not None:
                self._observer, self._terminator = self._terminator, None
                self._deliver()
            else:
                self._close()
            return
        ended = self.state is State.DRAINING
        self.state = State.TERMINATING
        self._set_deadline(inf)
        if ended:
            self._terminated()
        else:
            self._runtime.kill()

    # ------------------------------------------------------------------------------------------------- the one task

    async def run(self) -> None:
        """Listen to the runtime until the script is over or its process is gone."""
        runtime = self._runtime
        try:
            while True:
                with trio.CancelScope(deadline=self._deadline) as self._scope:
                    await runtime.wait_readable()
                self._scope = None
                if trio.current_time() >= self._deadline:
                    self._yield()
                frames = runtime.receive()
                if frames is None:
                    break
                for frame in frames:
                    if self.state is State.RUNNING:
                        self._heard(frame)
                self._session.turn_over()
                if self._done is not None:
                    return
                await self._session.room_to_talk()
            await runtime.exited.wait()
            assert runtime.exit is not None
            self._lost(runtime.exit)
        except LinkError as error:
            if self.state is State.RUNNING:
                self._session.runtime_failed(self, f"broke the link's rules: {error}", None)
        finally:
            runtime.close()
            self._session.turn_over()

    def _heard(self, frame: Frame) -> None:
        match frame.kind:
            case link.CALL:
                self._call(frame.payload)
            case link.NOTIFY:
                self._notify(frame.payload)
            case link.YIELD:
                self._collect(frame.end)
                if self._observer is not None:
                    self._answer_yielded()
            case link.FLUSH:
                self._flush(frame.end)
            case _:
                self._ended(frame)

    def _call(self, payload: bytes) -> None:
        try:
            sequence, index, text = payload.split(b" ", 2)
            tool = self._tools[int(index)]
            call = Call(self, int(sequence))
        except (ValueError, IndexError) as error:
            raise LinkError(f"a malformed tool call: {error}") from error
        self._calls[call] = None
        self._session.outlet.invoke_tool(
            call,
            ToolInvocation(self.id, f"tool-{call.sequence}", tool.tool_name, tool.kind, Raw(text)),
        )

    def _notify(self, payload: bytes) -> None:
        call = Call(self, None)
        self._calls[call] = None
        self._notifications += 1
        self._session.outlet.notify(call, self._call_id, payload.decode())

    def _answered(self, call: Call, verdict: bytes, text: bytes) -> None:
        if call not in self._calls:
            return
        del self._calls[call]
        if call.sequence is None:
            self._notifications -= 1
            if self._notifications == 0 and self.state is State.DRAINING:
                self._completed()
        elif self.state is State.RUNNING:
            self._runtime.send(link.SETTLE, b"[[%d,%s,%s]]" % (call.sequence, verdict, text))

    # ----------------------------------------------------------------------------------------------------- output

    def _collect(self, end: int) -> None:
        output = self._runtime.output
        before = output.position
        items = output.take(end)
        self._items += items
        self._size += output.position - before + len(items) * ITEM_OVERHEAD

    def _take_items(self) -> list[ContentItem]:
        items, self._items, self._size = self._items, [], 0
        if self._flush_withheld:
            self._flush_withheld = False
            self._runtime.send(link.FLUSHED)
        return items

    def _flush(self, end: int) -> None:
        """The output memory is full. While too much is buffered, the cell waits until somebody takes it."""
        self._collect(end)
        self._runtime.output.rewind()
        self._flush_withheld = True
        if self._size <= self._session.limits.output_bytes:
            self._flush_withheld = False
            self._runtime.send(link.FLUSHED)
        elif self._observer is not None:
            self._answer_yielded()

    def _yield(self) -> None:
        """Answer the observer with all that has been written up to this moment."""
        self._collect(self._runtime.output.written)
        self._answer_yielded()

    def _answer_yielded(self) -> None:
        observer = self._take_observer()
        observer.answer(Yielded(self.id, self._take_items(), time.perf_counter_ns() - observer.since))

    # ------------------------------------------------------------------------------------------------------ the end

    def _ended(self, frame: Frame) -> None:
        try:
            self._done = _done_decoder.decode(frame.payload)
        except msgspec.DecodeError as error:
            raise LinkError(f"a malformed end: {error}") from error
        self._collect(frame.end)
        self.state = State.DRAINING
        self._set_deadline(inf)
        if self._notifications == 0:
            self._completed()

    def _completed(self) -> None:
        assert self._done is not None
        self._cancel_calls()
        self._done_at = time.perf_counter_ns()
        self._session.store(self._done.stored)
        self.state = State.COMPLETED
        if self._observer is not None:
            self._deliver()

    def _deliver(self) -> None:
        assert self._done is not None
        observer = self._take_observer()
        now = time.perf_counter_ns()
        buffered = max(0, observer.since - self._done_at)
        observer.answer(Result(self.id, self._items, self._done.error, buffered, now - observer.since))
        self._close()

    def _lost(self, ending: RuntimeExit) -> None:
        """The process is gone and the script had not said that it was over."""
        if self.state is State.TERMINATING:
            self._collect(self._runtime.output.written)
            self._terminated()
        elif self.state is State.RUNNING:
            self._collect(self._runtime.output.written)
            self._session.runtime_failed(self, "its process ended", ending)

    def fail(self, error_text: str) -> None:
        """End the cell with an error that is not the script's own: it met a limit, or its runtime broke."""
        self._done = _Done(error_text, {})
        self.state = State.DRAINING
        self._set_deadline(inf)
        if self._notifications == 0:
            self._completed()

    def _terminated(self) -> None:
        self._cancel_calls()
        items, now = self._items, time.perf_counter_ns()
        for observer in (self._terminator, self._observer):
            if observer is not None:
                observer.answer(Terminated(self.id, items, now - observer.since))
        self._terminator = self._observer = None
        self._close()

    def _close(self) -> None:
        self.state = State.CLOSED
        self._items = []
        self._session.cell_closed(self)

    def _cancel_calls(self) -> None:
        """Newest first, as the reference does it."""
        for call in reversed(self._calls):
            self._session.outlet.cancel(call)
        self._calls.clear()

    def _take_observer(self) -> _Observer:
        observer = self._observer
        assert observer is not None
        self._observer = None
        self._set_deadline(inf)
        return observer

    def _set_deadline(self, deadline: float) -> None:
        self._deadline = deadline
        if self._scope is not None:
            self._scope.deadline = deadline


def live(response: RuntimeResponse) -> Outcome:
    return LiveCell(response)


def missing(cell_id: str) -> Outcome:
    """The outcome for a cell that is not there, or no more."""
    return MissingCell(Result(cell_id, [], f"exec cell {cell_id} not found", 0, 0))
