"""What sessions have in common: the process that runs them owns it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import trio

from codemode_host.memory import give_back_memory
from codemode_host.runtimes.host_side.output import OutputBudget
from codemode_host.runtimes.host_side.runtimes import RuntimePool
from codemode_host.supervision import HostFailure
from codemode_protocol.limits import Limits

GIVE_BACK_SECONDS = 2.0
"""Memory is given back no sooner than this, and no more often: what is soon needed again is expensive to get again."""


TURN_SECONDS = 0.004
"""So long all busy cells together may keep the process before its other tasks have their turn."""

LEAST_SLICE_SECONDS = 0.0001


class BusyCells:
    """The cells that have more to say than one slice of the process's time takes; they share it.

    A context manager, held by each of them while it waits for its next slice.
    """

    def __init__(self) -> None:
        self._count = 0

    @property
    def slice_seconds(self) -> float:
        """How long a cell may be served before it waits for its next turn."""
        return max(TURN_SECONDS / (self._count + 1), LEAST_SLICE_SECONDS)

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(self, *error: object) -> None:
        self._count -= 1


class SessionOwner(ABC):
    """The runtimes of sessions, their tasks, what they hold together, and what a failure does."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.cells: int = 0
        """How many cells there are in all sessions."""
        self.busy: BusyCells = BusyCells()
        self.output_budget: OutputBudget = OutputBudget(limits, self._give_back_memory)
        self.pool: RuntimePool
        self.nursery: trio.Nursery
        self._giving_back = False

    @abstractmethod
    def failed(self, failure: HostFailure) -> None:
        """Apply the policy for a failure: raise HostStopped, or return and let the cell concerned fail alone."""

    def cell_closed(self) -> None:
        """Count one cell less."""
        self.cells -= 1
        if self.cells == 0:
            self._give_back_memory()

    def _give_back_memory(self) -> None:
        if not self._giving_back:
            self._giving_back = True
            self.nursery.start_soon(self._trim)

    async def _trim(self) -> None:
        await trio.sleep(GIVE_BACK_SECONDS)
        self._giving_back = False
        give_back_memory()
