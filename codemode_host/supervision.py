"""What a failure does.

Fail-stop: a host whose engine or whose own machinery broke is not patched up in place. It reports one readable block
on standard error, takes every runtime with it, and ends with a status that says what kind of failure it was. A cell
that is terminated, or that runs into its limits, is no failure of the host: it ends alone.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from enum import IntEnum

from msgspec import Struct

from .limits import MIB, Limits
from .runtimes.link import EXIT_OUT_OF_MEMORY
from .runtimes.pool import RuntimeExit


class ExitStatus(IntEnum):
    """The statuses that `codemode-host` ends with."""

    OK = 0
    """End of input at a frame boundary, or a rejected handshake."""
    MALFORMED_INPUT = 1
    """The client broke the protocol."""
    USAGE = 2
    """The command line was wrong."""
    ENGINE_PANIC = 70
    """A runtime or the zygote died of something that nobody asked for."""
    INTERNAL = 71
    """A task of the host itself failed."""
    LOST_CLIENT = 74
    """The client stopped reading."""
    REFUSED = 78
    """The host would have had to run without something that it promises."""
    INTERRUPTED = 130
    """Ctrl-C."""


class Failure(Struct, frozen=True):
    """One failure: what failed, where, and what there is to show for it."""

    status: ExitStatus
    what: str
    cause: str
    session_id: str | None = None
    cell_id: str | None = None
    evidence: tuple[str, ...] = ()

    def block(self) -> str:
        """The report, ready for standard error."""
        lines = [f"codemode-host: {self.what}", f"  cause: {self.cause}"]
        if self.session_id is not None:
            lines.append(f"  session: {self.session_id}")
        if self.cell_id is not None:
            lines.append(f"  cell: {self.cell_id}")
        lines += [f"  evidence: {line}" for line in self.evidence]
        lines.append(f"  the host stops with status {self.status.value} and takes every runtime with it")
        return "\n".join(lines)


def describe_ending(ending: RuntimeExit) -> str:
    """How a runtime's process ended, in words."""
    if ending.status < 0:
        try:
            how = f"killed by {signal.Signals(-ending.status).name}"
        except ValueError:
            how = f"killed by signal {-ending.status}"
    else:
        how = f"exit status {ending.status}"
    return f"{how}, peak resident size {ending.peak_resident // MIB} MiB, processor time {ending.cpu_time:.2f} s"


_OUT_OF_MEMORY_WORDS = ("out of memory", "unhandlable oom", "failed to allocate", "memoryerror")


def limit_met(ending: RuntimeExit, limits: Limits, stderr_tail: Iterable[str]) -> str | None:
    """The error text of a cell whose process ended at one of its limits; None when that is not what ended it."""
    if ending.status == -signal.SIGXCPU or (
        ending.status == -signal.SIGKILL and limits.cpu_seconds is not None and ending.cpu_time >= limits.cpu_seconds
    ):
        return f"cell exceeded its processor time limit of {limits.cpu_seconds} s"
    if ending.status == EXIT_OUT_OF_MEMORY:
        return f"cell exceeded its memory limit of {(limits.memory_bytes or 0) // MIB} MiB"
    if limits.memory_bytes is not None and ending.status in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGTRAP):
        said_so = any(word in line.lower() for line in stderr_tail for word in _OUT_OF_MEMORY_WORDS)
        if said_so or ending.peak_resident >= limits.memory_bytes * 0.9:
            return f"cell exceeded its memory limit of {limits.memory_bytes // MIB} MiB"
    return None
