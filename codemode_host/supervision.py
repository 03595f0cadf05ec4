"""Failures of the host and limits of cells.

Fail-stop: a host whose engine or own code failed does not try to recover. It reports one readable block on standard
error, ends every runtime, and exits with a status for the kind of failure. A cell that is terminated or meets a limit
is no failure of the host: it ends alone.
"""

from __future__ import annotations

import contextlib
import signal
from collections import deque

import msgspec
from msgspec import Struct

from codemode_host.options import MAX_PANICS, PANIC_SECONDS
from codemode_host.runtimes.host_side.runtimes import RuntimeExit
from codemode_host.runtimes.link import EXIT_OUT_OF_MEMORY
from codemode_protocol.errors import describe_exit_status
from codemode_protocol.exit_status import HostExitStatus
from codemode_protocol.limits import (
    CPU_MET,
    MACHINE_OUT_OF_MEMORY,
    MEMORY_MET,
    MEMORY_RAN_OUT,
    MIB,
    PROCESS_NOT_STARTED,
    TOTAL_MEMORY_MET,
    Limits,
)


class HostFailure(Struct, frozen=True):
    """One failure: what failed, where, and the evidence."""

    status: HostExitStatus
    what: str
    cause: str
    session_id: str | None = None
    cell_id: str | None = None
    evidence: tuple[str, ...] = ()

    def report(self) -> str:
        """Format the failure as one readable block."""
        lines = [f"codemode-host: {self.what}", f"  cause: {self.cause}"]
        if self.session_id is not None:
            lines.append(f"  session: {self.session_id}")
        if self.cell_id is not None:
            lines.append(f"  cell: {self.cell_id}")
        lines += [f"  evidence: {line}" for line in self.evidence]
        return "\n".join(lines)

    def block(self) -> str:
        """Format the report of a host that stops because of the failure."""
        return f"{self.report()}\n  the host stops with status {self.status.value} and takes every runtime with it"


class HostStopped(Exception):
    """The host must stop now because of `failure`."""

    def __init__(self, failure: HostFailure) -> None:
        super().__init__(failure.cause)
        self.failure = failure


class Panics:
    """The engine panics of late."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MAX_PANICS)

    def are_too_many(self, now: float) -> bool:
        """Count one more; return whether it is the last of `MAX_PANICS` within `PANIC_SECONDS`."""
        self._times.append(now)
        return len(self._times) == MAX_PANICS and now - self._times[0] <= PANIC_SECONDS

    @staticmethod
    def count_in(failure: HostFailure) -> HostFailure:
        """Return a failure that says that it was one too many."""
        cause = f"{failure.cause} (the last of {MAX_PANICS} panics within {PANIC_SECONDS:.0f} s)"
        return msgspec.structs.replace(failure, cause=cause)


def describe_ending(ending: RuntimeExit) -> str:
    """Describe how a runtime's process ended."""
    return (
        f"{describe_exit_status(ending.status)}, peak resident size {ending.peak_resident // MIB} MiB, "
        f"processor time {ending.cpu_time:.2f} s"
    )


def limit_met(ending: RuntimeExit, limits: Limits) -> str | None:
    """Return the error text of a cell whose process ended at one of its limits; None when that is not what ended it.

    Only what the host, the kernel or the runtime's own code has set down counts. How much memory a process had, or what
    it wrote on standard error, does not: a script can bring about either, and crash for another reason.
    """
    status = ending.status
    if ending.not_started is not None:
        return PROCESS_NOT_STARTED(reason=ending.not_started)
    if ending.over_memory or status == EXIT_OUT_OF_MEMORY:
        return memory_limit_text(limits)
    if ending.over_total and limits.total_memory_bytes is not None:
        return TOTAL_MEMORY_MET(limit=limits.total_memory_bytes // MIB)
    if limits.cpu_seconds is not None and (
        status == -signal.SIGXCPU or (status == -signal.SIGKILL and ending.cpu_time >= limits.cpu_seconds)
    ):
        return CPU_MET(limit=limits.cpu_seconds)
    if status == -signal.SIGKILL and not ending.asked and _kernel_killed_for_memory():
        return MACHINE_OUT_OF_MEMORY()
    return None


def memory_limit_text(limits: Limits) -> str:
    """Return the error text of a cell that ran out of memory."""
    if limits.memory_bytes is None:
        return MEMORY_RAN_OUT()
    return MEMORY_MET(limit=limits.memory_bytes // MIB)


_oom_kills: int | None = None


def _kernel_killed_for_memory() -> bool:
    """Return whether the kernel has killed processes for want of memory since `watch_kernel` or the last call."""
    global _oom_kills
    before, _oom_kills = _oom_kills, count_oom_kills()
    return before is not None and _oom_kills > before


def count_oom_kills() -> int:
    """Return how many processes the kernel has killed because it was out of memory, on this machine or container."""
    with contextlib.suppress(OSError), open("/proc/vmstat", encoding="ascii") as file:
        for line in file:
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


def watch_kernel() -> None:
    """Remember the number of processes that the kernel has killed so far, so that only later ones count."""
    global _oom_kills
    _oom_kills = count_oom_kills()
