"""Every limit of a host: its name, its default, and what it counts. Imported early, so it imports next to nothing."""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

from .runtimes.spawn import DEFAULT_MEMORY_BYTES

MIB = 1024 * 1024


class Limits(NamedTuple):
    """Bounds of one host. `docs/limits.md` says what happens at each."""

    memory_bytes: int | None = DEFAULT_MEMORY_BYTES
    """Memory that one cell fills, above what the engine itself takes."""
    cpu_seconds: int | None = None
    """Processor time of one cell, in seconds."""
    cells: int = 1000
    """Cells that a host has at a time, those included whose result nobody has taken."""
    cells_per_session: int = 500
    """The same of one session."""
    source_bytes: int = 16 * MIB
    """One script, as UTF-8."""
    stored_values: int = 10_000
    """Values that a session keeps."""
    stored_bytes: int = 64 * MIB
    """All of a session's stored values and their keys, as JSON."""
    calls: int = 16_384
    """Tool calls and notifications of one cell that are not answered yet."""
    answer_bytes: int = 256 * MIB
    """Answers to tool calls that a cell does not read."""
    output_bytes: int = 32 * MIB
    """What a cell may have written and nobody has taken yet."""
    total_output_bytes: int = 64 * MIB
    """The same of all cells of a host."""
    queued_bytes: int = 32 * MIB
    """What may wait to be written to the client before cells have to wait."""
    unread_bytes: int = 512 * MIB
    """What may wait to be written to the client before it counts as lost."""
    spare_runtimes: int = 2
    """Runtimes that wait for a cell."""


# Flag, field, how many of the field's units one of the flag's is, and what the flag is for.
_FLAGS = (
    ("--memory-mib", "memory_bytes", MIB, "memory of a cell; 0: no limit"),
    ("--cpu-seconds", "cpu_seconds", 1, "processor time of a cell; 0: no limit"),
    ("--cells", "cells", 1, "cells at a time"),
    ("--cells-per-session", "cells_per_session", 1, "cells at a time of one session"),
    ("--source-mib", "source_bytes", MIB, "size of a script"),
    ("--stored-values", "stored_values", 1, "number of values that a session stores"),
    ("--stored-mib", "stored_bytes", MIB, "size of all values that a session stores"),
    ("--calls", "calls", 1, "tool calls and notifications in flight of a cell"),
    ("--answers-mib", "answer_bytes", MIB, "answers to tool calls that a cell leaves unread"),
    ("--output-mib", "output_bytes", MIB, "output of a cell that nobody has taken"),
    ("--total-output-mib", "total_output_bytes", MIB, "output of all cells that nobody has taken"),
    ("--queue-mib", "queued_bytes", MIB, "what waits for the client before cells wait"),
    ("--unread-mib", "unread_bytes", MIB, "what waits for the client before it counts as lost"),
    ("--spares", "spare_runtimes", 1, "runtimes kept ready"),
)
_ZERO_ALLOWED = ("memory_bytes", "cpu_seconds", "spare_runtimes")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for each limit."""
    group = parser.add_argument_group("limits")
    for flag, field, unit, what in _FLAGS:
        default = getattr(Limits(), field)
        group.add_argument(
            flag,
            dest=field,
            type=_natural if field in _ZERO_ALLOWED else _positive,
            default=0 if default is None else default // unit,
            metavar="N",
            help=f"{what} (default: %(default)s)",
        )


def from_options(options: argparse.Namespace) -> Limits:
    """The limits that the flags say."""
    values: dict[str, Any] = {field: getattr(options, field) * unit for _, field, unit, _ in _FLAGS}
    for field in ("memory_bytes", "cpu_seconds"):
        values[field] = values[field] or None
    return Limits(**values)


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


__all__ = ["MIB", "Limits", "add_flags", "from_options"]
