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


class Observer:
    """Whoever waits for an answer, and since when."""

    __slots__ = ("answer", "since")

    def __init__(self, answer: Callable[[RuntimeResponse], None]) -> None:
        self.answer: Callable[[RuntimeResponse], None] = answer
        self.since: int = time.perf_counter_ns()


def live(response: RuntimeResponse) -> Outcome:
    return LiveCell(response)


def missing(cell_id: str) -> Outcome:
    """The outcome for a cell that is not there, or no more."""
    return MissingCell(Result(cell_id, [], f"exec cell {cell_id} not found", 0, 0))
