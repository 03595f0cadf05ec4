"""Every limit: its name, its default, the host's flag for it, and what is said where it is met.

The host makes its texts from here, the client's counters tell by them which limit a cell met (the wire has no field for
it), and docs/limits.md is checked against this module. It imports next to nothing, for the host needs it at its start.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from codemode_protocol.default_memory import DEFAULT_MEMORY_BYTES

if TYPE_CHECKING:
    import re

KIB = 1024
MIB = 1024 * KIB

MAX_FRAME_BYTES = 64 * MIB
"""The payload of a frame, which is the protocol's own limit."""


MAX_ITEM_JSON_BYTES = 44 * MIB
"""The largest text or image, as JSON."""

MAX_JSON_DEPTH = 120
"""How deep JSON may be nested that a tool is given, or gives back: others read no more than 128 levels of a message."""


class Limits(NamedTuple):
    """The limits of one host that can be set. `FLAGS` has how, docs/limits.md what happens at each."""

    memory_bytes: int | None = DEFAULT_MEMORY_BYTES
    """Memory that one cell fills, above what the engine itself takes; None for no limit."""
    total_memory_bytes: int | None = None
    """Memory that all cells of a host take together, with the zygote; None for no limit. Needs a control group."""
    cpu_seconds: int | None = None
    """Processor time of one cell, in seconds; None for no limit."""
    cells: int = 1000
    """Cells that a host has at a time, those included whose result has not been taken."""
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
    calls_per_session: int = 32_768
    """The same of all cells of one session."""
    answer_bytes: int = 256 * MIB
    """Answers to tool calls that a cell does not read."""
    output_bytes: int = 32 * MIB
    """Output of a cell that has not been taken."""
    total_output_bytes: int = 64 * MIB
    """The same of all cells of a host."""
    queued_bytes: int = 128 * KIB
    """What may wait to be written to the client before cells have to wait: a cell that says much is heard no sooner."""
    unread_bytes: int = 512 * MIB
    """What may wait to be written to the client before the client counts as lost."""
    spare_runtimes: int = 2
    """Runtimes that wait for a cell."""


class LimitFlag(NamedTuple):
    """How a limit is set on the command line of `codemode-host`."""

    flag: str
    unit: int
    """How many of the limit's own units one of the flag's is."""
    help: str
    zero_allowed: bool = False


FLAGS = {
    "memory_bytes": LimitFlag("--memory-mib", MIB, "memory of a cell; 0: no limit", zero_allowed=True),
    "total_memory_bytes": LimitFlag(
        "--total-memory-mib", MIB, "memory of all cells together, by a control group; 0: no limit", zero_allowed=True
    ),
    "cpu_seconds": LimitFlag("--cpu-seconds", 1, "processor time of a cell; 0: no limit", zero_allowed=True),
    "cells": LimitFlag("--cells", 1, "cells at a time"),
    "cells_per_session": LimitFlag("--cells-per-session", 1, "cells at a time of one session"),
    "source_bytes": LimitFlag("--source-mib", MIB, "size of a script"),
    "stored_values": LimitFlag("--stored-values", 1, "number of values that a session stores"),
    "stored_bytes": LimitFlag("--stored-mib", MIB, "size of all values that a session stores"),
    "calls": LimitFlag("--calls", 1, "tool calls and notifications in flight of a cell"),
    "calls_per_session": LimitFlag("--calls-per-session", 1, "tool calls and notifications in flight of one session"),
    "answer_bytes": LimitFlag("--answers-mib", MIB, "answers to tool calls that a cell leaves unread"),
    "output_bytes": LimitFlag("--output-mib", MIB, "output of a cell that has not been taken"),
    "total_output_bytes": LimitFlag("--total-output-mib", MIB, "output of all cells that has not been taken"),
    "queued_bytes": LimitFlag("--queue-kib", KIB, "what waits for the client before cells wait"),
    "unread_bytes": LimitFlag("--unread-mib", MIB, "what waits for the client before it counts as lost"),
    "spare_runtimes": LimitFlag("--spares", 1, "runtimes kept ready", zero_allowed=True),
}
"""By the field of `Limits`."""


class LimitText(NamedTuple):
    """What is said where a limit is met. `limit` is the limit's name, `template` what `str.format` fills in.

    Of the values that are filled in, `limit` and `size` are numbers and all others any text.
    """

    limit: str
    template: str

    def __call__(self, **values: object) -> str:
        """Return the text with these values."""
        return self.template.format(**values)


