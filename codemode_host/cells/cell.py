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
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from math import inf
from typing import Protocol

import msgspec
import trio

from codemode_host.cells.answers import CellRequestError, Done, Observer, done_decoder
from codemode_host.cells.calls import Call, NestingError, Outlet, checked_json
from codemode_host.cells.output_buffer import MAX_ITEM_JSON_BYTES, OutputBuffer
from codemode_host.runtimes import link
from codemode_host.runtimes.host_side.output import ItemTooLargeError, LinkError
from codemode_host.runtimes.host_side.runtime import Frame, Runtime, RuntimeExit
from codemode_host.supervision import describe_ending, limit_met, memory_limit_text
from codemode_protocol.limits import ANSWERS_MET, MIB, NOTIFICATION_TOO_LARGE, Limits
from codemode_protocol.values import (
    ContentItem,
    ExecuteRequest,
    Result,
    RuntimeResponse,
    Terminated,
    ToolDefinition,
    ToolInvocation,
    Yielded,
)

MAX_YIELD_TIME_MS = 10**12
"""Observation times above this, some thirty years, are taken for it: the clock's numbers stay finite."""

ERROR_TEXT_LENGTH = 1024 * 1024
"""Characters of an error text; what is longer is cut, so that the answer fits in a frame."""

OUT_OF_MEMORY = "out of memory"
"""What the engine throws, as it is: no error object, which would take memory."""


class State(Enum):
    RUNNING = "running"
    DRAINING = "draining"
    TERMINATING = "terminating"
    COMPLETED = "completed"
    CLOSED = "closed"


class CellHome(Protocol):
    """The session of a cell, as the cell sees it."""

    outlet: Outlet

    @property
    def limits(self) -> Limits: ...

    def store(self, values: dict[str, str]) -> str | None:
        """Commit what a cell stored, JSON texts by key: all of it, or nothing and the reason why."""
        ...

    def cell_closed(self, cell: Cell) -> None:
        """Forget a cell, and report it closed."""
        ...

    def panic(self, cell: Cell, cause: str, evidence: tuple[str, ...]) -> None:
        """Report an engine panic. Comes back if that is the end of its cell alone."""
        ...

    def room_for_output(self, cell: Cell) -> int:
        """Return how much a cell whose output memory is full may hold and go on; it is told when that changes."""
        ...

    def output_changed(self, bytes_more: int) -> None:
        """Note that a cell holds so much more output, or less."""
        ...

    def turn_over(self) -> None:
        """Write what was queued: all has been said for now."""
        ...

    async def room_to_talk(self) -> None:
        """Wait while too much is queued for the client."""
        ...


