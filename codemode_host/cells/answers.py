"""What is said about a cell: refusals, answers, and its end."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from codemode_protocol.values import LiveCell, MissingCell, Outcome, Result, RuntimeResponse


class CellRequestError(Exception):
    """A request about a cell cannot be met; the message is for the caller."""


class Done(Struct, forbid_unknown_fields=True):
    """What a runtime says when its script is over; `stored` are JSON texts by key."""

    error: str | None
    stored: dict[str, str]


done_decoder: msgspec.json.Decoder[Done] = msgspec.json.Decoder(Done)


class PendingAnswer(Struct):
    """A request about a cell that is not answered yet."""

    answer: Callable[[RuntimeResponse], None]
    since: int = msgspec.field(default_factory=time.perf_counter_ns)
    """When it was made, in nanoseconds of `time.perf_counter_ns`."""


def live(response: RuntimeResponse) -> Outcome:
    """Return the outcome for a cell that is there."""
    return LiveCell(response)


def missing(cell_id: str) -> Outcome:
    """Return the outcome for a cell that is not there, or no more."""
    return MissingCell(Result(cell_id, [], f"exec cell {cell_id} not found", 0, 0))
