"""What processes cost, read from /proc: which belong together, their memory and their processor time."""

from __future__ import annotations

import os
from pathlib import Path

MB = 1_000_000
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """The process `root` and all that descend from it, parents before children."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))) is not None:
            parents.setdefault(int(fields[1]), []).append(int(name))
    found = [root]
    for pid in found:  # grows while it is walked
        found += parents.get(pid, [])
    return found


def children(pid: int) -> set[int]:
    """The processes that `pid` started and that were not reaped yet."""
    return {
        int(name)
        for name in os.listdir("/proc")
        if name.isdigit() and (fields := _stat(int(name))) is not None and int(fields[1]) == pid
    }


def memory(root: int) -> float:
    """Memory of `root` and its descendants in MB, as their proportional set size: shared pages count once.

    Raises PermissionError where the system does not let one read it.
    """
    return sum(map(_pss, tree(root)))


def cpu_seconds(pid: int, *, reaped: bool = True) -> float:
    """Processor time of one process, in seconds; with `reaped` also of the children that it has reaped."""
    fields = _stat(pid)
    if fields is None:
        return 0.0
    return sum(map(int, fields[11 : 15 if reaped else 13])) * _TICK_SECONDS


def running_seconds(pid: int) -> float:
    """Processor time of the threads that a process has now, in seconds, to the nanosecond where the kernel keeps it."""
    total = 0
    for thread in Path("/proc", str(pid), "task").iterdir():
        try:
            total += int((thread / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            return cpu_seconds(pid, reaped=False)
    return total / 1e9


class Foreign:
    """The processor time of all processes except this one and its descendants.

    Other work makes a benchmark less reliable, so its share is reported with the results.
    """

    def __init__(self) -> None:
        self._busy, self._total = _machine()
        self._own = _own_seconds()

    def share(self) -> float:
        """The share since this object was made, from 0 to 1."""
        busy, total = _machine()
        if total <= self._total:
            return 0.0
        own = _own_seconds() - self._own
        return min(1.0, max(0.0, (busy - self._busy - own) / (total - self._total)))


def _own_seconds() -> float:
    return sum(map(cpu_seconds, tree(os.getpid())))


def _machine() -> tuple[float, float]:
    """Seconds that the processors were busy, and all their seconds, since the machine started."""
    user, nice, system, idle, waiting, irq, soft, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    busy = user + nice + system + irq + soft + steal
    return busy * _TICK_SECONDS, (busy + idle + waiting) * _TICK_SECONDS


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on, None when the process is gone."""
    try:
        text = Path("/proc", str(pid), "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name before them stands in parentheses, and may have some in it.
    return text[text.rindex(")") + 2 :].split()


def _pss(pid: int) -> float:
    try:
        for line in Path("/proc", str(pid), "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / MB
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended meanwhile, or is a zombie
    return 0.0