class Cell:
    """A script that runs, or has run and not yet been asked for its result."""

    def __init__(self, session: CellHome, cell_id: str, request: ExecuteRequest, runtime: Runtime) -> None:
        self.id = cell_id
        self.state: State = State.RUNNING
        self.started_ns: int = time.perf_counter_ns()
        self.call_id: str = request.tool_call_id
        self._session = session
        self.runtime = runtime
        self._tools: list[ToolDefinition] = request.enabled_tools
        self._output = OutputBuffer(runtime.output)
        self._held_back = False
        self._observer: Observer | None = None
        self._deadline = inf
        self._scope: trio.CancelScope | None = None
        self._calls: dict[Call, None] = {}
        self._notifications = 0
        self._done: Done | None = None
        self.completed_ns: int = 0
        """When it was over, on the clock of `started_ns`; 0 before that."""
        self._terminator: Observer | None = None
        self._fate: str | None = None
        self._ended_outside = False
        self._wake = trio.Event()

    # ---------------------------------------------------------------------------------------- what the session asks

    def observe(self, answer: Callable[[RuntimeResponse], None], yield_time_ms: int) -> None:
        """Answer once: at the cell's end, at its next yield, or when `yield_time_ms` milliseconds are over.

        Raises CellRequestError while somebody else observes the cell.
        """
        if self._observer is not None:
            raise CellRequestError(f"exec cell {self.id} already has an active observer")
        self._observer = Observer(answer)
        if self.state is State.COMPLETED:
            self._deliver()
        elif (yield_time_ms == 0 or self._held_back) and self.state is State.RUNNING:
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

    @property
    def calls(self) -> Iterable[Call]:
        """Those that are not answered yet, oldest first."""
        return self._calls

    @property
    def notifications(self) -> int:
        """How many of them are notifications."""
        return self._notifications

    @property
    def held_back(self) -> bool:
        """It waits until somebody takes its output."""
        return self._held_back

    @property
    def output_bytes(self) -> int:
        """What the host holds of its output."""
        return self._output.held

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
            self._terminator = Observer(answer)
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
        self._wake.set()
        if ended:
            self._terminated()
        else:
            self.runtime.kill()

    def end(self) -> bool:
        """Stop the cell for somebody who is not its observer. Returns whether there was anything left to stop.

        Whoever observes it is told that it was terminated, and if nobody does, the next who asks: its output is kept
        for him. Of a cell that has ended already the result is dropped.
        """
        if self.state is State.COMPLETED:
            self._close()
            return False
        if self.state is State.DRAINING:
            self._cut_short()
        elif self.state is State.RUNNING and self._fate is None:
            self._ended_outside = True
            self._doom("ended from outside")
        return True

    # ------------------------------------------------------------------------------------------------- the one task

    async def run(self) -> None:
        """Listen to the runtime until the script is over or its process is gone."""
        runtime = self.runtime
        runtime.on_end = self._wake_up
        try:
            if await self._listen():
                return
            await runtime.exited.wait()
            assert runtime.exit is not None
            self._lost(runtime.exit)
        except LinkError as error:
            self._broken(f"a runtime broke the link's rules: {error}")
        finally:
            runtime.close()
            self._session.turn_over()

    async def _listen(self) -> bool:
        """Whether the script said that it was over, before its link ended."""
        frames: deque[Frame] = deque()
        while True:
            # One scope for as long as the observer has time, and not one for each wait: they are dear.
            with trio.CancelScope(deadline=self._deadline) as self._scope:
                return await self._hear(frames)
            if trio.current_time() >= self._deadline:
                self._set_deadline(inf)  # if the cell is doomed its observer is answered at its end, and not before
                self._yield()

    async def _hear(self, frames: deque[Frame]) -> bool:
        """Serve the link; `frames` are those that have come and wait. May be cancelled and called again."""
        runtime = self.runtime
        while True:
            while frames and not self._crowded:
                frame = frames.popleft()
                if self.state is State.RUNNING and self._fate is None:
                    self._heard(frame)
            self._session.turn_over()
            if self._done is not None:
                return True
            await self._session.room_to_talk()
            if frames and self._crowded:
                if runtime.exit is not None and runtime.exit.status != 0:
                    return False
                self._wake = trio.Event()
                await self._wake.wait()
                continue
            await runtime.wait_readable()
            received = runtime.receive()
            if received is None:
                return False
            frames.extend(received)

    @property
    def _crowded(self) -> bool:
        """No more calls for now: what the cell says waits until some of those that it made are answered."""
        return len(self._calls) >= self._session.limits.calls and self.state is State.RUNNING

    def _wake_up(self) -> None:
        self._wake.set()

    def _heard(self, frame: Frame) -> None:
        match frame.kind:
            case link.CALL:
                self._call(frame.payload)
            case link.NOTIFY:
                self._notify(frame.payload)
            case link.YIELD:
                if self._collect(frame.end) and self._observer is not None:
                    self._answer_yielded()
            case link.FLUSH:
                self._flush(frame.end)
            case _:
                self._ended(frame)

    def _call(self, payload: bytes) -> None:
        try:
            sequence, index, text = payload.split(b" ", 2)
            tool, number = self._tools[int(index)], int(sequence)
            call = Call(self, number, tool.name)
            self._calls[call] = None
            try:
                arguments = checked_json(text)
            except NestingError as error:
                call.reject(str(error))
                return
        except (ValueError, IndexError) as error:
            raise LinkError(f"a malformed tool call: {error}") from error
        invocation = ToolInvocation(self.id, f"tool-{number}", tool.tool_name, tool.kind, arguments)
        self._session.outlet.invoke_tool(call, invocation)

    def _notify(self, payload: bytes) -> None:
        try:
            text = payload.decode()
        except UnicodeDecodeError as error:
            raise LinkError(f"a malformed notification: {error}") from error
        if len(payload) > MAX_ITEM_JSON_BYTES // 6 and len(msgspec.json.encode(text)) > MAX_ITEM_JSON_BYTES:
            self._doom(NOTIFICATION_TOO_LARGE(limit=MAX_ITEM_JSON_BYTES))
            return
        call = Call(self, None)
        self._calls[call] = None
        self._notifications += 1
        self._session.outlet.notify(call, self.call_id, text)

    def answered(self, call: Call, verdict: bytes, text: bytes) -> None:
        """For `Call`: the answer, JSON text, unless the call is over already."""
        if call not in self._calls:
            return
        del self._calls[call]
        self._wake.set()
        if call.sequence is None:
            self._notifications -= 1
            if self._notifications == 0 and self.state is State.DRAINING:
                self._completed()
        elif self.state is State.RUNNING and self._fate is None:
            self.runtime.send(link.SETTLE, b"[[%d,%s,%s]]" % (call.sequence, verdict, text))
            limit = self._session.limits.answer_bytes
            if self.runtime.unread > limit:
                self._doom(ANSWERS_MET(limit=limit // MIB))

    # ----------------------------------------------------------------------------------------------------- output

    def _collect(self, end: int | None = None) -> bool:
        """Read what the cell wrote, up to `end` or to this moment. False when that was its end."""
        before = self._output.held
        try:
            self._output.collect(end)
            self._output.measure()
        except ItemTooLargeError as error:
            self._doom(str(error))
        self._session.output_changed(self._output.held - before)
        return self._fate is None

    def _take_items(self) -> list[ContentItem]:
        before = self._output.held
        items = self._output.take()
        if self._held_back:
            self._go_on()
        self._session.output_changed(self._output.held - before)
        return items

    def _flush(self, end: int) -> None:
        """The output memory is full. While too much is buffered, the cell waits until somebody takes it."""
        if self._collect(end):
            self._output.rewind()
            self._held_back = True
            if not self._output.full(self._session.room_for_output(self)):
                self._go_on()
                self._measure_ahead()
            elif self._observer is not None:
                self._answer_yielded()

    def _measure_ahead(self) -> None:
        try:
            self._output.measure_ahead()
        except ItemTooLargeError as error:
            self._doom(str(error))

    def _go_on(self) -> None:
        self._held_back = False
        self.runtime.send(link.FLUSHED)

    def room_again(self) -> None:
        """All cells together hold less output again."""
        if self._held_back and not self._output.full(self._session.room_for_output(self)):
            self._go_on()

    def _yield(self) -> None:
        """Answer the observer with all that has been written up to this moment."""
        try:
            if self._collect():
                self._answer_yielded()
        except LinkError as error:
            self._broken(f"a runtime broke the link's rules: {error}")

    def _answer_yielded(self) -> None:
        observer = self._take_observer()
        observer.answer(Yielded(self.id, self._take_items(), time.perf_counter_ns() - observer.since))

    # ------------------------------------------------------------------------------------------------------ the end

    def _ended(self, frame: Frame) -> None:
        try:
            done = done_decoder.decode(frame.payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise LinkError(f"a malformed end: {error}") from error
        if not self._collect(frame.end):
            return
        if done.error == OUT_OF_MEMORY:
            done.error = memory_limit_text(self._session.limits)
        elif done.error is not None and len(done.error) > ERROR_TEXT_LENGTH:
            cut = len(done.error) - ERROR_TEXT_LENGTH
            done.error = f"{done.error[:ERROR_TEXT_LENGTH]}… ({cut} more characters)"
        self._drain(done)

    def _drain(self, done: Done) -> None:
        self._done = done
        self.state = State.DRAINING
        self._set_deadline(inf)
        if self._notifications == 0:
            self._completed()

    def _completed(self) -> None:
        assert self._done is not None
        self._cancel_calls()
        self.completed_ns = time.perf_counter_ns()
        refusal = self._session.store(self._done.stored)
        if refusal is not None:
            self._done.error = refusal if self._done.error is None else f"{self._done.error}\n{refusal}"
        self.state = State.COMPLETED
        if self._observer is not None:
            self._deliver()

    def _cut_short(self) -> None:
        """Nobody here asked for it, but the cell is over: it has no result, only what it wrote."""
        self._cancel_calls()
        self._set_deadline(inf)
        self._done, self.completed_ns = None, time.perf_counter_ns()
        self.state = State.COMPLETED
        if self._observer is not None:
            self._deliver()

    def _deliver(self) -> None:
        observer = self._take_observer()
        items, now = self._take_items(), time.perf_counter_ns()
        if self._done is None:
            observer.answer(Terminated(self.id, items, now - observer.since))
        else:
            buffered = max(0, observer.since - self.completed_ns)
            observer.answer(Result(self.id, items, self._done.error, buffered, now - observer.since))
        self._close()

    def _lost(self, ending: RuntimeExit) -> None:
        """The process is gone and the script had not said that it was over."""
        self._collect()
        if self.state is State.TERMINATING:
            self._terminated()
        elif self._ended_outside:
            self._cut_short()
        elif self.state is State.RUNNING:
            text = self._fate or limit_met(ending, self._session.limits, self.runtime.own_words())
            if text is not None:
                self._drain(Done(text, {}))
            else:
                self._broken(f"a runtime ended: {describe_ending(ending)}")

    def _doom(self, error_text: str) -> None:
        """The cell met a limit that the host sets: stop it, and fail it once its process is gone."""
        self._fate = error_text
        self.runtime.kill()

    def _broken(self, cause: str) -> None:
        """An engine panic. Comes back only where that is the end of this cell alone."""
        self.runtime.kill()
        self._session.panic(self, cause, self.runtime.evidence())  # the host's policy raises
        if self.state is State.TERMINATING:
            self._terminated()
        elif self.state is State.RUNNING:
            self._drain(Done("engine panic: the cell's runtime is lost", {}))

    def _terminated(self) -> None:
        self._cancel_calls()
        items, now = self._take_items(), time.perf_counter_ns()
        for observer in (self._terminator, self._observer):
            if observer is not None:
                observer.answer(Terminated(self.id, items, now - observer.since))
        self._terminator = self._observer = None
        self._close()

    def _close(self) -> None:
        self.state = State.CLOSED
        self._take_items()
        self._session.cell_closed(self)

    def _cancel_calls(self) -> None:
        """Newest first, as the reference does it."""
        for call in reversed(self._calls):
            self._session.outlet.cancel(call)
        self._calls.clear()

    def _take_observer(self) -> Observer:
        observer = self._observer
        assert observer is not None
        self._observer = None
        self._set_deadline(inf)
        return observer

    def _set_deadline(self, deadline: float) -> None:
        self._deadline = deadline
        if self._scope is not None:
            self._scope.deadline = deadline
