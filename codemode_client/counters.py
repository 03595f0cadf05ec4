"""A provider's counters. Counting is adding to an integer, so it is always on."""

from __future__ import annotations

from typing import Literal, get_args

from msgspec import Struct, field

CellEnd = Literal["completed", "failed", "limited", "terminated", "lost"]
"""How a cell ended: its script succeeded, threw (or did not compile), met a limit, was terminated, or lost its host."""


class Counters(Struct, frozen=True, kw_only=True):
    """A snapshot of a provider's counters; `cells_live` and `tool_calls_running` are current numbers.

    `cells_started` is the sum of `cells_live` and the five ways in which cells end, `tool_calls` that of
    `tool_calls_running` and the three ways in which calls end. docs/observability.md explains each counter.
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


class Tally(Struct, eq=False):
    """The mutable counters, added to by one thread; any thread may take a `snapshot`."""

    hosts_started: int = 0
    hosts_ready: int = 0
    hosts_ended: dict[str, int] = {}
    sessions_opened: int = 0
    sessions_rebound: int = 0
    cells_started: int = 0
    cell_ends: dict[CellEnd, int] = field(default_factory=lambda: dict.fromkeys(get_args(CellEnd), 0))
    cells_abandoned: int = 0
    stale_cells_refused: int = 0
    tool_calls: int = 0
    tool_calls_succeeded: int = 0
    tool_calls_failed: int = 0
    tool_calls_cancelled: int = 0
    notifications: int = 0
    output_items: int = 0
    limits_met: dict[str, int] = {}

    def count_host_end(self, way: str) -> None:
        """Count a host that ended in this way."""
        self.hosts_ended[way] = self.hosts_ended.get(way, 0) + 1

    def count_limit(self, name: str) -> None:
        """Count that a limit was met."""
        self.limits_met[name] = self.limits_met.get(name, 0) + 1

    def snapshot(self) -> Counters:
        """Return the counters as they are now."""
        # Another thread may be adding. Ends are read before starts, so that no difference is negative.
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
