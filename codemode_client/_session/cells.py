"""One cell of a host: the execute that starts it, its observations, and the answers kept for the next caller.

A request is registered in the same step as what takes its answer over if its caller is cancelled, so every answer has
an owner at every moment. docs/architecture.md walks an execute through this module.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import Struct, field

from codemode_client._loops.interface import Loop, protect_from_interrupt
from codemode_client._loops.slots import Slot
from codemode_client._observability import events
from codemode_client._session.cell_ids import public_cell_id, publish_outcome
from codemode_client.counters import CellEnd, Tally
from codemode_protocol.errors import CodeModeError, RequestFailedError
from codemode_protocol.limits import limit_named_in
from codemode_protocol.messages import (
    Execute,
    ExecutionStarted,
    Failure,
    InitialResponse,
    OperationValue,
    Request,
    Success,
    Terminate,
    Wait,
    WaitCompleted,
)
from codemode_protocol.session import Delegate
from codemode_protocol.values import (
    ExecuteRequest,
    LiveCell,
    Outcome,
    Result,
    RuntimeResponse,
    Terminated,
    WaitRequest,
    Yielded,
)

if TYPE_CHECKING:
    from codemode_client._observability.telemetry import CellSpan

Answer = Success[OperationValue] | Failure

_NO_LABELS = events.CellLabels("", 0, None, "")


class Operation(Protocol):
    """A request under way, which takes its answer."""

    answered_twice: bool
    """True if one more answer comes after this one: an execute's initial response."""

    def answer(self, result: Answer) -> None:
        """Take the host's answer."""

    def lose(self) -> None:
        """Take the loss of the host in place of the answer."""


class Outlet(Protocol):
    """The part of a host connection that cells use: it sends their requests."""

    def request(self, request: Request, operation: Operation) -> int:
        """Send a request whose answer goes to `operation`, and return its id."""

    def cancel(self, request_id: int) -> None:
        """Ask the host to cancel a request. It still answers."""

    def cell_is_live(self, session_id: str, host_id: str) -> bool:
        """Return whether the host has not closed a cell yet."""

    @property
    def full(self) -> bool:
        """Whether so much is queued for the host that no more work should be started."""

    async def room(self, *, ahead: bool = False) -> None:
        """Wait while it is `full`."""


class Home(Protocol):
    """The part of a `HostSession` that its cells use."""

    session_id: str
    generation: int
    loop: Loop
    outlet: Outlet
    delegate: Delegate
    labels: events.SessionLabels
    context: Context
    tally: Tally
    cells: dict[str, Cell]
    unreported: int
    running_calls: int
    over: bool

    @property
    def lost(self) -> bool: ...

    @property
    def end_of_unfinished_cells(self) -> CellEnd: ...

    def error(self) -> CodeModeError: ...

    async def settled(self) -> None: ...

    def close_if_reported(self) -> None: ...


class Revocable(Protocol):
    """A delegate's call that runs for a cell."""

    def revoke(self) -> None:
        """Cancel the call and drop its answer."""


