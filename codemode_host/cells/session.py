"""A session: its cells, from the request that starts one to its end, and the numbers that name them.

Nothing in here knows of connections or frames: `Outlet` is the way out, and the methods of `CellSession` are what a
request comes down to. A cell is an actor. `Cell.run` is its only task; everything else is a synchronous method that
changes the state (`cell_states`) and says what is to be said, so that no invariant is ever broken across an await.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import Final

import msgspec
import trio

from codemode_host.cells.answers import CellRequestError, Done, PendingAnswer, done_decoder, live, missing
from codemode_host.cells.calls import Call, Outlet, PendingCalls, SessionCalls
from codemode_host.cells.cell_states import TRANSITIONS, CellEvent, CellState
from codemode_host.cells.owner import SessionOwner
from codemode_host.cells.stored_values import StoredValues
from codemode_host.runtimes import link
from codemode_host.runtimes.host_side.output import ItemTooLargeError, LinkError, OutputBuffer, OutputShare
from codemode_host.runtimes.host_side.runtimes import Frame, Runtime, RuntimeExit
from codemode_host.supervision import HostFailure, describe_ending, limit_met, memory_limit_text
from codemode_protocol.exit_status import HostExitStatus
from codemode_protocol.ids import CellIds
from codemode_protocol.limits import ANSWERS_MET, HOST_FULL, MIB, PROCESS_REFUSED, SESSION_FULL, SOURCE_TOO_LARGE
from codemode_protocol.tools import ToolNameConflictError, javascript_tools
from codemode_protocol.values import (
    ContentItem,
    ExecuteRequest,
    Outcome,
    Result,
    RuntimeResponse,
    Terminated,
    Yielded,
    observation_ms,
)

MAX_YIELD_TIME_MS = 10**12
"""Observation times above this, some thirty years, are taken for it: the clock's numbers stay finite."""

OUT_OF_MEMORY = "out of memory"
"""What the engine throws, as it is: no error object, which would take memory."""

MANY_CALLS: Final = 64
"""A cell with so many calls under way makes more only as fast as its client reads them, and if its session has room."""

CALLING_PART: Final = 4
"""Its slices are shorter by this: each call is work for the client, too, behind which others wait for their answers."""

ENGINE_PANIC: Final = "engine panic: the cell's runtime is lost"
"""The error text of a cell whose runtime broke, where that is the end of this cell alone."""

SCRIPT_OVER: Final = (CellState.DELIVERING, CellState.COMPLETED, CellState.CLOSED)


