"""One cell of a host: the execute that starts it, what observes it, and what was observed for a caller that is gone.

A request and what takes its answer over if its caller is cancelled are registered in one step, so there is no moment at
which an answer belongs to nobody. docs/architecture.md walks an execute through this module.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self

import msgspec

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
"""What a host answers to a request."""


class Operation(Protocol):
    """A request under way: what becomes of its answer."""

    answered_twice: bool
    """One more answer comes after this one: an execute's initial response."""

    def answer(self, result: Answer) -> None:
        """Take the host's answer."""
        ...

    def lose(self) -> None:
        """Take the loss of the host in place of the answer."""
        ...


class Outlet(Protocol):
    """Where requests go: the connection to a host. What cells need of it."""

    def request(self, request: Request, operation: Operation) -> int:
        """Send a request whose answer goes to `operation`, and return its id."""
        ...

    def cancel(self, request_id: int) -> None:
        """Ask the host to give up a request. It answers all the same."""
        ...

    def cell_is_live(self, session_id: str, host_id: str) -> bool:
        """Return whether the host has not closed a cell yet."""
        ...

    @property
    def full(self) -> bool:
        """So much is queued for the host that no more work should be started."""
        ...

    async def room(self) -> None:
        """Wait while it is `full`."""
        ...


class Home(Protocol):
    """A session on one host, as its cells see it."""

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
    """How many cells have not been reported closed."""
    over: bool
    """It has ended on its host, but for the reports of its cells."""

    @property
    def lost(self) -> bool:
        """The host is lost, or the session over on it: no cell can be asked for any more."""
        ...

    @property
    def end_of_unfinished_cells(self) -> CellEnd:
        """How a cell has ended whose end was never told: "lost" with its host, or "terminated"."""
        ...

    def error(self) -> CodeModeError:
        """Return why requests fail that were under way when the session ended here. Complete after `settled`."""
        ...

    async def settled(self) -> None:
        """Wait until the host, if it is lost, is reaped: then it is known why."""
        ...

    def close_if_reported(self) -> None:
        """Note that the last cell was reported, if it is `over`."""
        ...


class Revocable(Protocol):
    """A delegate's call that runs for a cell."""

    def revoke(self) -> None:
        """End the call: its answer is not wanted any more."""
        ...


