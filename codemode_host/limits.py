"""The limits of one host, with the defaults of `codemode_protocol.limits`. Imported early: it imports little."""

from __future__ import annotations

from typing import NamedTuple

from codemode_protocol.limits import DEFAULTS, MIB

__all__ = ["MIB", "Limits"]


class Limits(NamedTuple):
    """Bounds of one host. `docs/limits.md` says what happens at each."""

    memory_bytes: int | None = DEFAULTS["memory_bytes"]
    """Memory that one cell fills, above what the engine itself takes."""
    cpu_seconds: int | None = DEFAULTS["cpu_seconds"] or None
    """Processor time of one cell, in seconds."""
    cells: int = DEFAULTS["cells"]
    """Cells that a host has at a time, those included whose result nobody has taken."""
    cells_per_session: int = DEFAULTS["cells_per_session"]
    """The same of one session."""
    source_bytes: int = DEFAULTS["source_bytes"]
    """One script, as UTF-8."""
    stored_values: int = DEFAULTS["stored_values"]
    """Values that a session keeps."""
    stored_bytes: int = DEFAULTS["stored_bytes"]
    """All of a session's stored values and their keys, as JSON."""
    calls: int = DEFAULTS["calls"]
    """Tool calls and notifications of one cell that are not answered yet."""
    answer_bytes: int = DEFAULTS["answer_bytes"]
    """Answers to tool calls that a cell does not read."""
    output_bytes: int = DEFAULTS["output_bytes"]
    """What a cell may have written and nobody has taken yet."""
    total_output_bytes: int = DEFAULTS["total_output_bytes"]
    """The same of all cells of a host."""
    queued_bytes: int = DEFAULTS["queued_bytes"]
    """What may wait to be written to the client before cells have to wait."""
    unread_bytes: int = DEFAULTS["unread_bytes"]
    """What may wait to be written to the client before it counts as lost."""
    spare_runtimes: int = DEFAULTS["spare_runtimes"]
    """Runtimes that wait for a cell."""
