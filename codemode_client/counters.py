"""What a provider has counted since it was made, and by which names limits are counted.

Counting is adding to an integer, so it is always on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import Formatter
from typing import Literal

from msgspec import Struct

from codemode_protocol.limits import FREE_TEXT_FIELDS, LIMITS, Limit

CellEnd = Literal["completed", "failed", "limited", "terminated", "lost"]
"""How a cell ended: its script succeeded, threw (or did not compile), met a limit, was stopped, or lost its host."""

FRAME_LIMIT = "frame_bytes"
"""The name of the limit on what one message may hold."""

DELEGATE_CALL_LIMIT = "delegate_calls"
"""The name of the client's own limit on tool calls in flight."""


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
        self.hosts_started = 0
        self.hosts_ready = 0
        self.hosts_ended: dict[str, int] = {}
        self.sessions_opened = 0
        self.sessions_rebound = 0
        self.cells_started = 0
        self.cell_ends: dict[CellEnd, int] = {"completed": 0, "failed": 0, "limited": 0, "terminated": 0, "lost": 0}
        self.cells_abandoned = 0
        self.stale_cells_refused = 0
        self.tool_calls = 0
        self.tool_calls_succeeded = 0
        self.tool_calls_failed = 0
        self.tool_calls_cancelled = 0
        self.notifications = 0
        self.output_items = 0
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


_LONGEST_TEXT = 4096

LIMIT_NAMES = (FRAME_LIMIT, DELEGATE_CALL_LIMIT, *(limit.name for limit in LIMITS if limit.texts))
"""The keys of `limits_met`."""


def _matching(limits: Sequence[Limit]) -> re.Pattern[str]:
    """A pattern of all texts of these limits, with a group for each limit."""
    groups = [f"(?P<{limit.name}>{'|'.join(map(_pattern, limit.texts))})" for limit in limits]
    return re.compile("|".join(groups), re.DOTALL)


def _pattern(template: str) -> str:
    return "".join(
        re.escape(text) + ("" if field is None else ".*" if field in FREE_TEXT_FIELDS else r"\d+")
        for text, field, _, _ in Formatter().parse(template)
    )


_whole = _matching([limit for limit in LIMITS if limit.texts and not limit.follows_error])
# What was to be stored is refused after the script's end, on a line below whatever else was wrong.
_last_line = _matching([limit for limit in LIMITS if limit.texts and limit.follows_error])


def limit_met(text: str) -> str | None:
    """Return the name of the limit that a host's error text speaks of; None when it speaks of something else.

    The wire has no field for it, so it is told by the texts of `codemode_protocol.limits`: a script that throws
    these very words is taken at its word.
    """
    match = _last_line.fullmatch(text.rpartition("\n")[2])
    if match is None and len(text) <= _LONGEST_TEXT:
        match = _whole.fullmatch(text)
    return match.lastgroup if match is not None else None