class Cell:
    """What the client knows of one cell, until the cell is closed and nothing that it wrote waits for a caller."""

    __slots__ = (
        "_host_closed",
        "_settled",
        "_terminations",
        "abandoned",
        "calls",
        "end",
        "home",
        "host_id",
        "kept",
        "labels",
        "limit",
        "ownerless",
        "public_id",
        "span",
    )

    def __init__(self, home: Home, host_id: str, span: CellSpan | None) -> None:
        self.home: Home = home
        self.host_id: str = host_id
        self.public_id: str = host_id if home.generation == 1 else public_cell_id(home.generation, host_id)
        self.labels: events.CellLabels = events.CellLabels(*home.labels, self.public_id)
        self.span: CellSpan | None = span
        self.calls: set[Revocable] = set()
        """The delegate's calls that run for it."""
        self.abandoned: set[Observation] = set()
        """Observations whose callers were cancelled and whose answers are still to come."""
        self.kept: dict[Observation, RuntimeResponse] = {}
        """The answers that no caller got, oldest first, for the next caller that waits."""
        self.ownerless: bool = False
        """No caller has it and none will: what it writes is dropped."""
        self.end: CellEnd | None = None
        """How it ended, by the first answer that told so."""
        self.limit: str | None = None
        """The name of the limit that ended it."""
        self._host_closed = False
        self._terminations: set[object] = set()
        """The `Terminated` answers that callers got. Another one would repeat the content."""
        self._settled: Slot[None] | None = None

    @classmethod
    def closed_before(cls, home: Home, host_id: str) -> Self:
        """Return a cell that was closed, reported and forgotten."""
        cell = cls(home, host_id, None)
        cell._host_closed = True
        return cell

    # ------------------------------------------------------------------------------------------------ observations

    def observed(self, response: RuntimeResponse) -> None:
        """Note what an answer about the live cell tells of its end."""
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
        """Take an observation over from its last caller, which was cancelled without the answer."""
        if observation.done:
            self._put_back(observation)
        else:
            self.abandoned.add(observation)

    def settle(self, observation: Observation, response: RuntimeResponse | None) -> None:
        """Note that an observation has its answer; keep the answer if no caller is there to take it."""
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
        """Keep an answer that a caller got, and lost because an exception came first."""
        if isinstance(observation.response, Terminated) and self._terminations:
            self._terminations.pop()
        self._put_back(observation)

    def _put_back(self, observation: Observation) -> None:
        """Keep an answer that had been handed to callers, of which the last was cancelled before it ran."""
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
        """Note that the observation's answer has reached a caller after all."""
        self.abandoned.discard(observation)
        self.kept.pop(observation, None)
        self.forget_if_over()

    async def settled(self, seconds: float) -> None:
        """Wait until one abandoned observation has its answer, for so many seconds at the most."""
        if self._settled is None or self._settled.done:
            self._settled = Slot(self.home.loop)
        await self._settled.wait(seconds)

    def take_kept(self) -> RuntimeResponse | None:
        """Take the answers that were kept, as one response; the last one tells how the cell stood."""
        if not self.kept:
            return None
        responses = list(self.kept.values())
        self.kept.clear()
        if isinstance(responses[-1], Terminated):
            self._terminations.add(object())
        self.forget_if_over()
        return merge(responses)

    def with_kept(self, outcome: Outcome) -> Outcome:
        """Return a terminate's outcome together with the answers that were kept before it."""
        kept = self.take_kept()
        if kept is None:
            return outcome
        if isinstance(outcome, LiveCell) and isinstance(kept, Yielded):
            return LiveCell(merge([kept, outcome.response]))
        if isinstance(outcome, LiveCell):  # both tell the same end with the same content
            return outcome
        return LiveCell(kept)

    # ----------------------------------------------------------------------------------------------------- the end

    def give_up(self) -> None:
        """Drop what the cell writes, and terminate it if it still runs: no caller has it."""
        home = self.home
        self.ownerless = True
        self.kept.clear()
        if self._host_closed:
            self.forget_if_over()
        elif home.outlet.cell_is_live(home.session_id, self.host_id):
            home.outlet.request(Terminate(home.session_id, self.host_id), _OwnerlessTermination(self))
            home.tally.cells_abandoned += 1
            events.cell_abandoned(self.labels)
            if self.span is not None:
                self.span.abandoned()

    def close(self) -> None:
        """Note that its host is done with it, or lost: end its calls, then report it, once."""
        if self._host_closed:
            return
        self._host_closed = True
        if self.calls:
            for call in [*self.calls]:
                call.revoke()
        else:
            self._report()

    def call_ended(self, call: Revocable) -> None:
        """Note that a delegate's call has ended. The last one of a closed cell reports it."""
        self.calls.discard(call)
        if self._host_closed and not self.calls:
            self._report()

    def _report(self) -> None:
        home = self.home
        end = self.end if self.end is not None else home.end_of_unfinished_cells
        home.tally.cell_ends[end] += 1
        if self.limit is not None:
            home.tally.limit_met(self.limit)
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
        """Drop a closed cell once nothing that it wrote waits for a caller."""
        if self._host_closed and not self.abandoned and not self.kept:
            self.home.cells.pop(self.host_id, None)


def merge(responses: list[RuntimeResponse]) -> RuntimeResponse:
    """Return successive responses of one cell as one: the content of all, and how it stood at the last."""
    last = responses[-1]
    if len(responses) == 1:
        return last
    return msgspec.structs.replace(last, content_items=[item for one in responses for item in one.content_items])


