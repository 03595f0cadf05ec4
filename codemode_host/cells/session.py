"""A session: the cells that share stored values, and the numbers that name them.

Transport-neutral: `Outlet` is its way out, and its methods are what a request comes down to. Everything is synchronous,
except that each cell has a task of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import msgspec
import trio

from codemode_host.cells.answers import CellRequestError, live, missing
from codemode_host.cells.calls import Outlet
from codemode_host.cells.cell import Cell, State
from codemode_host.memory import give_back_memory
from codemode_host.runtimes.host_side.pool import RuntimePool
from codemode_host.supervision import HostFailure
from codemode_protocol.exit_status import HostExitStatus
from codemode_protocol.ids import CellIds
from codemode_protocol.limits import (
    HOST_FULL,
    MIB,
    PROCESS_REFUSED,
    SESSION_FULL,
    SOURCE_TOO_LARGE,
    STORED_TOO_LARGE,
    TOO_MANY_STORED,
    Limits,
)
from codemode_protocol.tools import ToolNameConflictError, javascript_tools
from codemode_protocol.values import DEFAULT_YIELD_TIME_MS, ExecuteRequest, Outcome, RuntimeResponse

WORTH_GIVING_BACK_BYTES = 8 * MIB
"""After so much output was held at a time what is free again is given back to the system, else when no cell is left."""

GIVE_BACK_SECONDS = 2.0
"""But not before this, and no more often: memory that is soon needed again is dear to get again, page by page."""

OUTPUT_SHARE_BYTES = 4 * MIB
"""So much output each cell may hold, however much all of them hold together."""


class SessionOwner(ABC):
    """Whoever runs sessions: their runtimes, their tasks, what they hold together, and what a failure does."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.cells: int = 0
        """How many cells there are in all sessions."""
        self.pool: RuntimePool
        self.nursery: trio.Nursery
        self._output_held = 0
        self._output_peak = 0
        self._giving_back = False
        self._held_back: dict[Cell, None] = {}

    @abstractmethod
    def turn_over(self) -> None:
        """What had to be said for now has been said: write it."""

    @abstractmethod
    async def room_to_talk(self) -> None:
        """Wait while too much is queued for the client."""

    @abstractmethod
    def failed(self, failure: HostFailure) -> None:
        """The policy for a failure: raise HostStopped, or come back and let the cell concerned fail alone."""

    def cell_closed(self) -> None:
        """There is one cell less."""
        self.cells -= 1
        if self.cells == 0:
            self._give_back_memory()

    def _give_back_memory(self) -> None:
        self._output_peak = 0
        if not self._giving_back:
            self._giving_back = True
            self.nursery.start_soon(self._trim)

    async def _trim(self) -> None:
        await trio.sleep(GIVE_BACK_SECONDS)
        self._giving_back = False
        give_back_memory()

    def room_for_output(self, cell: Cell) -> int:
        """How much a cell whose output memory is full may hold and go on; it is told when that changes."""
        if self._output_held <= self.limits.total_output_bytes:
            return self.limits.output_bytes
        self._held_back[cell] = None
        return OUTPUT_SHARE_BYTES

    def output_changed(self, bytes_more: int) -> None:
        """A cell holds so much more output, or less."""
        self._output_held += bytes_more
        self._output_peak = max(self._output_peak, self._output_held)
        if self._output_held == 0 and self._output_peak > WORTH_GIVING_BACK_BYTES:
            self._give_back_memory()
        if bytes_more < 0 and self._held_back and self._output_held <= self.limits.total_output_bytes:
            held_back, self._held_back = self._held_back, {}
            for cell in held_back:
                cell.room_again()


