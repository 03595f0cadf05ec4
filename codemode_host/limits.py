"""Every limit of a host: its name, its default, and what it counts."""

from __future__ import annotations

from msgspec import Struct

MIB = 1024 * 1024


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds of one host. `docs/limits.md` says what happens at each."""

    memory_bytes: int | None = 512 * MIB
    """Private memory of one cell's process, above what the engine itself takes."""
    cpu_seconds: int | None = None
    """Processor time of one cell, in seconds."""
    output_bytes: int = 32 * MIB
    """What a cell may have written and nobody has taken yet."""
    queued_bytes: int = 64 * MIB
    """What may wait to be written to the client before cells have to wait."""
    spare_runtimes: int = 2
    """Runtimes that wait for a cell."""
