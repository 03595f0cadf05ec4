"""Cells that stay over their memory limit are ended: the kernel bounds only what they ask for, not what they fill."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import trio

from codemode_host.runtimes import link

WATCH_SECONDS = 0.3
"""How often the memory of running cells is looked at."""

CLOSE_WATCH_SECONDS = 0.1
"""The same while one of them has filled half of what it may."""

LOOKS_OVER_LIMIT = 4
"""A cell that was over its memory limit at so many looks in a row stays there. Short of that it may: large values exist
several times for a moment. At twice the limit there is no second look."""


class WatchedRuntime(Protocol):
    """A runtime, as the watch sees it."""

    pid: int | None
    baseline: int
    looks_over_limit: int
    over_memory: bool

    def kill(self) -> None:
        """Have the process killed."""
        ...


class MemoryWatch:
    """Looks at running cells for as long as there are any."""

    def __init__(self, limit: int | None, running: Callable[[], Iterable[WatchedRuntime]]) -> None:
        """Watch the cells that `running` returns. `limit` is in bytes; with None there is nothing to watch."""
        self._limit = limit
        self._running = running
        self.watching: bool = False
        """It has been started, and there has always been a cell to watch since."""

    def start(self, start_soon: Callable[..., None]) -> None:
        """Begin: a cell is about to run."""
        self.watching = True
        if self._limit is not None:
            start_soon(self._watch, self._limit)

    async def _watch(self, limit: int) -> None:
        seconds = WATCH_SECONDS
        while True:
            await trio.sleep(seconds)
            seconds = WATCH_SECONDS
            running = list(self._running())
            if not running:
                break
            for runtime in running:
                if runtime.pid is None or not runtime.baseline:
                    continue
                filled = link.filled_bytes(runtime.pid) - runtime.baseline
                if filled > limit // 2:
                    seconds = CLOSE_WATCH_SECONDS
                runtime.looks_over_limit = runtime.looks_over_limit + 1 if filled > limit else 0
                if runtime.looks_over_limit == LOOKS_OVER_LIMIT or filled > 2 * limit:
                    runtime.over_memory = True
                    runtime.kill()
        self.watching = False
