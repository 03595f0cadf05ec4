"""Every limit that has a name: its default, its flag, and the texts that a host says when it is met.

The host takes its defaults, flags and error texts from here, the client recognises a limit by the same texts, and
docs/limits.md is checked against them. Imported while a host starts, so it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MIB = 1024 * 1024

# The texts are templates. `{number}` stands for digits and `{words}` for anything.
MEMORY_EXCEEDED = "cell exceeded its memory limit of {number} MiB"
MEMORY_EXHAUSTED = "cell ran out of memory"
CPU_TIME_EXCEEDED = "cell exceeded its processor time limit of {number} s"
TOO_MANY_CELLS = "the host has {number} cells already, as many as it may have"
TOO_MANY_CELLS_IN_SESSION = (
    "session {words} has {number} cells already, as many as it may have: "
    "terminate some, or take the results of those that ended"
)
SOURCE_TOO_LARGE = "the source takes {size} bytes, more than {number} MiB"
TOO_MANY_STORED_VALUES = "nothing was stored: the session would have more than {number} stored values"
STORED_VALUES_TOO_LARGE = "nothing was stored: the session's values would take more than {number} MiB"
TOO_MANY_UNREAD_ANSWERS = "cell left more than {number} MiB of answers to its tool calls unread"
ITEM_TOO_LARGE = "a text or an image takes more than {number} bytes"
ITEM_TOO_LARGE_AS_JSON = "a text or an image takes more than {number} bytes as JSON"
NOTIFICATION_TOO_LARGE = "a notification takes more than {number} bytes as JSON"
MACHINE_OUT_OF_MEMORY = "the machine ran out of memory, and its kernel stopped the cell"
PROCESS_NOT_STARTED = "no process could be started for the cell: {words}"
PROCESS_REFUSED = "no process can be started for the cell: {words}"

FREE_TEXT_FIELDS = frozenset({"words"})
"""The fields of the templates that stand for anything; all others stand for digits."""


class Limit:
    """One limit.

    Attributes:
        name: Its name in the counters and, where it has a flag, the field of `codemode_host.limits.Limits`.
        default: What holds where nothing else is said, in the smallest unit; 0 is none of the host's own.
        unit: How many of the smallest unit one of the flag's is: `MIB` where the flag counts MiB.
        flag: The flag of `codemode-host` that sets it; None where it is fixed or belongs to the machine.
        purpose: What `codemode-host --help` says about the flag.
        zero_allowed: Whether the flag takes 0.
        texts: The templates of the error texts of a cell or a request that met it.
        follows_error: Whether the text stands on a line below whatever else was wrong with the cell.
    """

    __slots__ = ("default", "flag", "follows_error", "name", "purpose", "texts", "unit", "zero_allowed")

    def __init__(
        self,
        name: str,
        default: int = 0,
        *,
        unit: int = 1,
        flag: str | None = None,
        purpose: str = "",
        zero_allowed: bool = False,
        texts: tuple[str, ...] = (),
        follows_error: bool = False,
    ) -> None:
        self.name = name
        self.default = default
        self.unit = unit
        self.flag = flag
        self.purpose = purpose
        self.zero_allowed = zero_allowed
        self.texts = texts
        self.follows_error = follows_error


LIMITS: Final = (
    Limit(
        "memory_bytes",
        256 * MIB,
        unit=MIB,
        flag="--memory-mib",
        purpose="memory of a cell; 0: no limit",
        zero_allowed=True,
        texts=(MEMORY_EXCEEDED, MEMORY_EXHAUSTED),
    ),
    Limit(
        "cpu_seconds",
        flag="--cpu-seconds",
        purpose="processor time of a cell; 0: no limit",
        zero_allowed=True,
        texts=(CPU_TIME_EXCEEDED,),
    ),
    Limit("cells", 1000, flag="--cells", purpose="cells at a time", texts=(TOO_MANY_CELLS,)),
    Limit(
        "cells_per_session",
        500,
        flag="--cells-per-session",
        purpose="cells at a time of one session",
        texts=(TOO_MANY_CELLS_IN_SESSION,),
    ),
    Limit(
        "source_bytes", 16 * MIB, unit=MIB, flag="--source-mib", purpose="size of a script", texts=(SOURCE_TOO_LARGE,)
    ),
    Limit(
        "stored_values",
        10_000,
        flag="--stored-values",
        purpose="number of values that a session stores",
        texts=(TOO_MANY_STORED_VALUES,),
        follows_error=True,
    ),
    Limit(
        "stored_bytes",
        64 * MIB,
        unit=MIB,
        flag="--stored-mib",
        purpose="size of all values that a session stores",
        texts=(STORED_VALUES_TOO_LARGE,),
        follows_error=True,
    ),
    Limit("calls", 16_384, flag="--calls", purpose="tool calls and notifications in flight of a cell"),
    Limit(
        "answer_bytes",
        256 * MIB,
        unit=MIB,
        flag="--answers-mib",
        purpose="answers to tool calls that a cell leaves unread",
        texts=(TOO_MANY_UNREAD_ANSWERS,),
    ),
    Limit("output_bytes", 32 * MIB, unit=MIB, flag="--output-mib", purpose="output of a cell that nobody has taken"),
    Limit(
        "total_output_bytes",
        64 * MIB,
        unit=MIB,
        flag="--total-output-mib",
        purpose="output of all cells that nobody has taken",
    ),
    Limit(
        "queued_bytes", 32 * MIB, unit=MIB, flag="--queue-mib", purpose="what waits for the client before cells wait"
    ),
    Limit(
        "unread_bytes",
        512 * MIB,
        unit=MIB,
        flag="--unread-mib",
        purpose="what waits for the client before it counts as lost",
    ),
    Limit("spare_runtimes", 2, flag="--spares", purpose="runtimes kept ready", zero_allowed=True),
    Limit("frame_bytes", 64 * MIB, unit=MIB),
    Limit("delegate_calls", 65_536),
    Limit("item_bytes", 24 * MIB, unit=MIB, texts=(ITEM_TOO_LARGE, ITEM_TOO_LARGE_AS_JSON, NOTIFICATION_TOO_LARGE)),
    Limit("machine_memory", texts=(MACHINE_OUT_OF_MEMORY,)),
    Limit("processes", texts=(PROCESS_NOT_STARTED, PROCESS_REFUSED)),
)

DEFAULTS: Final = {limit.name: limit.default for limit in LIMITS}
"""The default of each limit by its name, 0 where there is none."""