class CellSession:
    """One session's cells and stored values."""

    def __init__(self, session_id: str, owner: SessionOwner, outlet: Outlet) -> None:
        self.id = session_id
        self.outlet = outlet
        self.cells: dict[str, Cell] = {}
        self._owner = owner
        self._cell_ids = CellIds()
        self._stored: dict[str, str] = {}
        self._stored_json = b"{}"
        self._when_empty: Callable[[], None] | None = None

    @property
    def limits(self) -> Limits:
        return self._owner.limits

    def execute(self, request: ExecuteRequest) -> Cell:
        """Start a cell. Says nothing yet; call its `observe` with the request's yield time.

        Raises CellRequestError when the request cannot be met, no number is used up then; PoolClosedError when nothing
        can be run any more.
        """
        source = self._checked_source(request)
        try:
            tools = javascript_tools(request.enabled_tools)
            runtime = self._owner.pool.take()
            cell_id = self._cell_ids.allocate()
        except ToolNameConflictError as error:
            raise CellRequestError(str(error)) from error
        except OSError as error:
            raise CellRequestError(PROCESS_REFUSED(reason=error.strerror)) from error
        runtime.start(source, tools, self._stored_json)
        cell = self.cells[cell_id] = Cell(self, cell_id, request, runtime)
        self._owner.cells += 1
        self._owner.nursery.start_soon(self._run, cell)
        return cell

    def _checked_source(self, request: ExecuteRequest) -> bytes:
        limits, owner = self.limits, self._owner
        source = request.source.encode()
        if len(source) > limits.source_bytes:
            raise CellRequestError(SOURCE_TOO_LARGE(size=len(source), limit=limits.source_bytes // MIB))
        if len(self.cells) >= limits.cells_per_session:
            remedy = "terminate some, or take the results of those that ended"
            raise CellRequestError(SESSION_FULL(session=self.id, limit=limits.cells_per_session, remedy=remedy))
        if owner.cells >= limits.cells:
            raise CellRequestError(HOST_FULL(limit=limits.cells))
        return source

    async def _run(self, cell: Cell) -> None:
        """Run a cell, and have spare runtimes forked when that is in nobody's way: as soon as it waits, or is over."""
        pool = self._owner.pool
        if not pool.has_spares:
            pool.replenish()
        await cell.run()
        pool.replenish()

    def wait(self, cell_id: str, yield_time_ms: int, answer: Callable[[Outcome], None]) -> Cell | None:
        """Observe a cell; returns it, or None when it is missing and `answer` has been told so."""
        cell = self.cells.get(cell_id)
        if cell is None or cell.state is State.TERMINATING:
            answer(missing(cell_id))
            return None
        cell.observe(lambda response: answer(live(response)), yield_time_ms)
        return cell

    def terminate(self, cell_id: str, answer: Callable[[Outcome], None]) -> None:
        """Stop a cell."""
        cell = self.cells.get(cell_id)
        if cell is None:
            answer(missing(cell_id))
        else:
            cell.terminate(lambda response: answer(live(response)))

    def shutdown(self, when_closed: Callable[[], None]) -> None:
        """Stop every cell; `when_closed` is called once when the last of them has closed, perhaps at once."""
        self._when_empty = when_closed
        for cell in list(self.cells.values()):
            if cell.state is not State.TERMINATING:
                cell.terminate(None)
        self._check_empty()

    # ------------------------------------------------------------------------------------------ what its cells tell it

    def store(self, values: dict[str, str]) -> str | None:
        """Commit what a cell stored, JSON texts by key: all of it, or nothing and the reason why."""
        if not values:
            return None
        limits = self.limits
        stored = self._stored | values
        if len(stored) > limits.stored_values:
            return TOO_MANY_STORED(limit=limits.stored_values)
        as_json = msgspec.json.encode(stored)
        if len(as_json) > limits.stored_bytes:
            return STORED_TOO_LARGE(limit=limits.stored_bytes // MIB)
        self._stored, self._stored_json = stored, as_json
        return None

    def cell_closed(self, cell: Cell) -> None:
        del self.cells[cell.id]
        self._owner.cell_closed()
        self.outlet.cell_closed(cell.id)
        self._check_empty()

    def panic(self, cell: Cell, cause: str, evidence: tuple[str, ...]) -> None:
        """A runtime broke. Comes back if that is the end of its cell alone."""
        self._owner.failed(HostFailure(HostExitStatus.ENGINE_PANIC, "engine panic", cause, self.id, cell.id, evidence))

    def room_for_output(self, cell: Cell) -> int:
        return self._owner.room_for_output(cell)

    def output_changed(self, bytes_more: int) -> None:
        if bytes_more:
            self._owner.output_changed(bytes_more)

    def turn_over(self) -> None:
        self._owner.turn_over()

    async def room_to_talk(self) -> None:
        await self._owner.room_to_talk()

    def _check_empty(self) -> None:
        if not self.cells and self._when_empty is not None:
            when_empty, self._when_empty = self._when_empty, None
            when_empty()


def observation_time(request: ExecuteRequest) -> int:
    """How long the initial response may take, in milliseconds."""
    return DEFAULT_YIELD_TIME_MS if request.yield_time_ms is None else request.yield_time_ms


__all__ = ["CellRequestError", "CellSession", "RuntimeResponse", "SessionOwner", "observation_time"]