class Cell(Struct, eq=False):
    """The state of one cell, kept until the cell is closed and none of its output waits for a caller."""

    home: Home
    host_id: str
    span: CellSpan | None = None
    host_closed: bool = False
    """Its host has closed it or is lost."""
    calls: set[Revocable] = field(default_factory=set)
    abandoned: set[Observation] = field(default_factory=set)
    """Observations whose callers were cancelled and whose answers are still to come."""
    kept: dict[Observation, RuntimeResponse] = field(default_factory=dict)
    """Answers that reached no caller, oldest first, for the next wait."""
    ownerless: bool = False
    """No caller has or will have the cell's id: its output is dropped."""
    end: CellEnd | None = None
    limit: str | None = None
    """The name of the limit that ended it."""
    public_id: str = ""
    labels: events.CellLabels = _NO_LABELS
    _terminations: set[object] = field(default_factory=set)
    """The `Terminated` answers that reached callers. Another one would repeat the content."""
    _settled: Slot[None] | None = None

    def __post_init__(self) -> None:
        generation = self.home.generation
        self.public_id = self.host_id if generation == 1 else public_cell_id(generation, self.host_id)
        self.labels = events.CellLabels(*self.home.labels, self.public_id)

    # ------------------------------------------------------------------------------------------------ observations

    def observed(self, response: RuntimeResponse) -> None:
        """Count an answer's output and note whether it ends the cell; the first end counts."""
        self.home.tally.output_items += len(response.content_items)
        if self.end is not None:
            return
        if isinstance(response, Result):
            if response.error_text is None:
                self.end = "completed"
            else:
                self.limit = limit_named_in(response.error_text)
                self.end = "failed" if self.limit is None else "limited"
        elif isinstance(response, Terminated):
            self.end = "terminated"

    def abandon(self, observation: Observation) -> None:
        """Take over an observation whose last caller was cancelled before it had the answer."""
        if observation.done:
            self._put_back(observation)
        else:
            self.abandoned.add(observation)

    def settle(self, observation: Observation, response: RuntimeResponse | None) -> None:
        """Note that an observation has its answer; keep the answer if no caller waits for it."""
        if observation not in self.abandoned:
            if isinstance(response, Terminated) and observation.has_waiters:
                self._terminations.add(observation)
            return
        self.abandoned.discard(observation)
        if response is not None and not self._is_repeated(response) and not self.ownerless:
            self.kept[observation] = response
        if self._settled is not None:
            self._settled.resolve(None)
        self.forget_if_over()

    def take_back(self, observation: Observation) -> None:
        """Keep an answer that was delivered to a caller but lost to an exception there."""
        if isinstance(observation.response, Terminated) and self._terminations:
            self._terminations.pop()
        self._put_back(observation)

    def _put_back(self, observation: Observation) -> None:
        """Keep an answer whose last caller was woken with it but cancelled before it ran."""
        response = observation.response
        if response is None:
            return
        self._terminations.discard(observation)
        if not self.ownerless and not self.home.lost and not self._is_repeated(response):
            self.kept = {observation: response, **self.kept}
            self.home.cells[self.host_id] = self

    def _is_repeated(self, response: RuntimeResponse) -> bool:
        return isinstance(response, Terminated) and (
            bool(self._terminations) or any(isinstance(kept, Terminated) for kept in self.kept.values())
        )

    def reclaim(self, observation: Observation) -> None:
        """Note that an abandoned or kept answer has reached a caller after all."""
        self.abandoned.discard(observation)
        self.kept.pop(observation, None)
        self.forget_if_over()

    async def settled(self, seconds: float) -> None:
        """Wait until an abandoned observation has its answer, for at most `seconds`."""
        if self._settled is None or self._settled.done:
            self._settled = Slot(self.home.loop)
        await self._settled.wait(seconds)

    def take_kept(self) -> RuntimeResponse | None:
        """Take the kept answers, merged into one response; None if there are none."""
        if not self.kept:
            return None
        responses = list(self.kept.values())
        self.kept.clear()
        if isinstance(responses[-1], Terminated):
            self._terminations.add(object())
        self.forget_if_over()
        return merge(responses)

    def with_kept(self, outcome: Outcome) -> Outcome:
        """Return a terminate's outcome merged with the answers kept before it."""
        kept = self.take_kept()
        if kept is None:
            return outcome
        if isinstance(outcome, LiveCell) and isinstance(kept, Yielded):
            return LiveCell(merge([kept, outcome.response]))
        if isinstance(outcome, LiveCell):  # both are the same end with the same content
            return outcome
        return LiveCell(kept)

    # ----------------------------------------------------------------------------------------------------- the end

    def give_up(self) -> None:
        """Drop the cell's output, and terminate it if it still runs: no caller has its id."""
        home = self.home
        self.ownerless = True
        self.kept.clear()
        if self.host_closed:
            self.forget_if_over()
        elif home.outlet.cell_is_live(home.session_id, self.host_id):
            # No caller waits for this observation; how the cell ended is still counted.
            home.outlet.request(Terminate(home.session_id, self.host_id), Observation(home, self))
            home.tally.cells_abandoned += 1
            events.cell_abandoned(self.labels)
            if self.span is not None:
                self.span.abandoned()

    def close(self) -> None:
        """End the cell's calls, then report it closed. Called when its host has closed it or is lost. Idempotent."""
        if self.host_closed:
            return
        self.host_closed = True
        if self.calls:
            for call in [*self.calls]:
                call.revoke()
        else:
            self._report()

    def call_ended(self, call: Revocable) -> None:
        """Remove a delegate's call that has ended. The last one of a closed cell reports the cell."""
        self.calls.discard(call)
        if self.host_closed and not self.calls:
            self._report()

    def _report(self) -> None:
        home = self.home
        end = self.end if self.end is not None else home.end_of_unfinished_cells
        home.tally.cell_ends[end] += 1
        if self.limit is not None:
            home.tally.count_limit(self.limit)
            events.cell_limited(self.labels, self.limit)
        if events.cell_log.isEnabledFor(logging.DEBUG):
            events.cell_over(self.labels, end)
        if self.span is not None:
            self.span.end(end, self.limit)
        try:
            home.delegate.cell_closed(self.public_id)
        except Exception as error:  # noqa: BLE001 the delegate's own affair
            events.cell_closed_failed(self.labels, error)
        home.unreported -= 1
        if home.over:
            home.close_if_reported()
        self.forget_if_over()

    def forget_if_over(self) -> None:
        """Forget a closed cell once none of its output waits for a caller."""
        if self.host_closed and not self.abandoned and not self.kept:
            self.home.cells.pop(self.host_id, None)


