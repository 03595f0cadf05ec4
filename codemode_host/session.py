"""A session: the cells that share stored values, and the numbers that name them.

Transport-neutral: `Outlet` is its way out, and its methods are what a request comes down to. Everything is synchronous,
except that each cell has a task of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
import trio

from codemode_protocol.ids import CellIds
from codemode_protocol.tools import ToolNameConflictError, javascript_tools
from codemode_protocol.values import DEFAULT_YIELD_TIME_MS, ExecuteRequest, Outcome, RuntimeResponse

from .cell import Cell, CellRequestError, Outlet, State, live, missing
from .limits import Limits
from .runtimes.pool import RuntimeExit, RuntimePool


class SessionOwner(Protocol):
    """What sessions need of whoever runs them."""

    @property
    def limits(self) -> Limits: ...

    @property
    def pool(self) -> RuntimePool: ...

    @property
    def nursery(self) -> trio.Nursery: ...

    def turn_over(self) -> None:
        """What had to be said for now has been said: write it."""
        ...

    async def room_to_talk(self) -> None:
        """Wait while too much is queued for the client."""
        ...

    def runtime_failed(self, session: CellSession, cell: Cell, what: str, ending: RuntimeExit | None) -> None:
        """A runtime ended that nobody had asked to end; decide what that does."""
        ...


class CellSession:
    """One session's cells and stored values."""

    def __init__(self, session_id: str, owner: SessionOwner, outlet: Outlet) -> None:
        self.id = session_id
        self.outlet = outlet
        self.cells: dict[str, Cell] = {}
        self._owner = owner
        self._cell_ids = CellIds()
        self._stored: dict[str, str] = {}
        self._stored_json: bytes | None = b"{}"
        self._when_empty: Callable[[], None] | None = None

    @property
    def limits(self) -> Limits:
        return self._owner.limits

    def execute(self, request: ExecuteRequest) -> Cell:
        """Start a cell. Says nothing yet; call its `observe` with the request's yield time.

        Raises CellRequestError when the request cannot be met; no number is used up then.
        """
        try:
            tools = javascript_tools(request.enabled_tools)
        except ToolNameConflictError as error:
            raise CellRequestError(str(error)) from error
        cell_id = self._cell_ids.allocate()
        runtime = self._owner.pool.take()
        runtime.start(request.source.encode(), tools, self._stored_as_json())
        cell = self.cells[cell_id] = Cell(self, cell_id, request, runtime)
        self._owner.nursery.start_soon(self._run, cell)
        return cell

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

    def store(self, values: dict[str, str]) -> None:
        """Commit what a cell stored. JSON texts by key."""
        if values:
            self._stored.update(values)
            self._stored_json = None

    def cell_closed(self, cell: Cell) -> None:
        del self.cells[cell.id]
        self.outlet.cell_closed(cell.id)
        self._check_empty()

    def runtime_failed(self, cell: Cell, what: str, ending: RuntimeExit | None) -> None:
        self._owner.runtime_failed(self, cell, what, ending)

    def turn_over(self) -> None:
        self._owner.turn_over()

    async def room_to_talk(self) -> None:
        await self._owner.room_to_talk()

    def _check_empty(self) -> None:
        if not self.cells and self._when_empty is not None:
            when_empty, self._when_empty = self._when_empty, None
            when_empty()

    def _stored_as_json(self) -> bytes:
        if self._stored_json is None:
            self._stored_json = msgspec.json.encode(self._stored)
        return self._stored_json


def observation_time(request: ExecuteRequest) -> int:
    """How long the initial response may take, in milliseconds."""
    return DEFAULT_YIELD_TIME_MS if request.yield_time_ms is None else request.yield_time_ms


__all__ = ["CellRequestError", "CellSession", "RuntimeResponse", "SessionOwner", "observation_time"]
