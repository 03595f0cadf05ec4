"""What `codemode ps` and `codemode kill` ask a running host, and what it answers. Where its socket is: `places`.

This is no part of the wire protocol between a client and its host. Each connection to a host's control socket carries
one request and one answer, each one line of JSON. Fields may be added: readers ignore those that they do not know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Struct

ANSWER_BYTES = 64 * 1024 * 1024
"""The longest answer that is worth reading."""

NAME_CHARACTERS = 200
"""Names of tools and ids of calls that are longer are cut in an answer."""

SESSION_CHARACTERS = 1000
"""The same for ids of sessions. One that is cut cannot be named in a request."""

# ---------------------------------------------------------------------------------------------------------- requests


class ListCells(Struct, frozen=True, tag="list"):
    """What is there? Answered with `HostReport`."""


class EndCells(Struct, frozen=True, tag="end"):
    """End one cell, or every cell of a session when `cell_id` is None. Answered with `CellsEnded` or `Refused`."""

    session_id: str
    cell_id: str | None = None


ControlRequest = ListCells | EndCells

# ----------------------------------------------------------------------------------------------------------- answers

CellStateName = Literal["starting", "running", "waiting", "paused", "draining", "finished", "terminating"]
"""`waiting`: for what `waiting_on` says; `paused`: its output buffer is full; `draining`: the script is over, a
notification is not answered yet; `finished`: its result has not been taken; `terminating`: its process is being
ended."""

WaitName = Literal["calls", "timer", "output", "notifications", "host", "nothing", "unknown"]
"""`calls`: tools; `output`: its output to be taken; `host`: its host to take what it says;
`nothing`: a promise that no call and no timer will settle; `unknown`: this system does not show it."""


class PendingCalls(Struct, frozen=True):
    """Calls of one tool that are not answered yet, and how long the first of them has waited."""

    tool: str
    count: int
    oldest_ms: int


class CellReport(Struct, frozen=True):
    """One cell of a host. Times are milliseconds, sizes bytes."""

    session_id: str
    cell_id: str
    """The host's own number; clients put the generation in front of it from the second host of a session on."""
    call_id: str
    """What the client called the request that started it."""
    state: CellStateName
    waiting_on: list[WaitName]
    age_ms: int
    """Since it was started."""
    finished_ms: int | None
    """Since its script was over."""
    observed: bool
    """A request waits for its next answer."""
    calls: list[PendingCalls]
    """The tools called and not answered, those first that have waited longest."""
    notifications: int
    """Notifications that are not answered yet."""
    output_bytes: int
    """What the host holds of its output that has not been taken."""
    pid: int | None = None
    """Its process, while there is one."""
    cpu_ms: int | None = None
    """The processor time of that process."""
    memory_bytes: int | None = None
    """What it has filled above what the engine itself takes: what the memory limit counts."""
    resident_bytes: int | None = None
    """All of its memory that is in RAM, most of it shared with the other cells."""


class HostReport(Struct, frozen=True, tag="host"):
    """A host and its cells. Times are milliseconds, sizes bytes."""

    version: str
    pid: int
    client_pid: int
    """Its parent process: who started it."""
    age_ms: int
    memory_limit_bytes: int | None
    """Of each cell."""
    sessions: int
    """How many are open."""
    cells: list[CellReport]
    cells_left_out: int = 0
    """There are so many more, for which there was no room here."""


class EndedCell(Struct, frozen=True):
    """What became of a cell that was to be ended.

    `terminated`: its process is gone, and the request that waits for it, now or next, is told so; `dropped`: it was
    over already, and the result that had not been taken is gone; `terminating`: its process is not gone yet.
    """

    session_id: str
    cell_id: str
    how: Literal["terminated", "dropped", "terminating"]


class CellsEnded(Struct, frozen=True, tag="ended"):
    """Perhaps none: a session may have no cell."""

    cells: list[EndedCell]


class Refused(Struct, frozen=True, tag="refused"):
    """The request cannot be met, and why."""

    message: str


ControlAnswer = HostReport | CellsEnded | Refused

encode: Callable[[object], bytes] = msgspec.json.Encoder().encode
request_decoder: msgspec.json.Decoder[ControlRequest] = msgspec.json.Decoder(ControlRequest)
answer_decoder: msgspec.json.Decoder[ControlAnswer] = msgspec.json.Decoder(ControlAnswer)


def cut(text: str, characters: int = NAME_CHARACTERS) -> str:
    """Return a text that may be long, with a sign that it was cut."""
    return text if len(text) <= characters else text[: characters - 1] + "…"
