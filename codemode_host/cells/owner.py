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


class SessionOwner(ABC):
    """The runtimes of sessions, their tasks, what they hold together, and what a failure does."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.cells = 0
        """How many cells there are in all sessions."""
        self.output_budget = OutputBudget(limits, self._give_back_memory)
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