def merge(responses: list[RuntimeResponse]) -> RuntimeResponse:
    """Return the last of a cell's successive responses with the content of all of them."""
    last = responses[-1]
    if len(responses) == 1:
        return last
    return msgspec.structs.replace(last, content_items=[item for one in responses for item in one.content_items])


class Observation(Slot[Outcome]):
    """A request under way whose answer carries a cell's output: a wait, a terminate, or an execute's second answer.

    `cell` is None for a cell that the client does not know; the host will say that it is missing.
    """

    __slots__ = ("answered_twice", "cell", "home")

    def __init__(self, home: Home, cell: Cell | None) -> None:
        super().__init__(home.loop)
        self.answered_twice: bool = False
        self.home: Home = home
        self.cell: Cell | None = cell

    @property
    def response(self) -> RuntimeResponse | None:
        """The answer about a live cell; None for an error, and while there is no answer."""
        outcome = self._value
        return outcome.response if isinstance(outcome, LiveCell) else None

    def answer(self, result: Answer) -> None:
        if isinstance(result, Failure):
            self.refuse(result.message)
        else:
            assert isinstance(result.value, WaitCompleted)
            self.observe(result.value.outcome.outcome)

    def lose(self) -> None:
        self._fail(self.home.error)

    def refuse(self, message: str) -> None:
        """Take an error from the host as the answer."""
        self._fail(lambda: RequestFailedError(message))

    def _fail(self, make_error: Callable[[], Exception]) -> None:
        self.fail(make_error)
        if self.cell is not None:
            self.cell.settle(self, None)

    def observe(self, outcome: Outcome) -> None:
        """Take an outcome from the host as the answer."""
        if self.home.generation != 1:
            outcome = publish_outcome(outcome, self.home.generation)
        cell = self.cell
        if cell is None:
            self.resolve(outcome)
            return
        response = outcome.response if isinstance(outcome, LiveCell) else None
        if response is not None:
            cell.observed(response)
        self.resolve(outcome)
        cell.settle(self, response)


class StartedCell:
    """A cell that was started on a host.

    Attributes:
        cell_id: The public id, for `wait` and `terminate`.
    """

    __slots__ = ("_cell", "_initial", "cell_id")

    def __init__(self, cell: Cell, initial: Observation) -> None:
        self._cell = cell
        self._initial = initial
        self.cell_id: str = cell.public_id

    @protect_from_interrupt
    async def initial_response(self) -> RuntimeResponse:
        """Wait for the first answer about the cell; every call returns the same answer.

        If the caller is cancelled the answer is kept for the next `initial_response` or wait.

        Raises:
            RequestFailedError: The host answered with an error.
            HostLostError: The host was lost before it answered.
        """
        outcome = await self._initial.get(partial(self._cell.abandon, self._initial))
        self._cell.reclaim(self._initial)
        return outcome.response

    def abandon(self) -> None:
        """Terminate the cell if it still runs, and drop its output. Does not wait."""
        self._cell.give_up()

    def keep_initial_response(self) -> None:
        """Keep the initial response, whose caller was interrupted, for the next caller."""
        self._cell.take_back(self._initial)