MEMORY_MET = LimitText("memory_bytes", "cell exceeded its memory limit of {limit} MiB")
MEMORY_RAN_OUT = LimitText("memory_bytes", "cell ran out of memory")
TOTAL_MEMORY_MET = LimitText(
    "total_memory_bytes",
    "the cells of the host exceeded {limit} MiB of memory together, and the kernel stopped this one",
)
CPU_MET = LimitText("cpu_seconds", "cell exceeded its processor time limit of {limit} s")
ANSWERS_MET = LimitText("answer_bytes", "cell left more than {limit} MiB of answers to its tool calls unread")
ITEM_TOO_LARGE = LimitText("item_bytes", "a text or an image takes more than {limit} bytes")
ITEM_JSON_TOO_LARGE = LimitText("item_bytes", "a text or an image takes more than {limit} bytes as JSON")
NOTIFICATION_TOO_LARGE = LimitText("item_bytes", "a notification takes more than {limit} bytes as JSON")
MACHINE_OUT_OF_MEMORY = LimitText("machine_memory", "the machine ran out of memory, and its kernel stopped the cell")
PROCESS_NOT_STARTED = LimitText("processes", "no process could be started for the cell: {reason}")
PROCESS_REFUSED = LimitText("processes", "no process can be started for the cell: {reason}")
SOURCE_TOO_LARGE = LimitText("source_bytes", "the source takes {size} bytes, more than {limit} MiB")
SESSION_FULL = LimitText(
    "cells_per_session", "session {session} has {limit} cells already, as many as it may have: {remedy}"
)
HOST_FULL = LimitText("cells", "the host has {limit} cells already, as many as it may have")
TOO_MANY_STORED = LimitText(
    "stored_values", "nothing was stored: the session would have more than {limit} stored values"
)
STORED_TOO_LARGE = LimitText(
    "stored_bytes", "nothing was stored: the session's values would take more than {limit} MiB"
)

CELL_STORED_TOO_LARGE = LimitText(
    "stored_bytes", "nothing was stored: what the cell stores takes more than {limit} MiB as JSON"
)

_ALONE = (
    MEMORY_MET,
    MEMORY_RAN_OUT,
    TOTAL_MEMORY_MET,
    CPU_MET,
    ANSWERS_MET,
    ITEM_TOO_LARGE,
    ITEM_JSON_TOO_LARGE,
    NOTIFICATION_TOO_LARGE,
    MACHINE_OUT_OF_MEMORY,
    PROCESS_NOT_STARTED,
    PROCESS_REFUSED,
    SOURCE_TOO_LARGE,
    SESSION_FULL,
    HOST_FULL,
)
"""Texts that are the whole error."""
_LAST_LINES = (TOO_MANY_STORED, STORED_TOO_LARGE, CELL_STORED_TOO_LARGE)
"""Texts on a line of their own, below whatever else was wrong: storing is refused after the script's end."""

FRAME_LIMIT = "frame_bytes"
"""The name of the limit on what one message may hold."""

DELEGATE_CALL_LIMIT = "delegate_calls"
"""The name of the client's own limit on tool calls in flight."""

LIMIT_NAMES = (FRAME_LIMIT, DELEGATE_CALL_LIMIT, *dict.fromkeys(text.limit for text in (*_ALONE, *_LAST_LINES)))
"""The names by which limits are counted that were met."""

_LONGEST_TEXT = 4096


def limit_named_in(error_text: str) -> str | None:
    """Return the name of the limit that a host's error text speaks of; None when it speaks of something else.

    A script that throws these very words is taken at its word.
    """
    match = _pattern(_LAST_LINES).fullmatch(error_text.rpartition("\n")[2])
    if match is None and len(error_text) <= _LONGEST_TEXT:
        match = _pattern(_ALONE).fullmatch(error_text)
    # An alternative is named for its limit, and numbered, since a limit may have several texts.
    return None if match is None or match.lastgroup is None else match.lastgroup.rpartition("_")[0]


@cache
def _pattern(texts: tuple[LimitText, ...]) -> re.Pattern[str]:
    import re
    from string import Formatter

    alternatives = []
    for number, text in enumerate(texts):
        pattern = ""
        for literal, field, _, _ in Formatter().parse(text.template):
            pattern += re.escape(literal)
            if field is not None:
                pattern += r"\d+" if field in ("limit", "size") else ".*"
        alternatives.append(f"(?P<{text.limit}_{number}>{pattern})")
    return re.compile("|".join(alternatives), re.DOTALL)
