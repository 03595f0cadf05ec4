"""What a provider has counted since it was made.

Counting is adding to an integer, so it is always on.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

CellEnd = Literal["completed", "failed", "limited", "terminated", "lost"]
"""How a cell ended: its script succeeded, threw (or did not compile), met a limit, was stopped, or lost its host."""


class Counters(Struct, frozen=True, kw_only=True):
    """How often things have happened under one provider; what is `live` or `running` is how many there are now.

    `cells_started` is the sum of `cells_live` and the five ways in which cells end, `tool_calls` that of
    `tool_calls_running` and the three ways in which calls end. docs/observability.md says what each one counts.
    """

    hosts_started: int
    hosts_ready: int
    respawns: int
    hosts_ended: dict[str, int]
    sessions_opened: int
    sessions_rebound: int
    cells_started: int
    cells_live: int
    cells_completed: int
    cells_failed: int
    cells_limited: int
    cells_terminated: int
    cells_lost: int
    cells_abandoned: int
    stale_cells_refused: int
    tool_calls: int
    tool_calls_running: int
    tool_calls_succeeded: int
    tool_calls_failed: int
    tool_calls_cancelled: int
    notifications: int
    output_items: int
    limits_met: dict[str, int]


class Tally:
    """The counters as they are added to, by one thread; any thread may take a `snapshot`."""

    __slots__ = (
        "cell_ends",
        "cells_abandoned",
        "cells_started",
        "hosts_ended",
        "hosts_ready",
        "hosts_started",
        "limits_met",
        "notifications",
        "output_items",
        "sessions_opened",
        "sessions_rebound",
        "stale_cells_refused",
        "tool_calls",
        "tool_calls_cancelled",
        "tool_calls_failed",
        "tool_calls_succeeded",
    )

    def __init__(self) -> None:
        self.hosts_started: int = 0
        self.hosts_ready: int = 0
        self.hosts_ended: dict[str, int] = {}
        self.sessions_opened: int = 0
        self.sessions_rebound: int = 0
        self.cells_started: int = 0
        self.cell_ends: dict[CellEnd, int] = {"completed": 0, "failed": 0, "limited": 0, "terminated": 0, "lost": 0}
        self.cells_abandoned: int = 0
        self.stale_cells_refused: int = 0
        self.tool_calls: int = 0
        self.tool_calls_succeeded: int = 0
        self.tool_calls_failed: int = 0
        self.tool_calls_cancelled: int = 0
        self.notifications: int = 0
        self.output_items: int = 0
        self.limits_met: dict[str, int] = {}

    def host_ended(self, how: str) -> None:
        self.hosts_ended[how] = self.hosts_ended.get(how, 0) + 1

    def limit_met(self, name: str) -> None:
        self.limits_met[name] = self.limits_met.get(name, 0) + 1

    def snapshot(self) -> Counters:
        # Another thread may be adding meanwhile. What ends is read before what starts: no difference is below zero.
        ends = self.cell_ends.copy()
        succeeded, failed, cancelled = self.tool_calls_succeeded, self.tool_calls_failed, self.tool_calls_cancelled
        cells, calls = self.cells_started, self.tool_calls
        return Counters(
            hosts_started=self.hosts_started,
            hosts_ready=self.hosts_ready,
            respawns=max(0, self.hosts_ready - 1),
            hosts_ended=self.hosts_ended.copy(),
            sessions_opened=self.sessions_opened,
            sessions_rebound=self.sessions_rebound,
            cells_started=cells,
            cells_live=cells - sum(ends.values()),
            cells_completed=ends["completed"],
            cells_failed=ends["failed"],
            cells_limited=ends["limited"],
            cells_terminated=ends["terminated"],
            cells_lost=ends["lost"],
            cells_abandoned=self.cells_abandoned,
            stale_cells_refused=self.stale_cells_refused,
            tool_calls=calls,
            tool_calls_running=calls - succeeded - failed - cancelled,
            tool_calls_succeeded=succeeded,
            tool_calls_failed=failed,
            tool_calls_cancelled=cancelled,
            notifications=self.notifications,
            output_items=self.output_items,
            limits_met=self.limits_met.copy(),
        )
