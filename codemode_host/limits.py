"""Every limit of a host: its name, its default, and what it counts. Imported early, so it imports next to nothing."""

from __future__ import annotations

from typing import NamedTuple

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