class Execution:
    """An execute under way: first its cell starts, then the first answer about the cell comes.

    `span` ends with the cell, or here if no cell starts.
    """

    __slots__ = ("_home", "_initial", "_span", "_tool_call_id", "answered_twice", "started")

    def __init__(self, home: Home, request: ExecuteRequest, span: CellSpan | None) -> None:
        self.answered_twice = False
        self.started: Slot[StartedCell] = Slot(home.loop)
        self._home = home
        self._span = span
        self._tool_call_id = request.tool_call_id
        self._initial: Observation | None = None
        home.outlet.request(Execute(home.session_id, request), self)

    def answer(self, result: Answer) -> None:
        home = self._home
        if isinstance(result, Failure):
            self._refuse(result.message)
            return
        assert isinstance(result.value, ExecutionStarted)
        self.answered_twice = True
        cell = Cell(home, result.value.cell_id, self._span)
        home.cells[cell.host_id] = cell
        home.unreported += 1
        home.tally.cells_started += 1
        if events.cell_log.isEnabledFor(logging.DEBUG):
            events.cell_started(cell.labels, self._tool_call_id)
        if self._span is not None:
            self._span.cell_started(cell.labels)
        self._initial = Observation(home, cell)
        owned = self.started.has_waiters
        self.started.resolve(StartedCell(cell, self._initial))
        if not owned:
            self.give_up()

    def answer_again(self, message: InitialResponse) -> None:
        """Take the initial response."""
        initial = self._initial
        assert initial is not None
        if isinstance(message.result, Failure):
            initial.refuse(message.result.message)
        else:
            initial.observe(LiveCell(message.result.value.response))

    def lose(self) -> None:
        if self._initial is not None:
            self._initial.lose()
            return
        self.started.fail(self._home.error)
        if self._span is not None:
            self._span.refused(self._home.error())

    def give_up(self) -> None:
        """Terminate the cell, now or as soon as it has started: no caller will have its id."""
        if self._initial is not None:
            cell = self._initial.cell
            assert cell is not None
            cell.abandon(self._initial)
            cell.give_up()

    def _refuse(self, message: str) -> None:
        home = self._home
        self.started.fail(lambda: RequestFailedError(message))
        limit = limit_named_in(message)
        if limit is not None:
            home.tally.count_limit(limit)
        if self._span is not None:
            self._span.refused(RequestFailedError(message))
        events.execute_refused(home.labels, self._tool_call_id, message)


async def wait_for_cell(home: Home, host_id: str, yield_time_ms: int) -> Outcome:
    """Observe a cell. If the caller is cancelled, the answer is kept for the next wait."""
    cell = home.cells.get(host_id)
    if cell is not None and (cell.abandoned or cell.kept):
        began = home.loop.time()
        outcome = await _wait_for_kept(cell, yield_time_ms)
        if outcome is not None:
            return outcome
        yield_time_ms = max(0, yield_time_ms - int((home.loop.time() - began) * 1000))
    observation = Observation(home, cell)
    request_id = home.outlet.request(Wait(home.session_id, WaitRequest(host_id, yield_time_ms)), observation)

    def abandon() -> None:
        if cell is not None:
            cell.abandon(observation)
        home.outlet.cancel(request_id)

    return await observation.get(abandon)


async def _wait_for_kept(cell: Cell, yield_time_ms: int) -> Outcome | None:
    """Wait for the answers of the cell's abandoned observations; return them, or None if there are none.

    The host would refuse a second observer, and the first one's output comes first.
    """
    home = cell.home
    await home.loop.checkpoint()
    deadline = home.loop.time() + yield_time_ms / 1000
    while cell.abandoned and not cell.kept and (left := deadline - home.loop.time()) > 0:
        await cell.settled(left)
    kept = cell.take_kept()
    if kept is not None:
        return LiveCell(kept)
    if home.lost:
        await home.settled()
        raise home.error()
    if cell.abandoned:  # the time is over and there is no output to return
        return LiveCell(Yielded(cell.public_id, []))
    return None


async def terminate_cell(home: Home, host_id: str) -> Outcome:
    """Terminate a cell. If the caller is cancelled, the cell is still terminated and its last output kept."""
    cell = home.cells.get(host_id)
    observation = Observation(home, cell)
    home.outlet.request(Terminate(home.session_id, host_id), observation)
    if cell is None:
        return await observation.get()
    return cell.with_kept(await observation.get(partial(cell.abandon, observation)))


def keep_response(home: Home, host_id: str, response: RuntimeResponse) -> None:
    """Keep a response, whose caller was interrupted, for the next wait, before anything newer."""
    cell = home.cells.get(host_id)
    if cell is None:  # forgotten: it was closed and nothing was kept
        cell = Cell(home, host_id, host_closed=True)
    observation = Observation(home, cell)
    observation.resolve(LiveCell(response))
    cell.take_back(observation)