class CellSession:
    """One session's cells and stored values."""

    def __init__(self, session_id: str, owner: SessionOwner, outlet: Outlet) -> None:
        self.id = session_id
        self.owner = owner
        self.outlet = outlet
        self.cells: dict[str, Cell] = {}
        self.stored: StoredValues = StoredValues(owner.limits)
        self.calls: SessionCalls = SessionCalls(owner.limits.calls_per_session)
        self.output_share: OutputShare = owner.output_budget.share()
        self._cell_ids = CellIds()
        self._when_empty: Callable[[], None] | None = None

    def execute(
        self, request: ExecuteRequest, started: Callable[[str], None], answer: Callable[[RuntimeResponse], None]
    ) -> None:
        """Start a cell.

        Args:
            request: Its source, its tools, and how long the first answer may take.
            started: Called at once, with the cell's id.
            answer: Called once, with the first answer about the cell, perhaps at once.

        Raises:
            CellRequestError: The request cannot be met. No cell id is used up then.
            PoolClosedError: Nothing can be run any more.
        """
        source = self._checked_source(request)
        try:
            tools = javascript_tools(request.enabled_tools)
            runtime = self.owner.pool.take()
            cell_id = self._cell_ids.allocate()
        except ToolNameConflictError as error:
            raise CellRequestError(str(error)) from error
        except OSError as error:
            raise CellRequestError(PROCESS_REFUSED(reason=error.strerror)) from error
        runtime.start(source, tools, self.stored.as_json)
        cell = self.cells[cell_id] = Cell(self, cell_id, request, runtime)
        self.owner.cells += 1
        self.owner.nursery.start_soon(self._run, cell)
        started(cell_id)
        if request.yield_time_ms == 0:
            answer(Yielded(cell_id, [], 0))
        else:
            cell.observe(answer, request.yield_time_ms)

    def _checked_source(self, request: ExecuteRequest) -> bytes:
        limits = self.owner.limits
        source = request.source.encode()
        if len(source) > limits.source_bytes:
            raise CellRequestError(SOURCE_TOO_LARGE(size=len(source), limit=limits.source_bytes // MIB))
        if len(self.cells) >= limits.cells_per_session:
            remedy = "terminate some, or take the results of those that ended"
            raise CellRequestError(SESSION_FULL(session=self.id, limit=limits.cells_per_session, remedy=remedy))
        if self.owner.cells >= limits.cells:
            raise CellRequestError(HOST_FULL(limit=limits.cells))
        return source

    async def _run(self, cell: Cell) -> None:
        """Run a cell, and have spare runtimes forked when that delays nothing: as soon as it waits, or is over."""
        pool = self.owner.pool
        if not pool.has_spares:
            pool.replenish()
        await cell.run()
        pool.replenish()

    def wait(self, cell_id: str, yield_time_ms: int, answer: Callable[[Outcome], None]) -> Cell | None:
        """Observe a cell; return it, or None when it is missing and `answer` has been told so."""
        cell = self.cells.get(cell_id)
        if cell is None or cell.state is CellState.TERMINATING:
            answer(missing(cell_id))
            return None
        cell.observe(lambda response: answer(live(response)), yield_time_ms)
        return cell

    def terminate(self, cell_id: str, answer: Callable[[Outcome], None]) -> None:
        """Stop a cell; `answer` is called when it has ended."""
        cell = self.cells.get(cell_id)
        if cell is None:
            answer(missing(cell_id))
        else:
            cell.terminate(lambda response: answer(live(response)))

    def shutdown(self, when_closed: Callable[[], None]) -> None:
        """Stop every cell; `when_closed` is called once when the last of them has closed, perhaps at once."""
        self._when_empty = when_closed
        for cell in list(self.cells.values()):
            if cell.state is not CellState.TERMINATING:
                cell.terminate(None)
        self._check_empty()

    def cell_closed(self, cell: Cell) -> None:
        """Forget a cell, and report it closed."""
        del self.cells[cell.id]
        self.outlet.cell_closed(cell.id)
        self.owner.cell_closed()
        self._check_empty()

    def _check_empty(self) -> None:
        if not self.cells and self._when_empty is not None:
            when_empty, self._when_empty = self._when_empty, None
            when_empty()


class Cell:
    """A script that runs, or has run and whose result has not been taken yet."""

    def __init__(self, session: CellSession, cell_id: str, request: ExecuteRequest, runtime: Runtime) -> None:
        self.id = cell_id
        self.state: CellState = CellState.RUNNING
        self.runtime = runtime
        self.calls: PendingCalls = PendingCalls(
            self, request.enabled_tools, request.tool_call_id, session.outlet, session.calls
        )
        self.output: OutputBuffer = OutputBuffer(runtime.output, session.output_share, self._go_on_if_room)
        self.output_full: bool = False
        """It waits until its output is taken."""
        self.started_ns: int = time.perf_counter_ns()
        self.completed_ns: int = 0
        """When it was over, on the clock of `started_ns`; 0 before that."""
        self._session = session
        self._limits = session.owner.limits
        self._observer: PendingAnswer | None = None
        self._terminator: PendingAnswer | None = None
        self._deadline = inf
        self._scope: trio.CancelScope | None = None
        self._limit_text = ""
        """Of the limit that was met."""
        self._done: Done | None = None
        """The script's end, once it is known; None also when it was ended from outside."""
        self._wake = trio.Event()

    def _move(self, event: CellEvent) -> None:
        self.state = TRANSITIONS[self.state][event]

    # ---------------------------------------------------------------------------------------- what the session asks

    def observe(self, answer: Callable[[RuntimeResponse], None], yield_time_ms: int | None) -> None:
        """Answer once: at the cell's end, at its next yield, or when the time for `yield_time_ms` is over.

        Raises:
            CellRequestError: The cell has an observer.
        """
        if self._observer is not None:
            raise CellRequestError(f"exec cell {self.id} already has an active observer")
        self._observer = PendingAnswer(answer)
        if self.state is CellState.COMPLETED:
            self._answer_result()
        elif (yield_time_ms == 0 or self.output_full) and self.state is CellState.RUNNING:
            self._yield_now()
        else:
            self._set_deadline(trio.current_time() + min(observation_ms(yield_time_ms), MAX_YIELD_TIME_MS) / 1000)

    @property
    def observed(self) -> bool:
        """Whether a request waits for an answer about it."""
        return self._observer is not None

    def forget_observer(self) -> None:
        """Drop the observer, who was cancelled; what it would have got stays for the next one."""
        self._observer = None
        self._set_deadline(inf)

    def terminate(self, answer: Callable[[RuntimeResponse], None] | None) -> None:
        """Stop the cell; answer when its process is gone. A cell that has ended already answers with its result.

        Raises:
            CellRequestError: It is being terminated.
        """
        if self.state is CellState.TERMINATING:
            raise CellRequestError(f"exec cell {self.id} is already terminating")
        if self.state is CellState.COMPLETED:
            if answer is None:
                self._close(CellEvent.TERMINATE)
            else:
                self._observer = PendingAnswer(answer)
                self._answer_result()
            return
        if answer is not None:
            self._terminator = PendingAnswer(answer)
        if self.state is CellState.DELIVERING:
            self._answer_terminated(CellEvent.TERMINATE)
        else:
            self._kill(CellEvent.TERMINATE)

    def end(self) -> bool:
        """Stop the cell from outside, and return whether there was anything left to stop.

        Its observer is told that it was terminated; if it has none, the next one is, and gets what it wrote. Of a cell
        that has ended already the result is dropped.
        """
        if self.state is CellState.COMPLETED:
            self._close(CellEvent.END)
            return False
        if self.state is CellState.DELIVERING:
            self._complete(CellEvent.END, None)
        else:
            self._kill(CellEvent.END)
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
            self._process_ended(runtime.exit)
        except LinkError as error:
            self._panic(f"a runtime broke the link's rules: {error}")
        finally:
            runtime.close()
            self._session.outlet.flush()

    async def _listen(self) -> bool:
        """Return whether the script said that it was over before its link ended."""
        while True:
            # One scope for as long as the observer has time, and not one for each wait: they are expensive.
            with trio.CancelScope(deadline=self._deadline) as self._scope:
                return await self._take_frames()
            if trio.current_time() >= self._deadline:
                self._set_deadline(inf)
                if self.state is CellState.RUNNING:  # else its observer is answered at its end
                    self._yield_now()

    async def _take_frames(self) -> bool:
        """Serve the link, a slice at a turn. May be cancelled and called again."""
        runtime, outlet, busy = self.runtime, self._session.outlet, self._session.owner.busy
        while True:
            more = self._take_slice(busy.slice_seconds / (CALLING_PART if self._makes_many_calls else 1))
            outlet.flush()
            if self.state in SCRIPT_OVER:
                return True
            await outlet.room(calling=self._makes_many_calls)
            if more:
                with busy:
                    await trio.lowlevel.checkpoint()
                continue
            if self._too_many_calls:
                if runtime.exit is not None and runtime.exit.status != 0:
                    return False
                self._wake = trio.Event()
                if self._session.calls.full:
                    self._session.calls.tell(self._wake_up)
                await self._wake.wait()
                continue
            await runtime.wait_readable()
            if not runtime.receive():
                return False

    def _take_slice(self, seconds: float) -> bool:
        """Take frames that have arrived, for so long; return whether there may be more."""
        end = time.perf_counter() + seconds
        while not self._too_many_calls:
            frame = self.runtime.next_frame()
            if frame is None:
                return False
            if self.state is CellState.RUNNING:
                self._take_frame(frame)
            if time.perf_counter() >= end:
                return True
        return False

    @property
    def _too_many_calls(self) -> bool:
        """What the cell says waits until some of the calls that it made are answered, or many that its session made."""
        pending = len(self.calls.pending)
        return self.state is CellState.RUNNING and (
            pending >= self._limits.calls or (pending >= MANY_CALLS and self._session.calls.full)
        )

    @property
    def _makes_many_calls(self) -> bool:
        return len(self.calls.pending) >= MANY_CALLS

    def _wake_up(self) -> None:
        self._wake.set()

    def _take_frame(self, frame: Frame) -> None:
        try:
            match frame.kind:
                case link.CALL:
                    self.calls.invoke_tool(frame.payload)
                case link.NOTIFY:
                    self.calls.notify(frame.payload)
                case link.YIELD:
                    self.output.collect(frame.end)
                    if self._observer is not None:
                        self._answer_yielded()
                case link.FLUSH:
                    self._empty_output_memory(frame.end)
                case _:
                    self._script_over(frame)
        except ItemTooLargeError as error:
            self._meet_limit(str(error))

    def answered(self, call: Call, verdict: bytes, text: bytes) -> None:
        """For `Call`: the answer, JSON text, unless the call is over already."""
        if not self.calls.finish(call):
            return
        self._wake.set()
        if call.sequence is None:
            if self.state is CellState.DELIVERING and self.calls.notifications == 0:
                self._complete(CellEvent.DELIVERED, self._done)
        elif self.state is CellState.RUNNING:
            self.runtime.send(link.SETTLE, b"[[%d,%s,%s]]" % (call.sequence, verdict, text))
            limit = self._limits.answer_bytes
            if self.runtime.unread > limit:
                self._meet_limit(ANSWERS_MET(limit=limit // MIB))

    # ----------------------------------------------------------------------------------------------------- output

    def _empty_output_memory(self, end: int) -> None:
        """Read the output memory, which is full. While too much is buffered, the cell waits until that is taken."""
        self.output.collect(end)
        self.output.rewind()
        self.output_full = True
        if not self.output.full:
            self._go_on()
            self.output.measure_ahead()
        elif self._observer is not None:
            self._answer_yielded()

    def _go_on(self) -> None:
        self.output_full = False
        self.runtime.send(link.FLUSHED)

    def _go_on_if_room(self) -> None:
        if self.output_full and not self.output.full:
            self._go_on()

    def _take_items(self) -> list[ContentItem]:
        items = self.output.take()
        if self.output_full:
            self._go_on()
        return items

    def _yield_now(self) -> None:
        """Answer the observer with all that has been written up to this moment."""
        try:
            self.output.collect()
            self._answer_yielded()
        except ItemTooLargeError as error:
            self._meet_limit(str(error))
        except LinkError as error:
            self._panic(f"a runtime broke the link's rules: {error}")

    # ------------------------------------------------------------------------------------------------------ the end

    def _script_over(self, frame: Frame) -> None:
        try:
            done = done_decoder.decode(frame.payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise LinkError(f"a malformed end: {error}") from error
        self.output.collect(frame.end)
        if done.error == OUT_OF_MEMORY:
            done.error = memory_limit_text(self._limits)
        elif done.error is not None and len(done.error) > link.MAX_ERROR_TEXT + 256:
            raise LinkError(f"an error text of {len(done.error)} characters")
        self._deliver(CellEvent.SCRIPT_OVER, done)

    def _meet_limit(self, error_text: str) -> None:
        """Kill a cell that met a limit which the host sets, to fail it once its process is gone. The first counts."""
        self._limit_text = self._limit_text or error_text
        self._kill(CellEvent.LIMIT_MET)

    def _kill(self, event: CellEvent) -> None:
        self._move(event)
        if self.state is CellState.TERMINATING:
            self._set_deadline(inf)
        self._wake.set()
        self.runtime.kill()

    def _process_ended(self, ending: RuntimeExit) -> None:
        """Find out what it means that the process is gone and the script had not said that it was over."""
        if self.state in SCRIPT_OVER:
            return  # a panic, seen when its output was asked for
        try:
            self.output.collect()
        except ItemTooLargeError as error:
            self._meet_limit(str(error))
        match self.state:
            case CellState.TERMINATING:
                self._answer_terminated(CellEvent.PROCESS_ENDED)
            case CellState.STOPPING:
                self._complete(CellEvent.PROCESS_ENDED, None)
            case CellState.FAILING:
                self._deliver(CellEvent.PROCESS_ENDED, Done(self._limit_text, {}))
            case CellState.RUNNING if ending.zygote_lost:  # which has been reported
                self._deliver(CellEvent.PANIC, Done(ENGINE_PANIC, {}))
            case CellState.RUNNING:
                text = limit_met(ending, self._limits)
                if text is not None:
                    self._deliver(CellEvent.PROCESS_ENDED, Done(text, {}))
                else:
                    self._panic(f"a runtime ended: {describe_ending(ending)}")

    def _panic(self, cause: str) -> None:
        """Report an engine panic. Returns only where that is the end of this cell alone."""
        if self.state in SCRIPT_OVER:
            return
        self.runtime.kill()
        evidence = self.runtime.evidence()
        self._session.owner.failed(  # a host's raises
            HostFailure(HostExitStatus.ENGINE_PANIC, "engine panic", cause, self._session.id, self.id, evidence)
        )
        if self.state is CellState.TERMINATING:
            self._answer_terminated(CellEvent.PANIC)
        else:
            self._deliver(CellEvent.PANIC, Done(ENGINE_PANIC, {}))

    def _deliver(self, event: CellEvent, done: Done) -> None:
        """Keep the result until all notifications are delivered."""
        self._done = done
        self._move(event)
        self._set_deadline(inf)
        if self.calls.notifications == 0:
            self._complete(CellEvent.DELIVERED, done)

    def _complete(self, event: CellEvent, done: Done | None) -> None:
        """Have the result taken, or if the cell was ended from outside and has none, what it wrote."""
        if self.calls.pending:
            self.calls.cancel()
        self._done, self.completed_ns = done, time.perf_counter_ns()
        if done is not None and done.stored:
            refusal = self._session.stored.commit(done.stored)
            if refusal is not None:
                done.error = refusal if done.error is None else f"{done.error}\n{refusal}"
        self._move(event)
        self._set_deadline(inf)
        if self._observer is not None:
            self._answer_result()

    def _close(self, event: CellEvent) -> None:
        self._move(event)
        self._take_items()
        self._session.cell_closed(self)

    # -------------------------------------------------------------------------------------------------- the answers

    def _answer_yielded(self) -> None:
        observer = self._take_observer()
        observer.answer(Yielded(self.id, self._take_items(), time.perf_counter_ns() - observer.since))

    def _answer_result(self) -> None:
        observer = self._take_observer()
        items, now = self._take_items(), time.perf_counter_ns()
        if self._done is None:
            observer.answer(Terminated(self.id, items, now - observer.since))
        else:
            buffered = max(0, observer.since - self.completed_ns)
            observer.answer(Result(self.id, items, self._done.error, buffered, now - observer.since))
        self._close(CellEvent.TAKEN)

    def _answer_terminated(self, event: CellEvent) -> None:
        self.calls.cancel()
        items, now = self._take_items(), time.perf_counter_ns()
        for pending in (self._terminator, self._observer):
            if pending is not None:
                pending.answer(Terminated(self.id, items, now - pending.since))
        self._terminator = self._observer = None
        self._close(event)

    def _take_observer(self) -> PendingAnswer:
        observer = self._observer
        assert observer is not None
        self._observer = None
        self._set_deadline(inf)
        return observer

    def _set_deadline(self, deadline: float) -> None:
        self._deadline = deadline
        if self._scope is not None:
            self._scope.deadline = deadline