class Observation(Slot[Outcome]):
    """A request under way whose answer carries what a cell wrote: a wait, a terminate, or an execute's second answer.

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
        """What the answer says of the live cell; None for an error, and while there is no answer."""
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
        """Take an error of the host's for the answer."""
        self._fail(lambda: RequestFailedError(message))

    def _fail(self, make_error: Callable[[], Exception]) -> None:
        self.fail(make_error)
        if self.cell is not None:
            self.cell.settle(self, None)

    def observe(self, outcome: Outcome) -> None:
        """Take what the host tells of the cell for the answer."""
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
    """A cell that runs on a host. See `codemode_protocol.session.StartedCell`."""

    __slots__ = ("_cell", "_initial", "cell_id")

    def __init__(self, cell: Cell, initial: Observation) -> None:
        self._cell = cell
        self._initial = initial
        self.cell_id: str = cell.public_id
        """The public id, for `wait` and `terminate`."""

    @protect_from_interrupt
    async def initial_response(self) -> RuntimeResponse:
        """Wait for the first answer about the cell. It may be asked for again, and gives the same answer.

        If the caller is cancelled nothing is lost: the answer is for the next caller that asks for it here, or that
        waits for the cell.

        Raises:
            RequestFailedError: The host answered with an error.
            HostLostError: The host was lost before it answered.
        """
        outcome = await self._initial.get(partial(self._cell.abandon, self._initial))
        self._cell.reclaim(self._initial)
        return outcome.response

    def abandon(self) -> None:
        """Give the cell up: it is terminated if it still runs, and what it wrote is dropped. Does not wait."""
        self._cell.give_up()

    def keep_initial_response(self) -> None:
        """Have the initial response, which was taken for a caller that is gone, for the next caller that asks."""
        self._cell.take_back(self._initial)


class Execution:
    """An execute: first its cell starts, then the first answer about the cell comes.

    `span` is ended with the cell, or here if there will be none.
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
        """Terminate the cell, now or as soon as it has started: no caller has it."""
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
            home.tally.limit_met(limit)
        if self._span is not None:
            self._span.refused(RequestFailedError(message))
        events.execute_refused(home.labels, self._tool_call_id, message)


class _OwnerlessTermination:
    """The terminate of a cell that no caller has. How the cell ended is still counted."""

    __slots__ = ("_cell", "answered_twice")

    def __init__(self, cell: Cell) -> None:
        self.answered_twice = False
        self._cell = cell

    def answer(self, result: Answer) -> None:
        if isinstance(result, Success):
            assert isinstance(result.value, WaitCompleted)
            outcome = result.value.outcome.outcome
            if isinstance(outcome, LiveCell):
                self._cell.observed(outcome.response)

    def lose(self) -> None:
        """Do nothing: the cell is over with its host."""


async def wait_for_cell(home: Home, host_id: str, yield_time_ms: int) -> Outcome:
    """Observe a cell. If the caller is cancelled, what the observation brings is kept for the next."""
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
    """Hold a wait back until the cell's abandoned observations have their answers; None if these bring nothing.

    The host would refuse a second observer, and what the first one brings comes first.
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
    if cell.abandoned:  # the time is over, and nothing was written that could be given
        return LiveCell(Yielded(cell.public_id, []))
    return None


async def terminate_cell(home: Home, host_id: str) -> Outcome:
    """Stop a cell. If the caller is cancelled, it is stopped all the same, and its last output is kept."""
    cell = home.cells.get(host_id)
    observation = Observation(home, cell)
    home.outlet.request(Terminate(home.session_id, host_id), observation)
    if cell is None:
        return await observation.get()
    return cell.with_kept(await observation.get(partial(cell.abandon, observation)))


def keep_response(home: Home, host_id: str, response: RuntimeResponse) -> None:
    """Have a response that was taken for a caller that is gone for the next wait, before anything newer."""
    cell = home.cells.get(host_id)
    if cell is None:  # forgotten, for it was closed and nothing was kept
        cell = Cell.closed_before(home, host_id)
    observation = Observation(home, cell)
    observation.resolve(LiveCell(response))
    cell.take_back(observation)
