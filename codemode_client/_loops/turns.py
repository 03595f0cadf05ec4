"""A number of turns at a time: callers wait in a line for each share, and the lines are served in rotation."""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar

from codemode_client._loops.running import running_loop
from codemode_client._loops.slots import Slot

SHARE: ContextVar[object] = ContextVar("codemode_share", default=None)
"""Callers with the same value wait in one line. Each session has one of its own."""


class Turns:
    """The turns of one event loop. Trio takes it for a capacity limiter.

    Args:
        most: The number of turns that may be taken at once.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._lines: dict[object, deque[Slot[None]]] = {}
        """The lines that are not empty; the one to be served next is the first."""

    async def take(self) -> None:
        """Wait for a turn."""
        if self._free:
            self._free -= 1
            return
        share, slot = SHARE.get(), Slot[None](running_loop())
        self._lines.setdefault(share, deque()).append(slot)
        await slot.get(abandoned=lambda: self._abandon(share, slot))

    def give(self) -> None:
        """Give a turn back: the next caller in line has it."""
        if not self._lines:
            self._free += 1
            return
        share, line = next(iter(self._lines.items()))
        del self._lines[share]
        slot = line.popleft()
        if line:
            self._lines[share] = line
        slot.resolve(None)

    def _abandon(self, share: object, slot: Slot[None]) -> None:
        if slot.done:  # its caller had been woken, and was cancelled before it ran
            self.give()
            return
        line = self._lines[share]
        line.remove(slot)
        if not line:
            del self._lines[share]

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Wait for a turn, as trio asks for one."""
        await self.take()

    def release_on_behalf_of(self, borrower: object) -> None:
        """Give a turn back, as trio does."""
        self.give()
