"""A control group for the zygote and its cells, which bounds what all of them take together, whatever it is made of.

The kernel counts for it: page tables, pipes and the kernel's own memory, too. Where the bound is met it ends a process
of the group, a cell rather than the zygote. Control groups are there in two versions: in the first each resource has a
hierarchy of its own, in the second all share one, and a group that has processes gives no groups to others.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time

_PREFIX = "codemode-"
REMOVE_SECONDS = 0.5
"""Processes that were killed may take so long until they have left the group."""


class MemoryGroup:
    """A group of this process's, below or beside its own. `remove` takes it away again."""

    def __init__(self, path: str, limit_file: str, events_file: str) -> None:
        self._path = path
        self._limit_file = limit_file
        self._events_file = events_file
        self._kills = 0

    @classmethod
    def create(cls, limit: int) -> MemoryGroup:
        """Make a group whose processes may take so many bytes together.

        Raises:
            OSError: There are no control groups for memory here, or this process may not make one.
        """
        first, second = _own_groups()
        if first is not None:
            group = cls(_make(first), "memory.limit_in_bytes", "memory.oom_control")
        elif second is not None:
            group = cls(_make(_giving(second)), "memory.max", "memory.events")
        else:
            raise OSError(errno.ENOENT, "the system has no control groups for memory")
        try:
            group._write(group._limit_file, str(limit))
            for swap in ("memory.memsw.limit_in_bytes", "memory.swap.max"):
                with contextlib.suppress(OSError):  # only one version has it, and only where there is swap
                    group._write(swap, str(limit) if "memsw" in swap else "0")
        except BaseException:
            group.remove()
            raise
        return group

    def add(self, pid: int) -> None:
        """Put a process into the group, with all that it forks from now on. Raises OSError."""
        self._write("cgroup.procs", str(pid))

    def has_killed(self) -> bool:
        """Return whether the kernel has ended one more process here than this has returned True for."""
        with contextlib.suppress(OSError), open(f"{self._path}/{self._events_file}", encoding="ascii") as file:
            for line in file:
                name, _, value = line.partition(" ")
                if name == "oom_kill" and int(value) > self._kills:
                    self._kills += 1
                    return True
        return False

    def remove(self) -> None:
        """Remove the group, whose processes have been killed."""
        deadline = time.monotonic() + REMOVE_SECONDS
        while True:
            try:
                os.rmdir(self._path)
            except FileNotFoundError:
                return
            except OSError:
                if time.monotonic() > deadline:
                    return  # the next host that makes a group here removes it
                time.sleep(0.002)
            else:
                return

    def _write(self, name: str, text: str) -> None:
        with open(f"{self._path}/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _own_groups(proc: str = "/proc/self") -> tuple[str | None, str | None]:
    """Return the folder of this process's group for memory in each version, None where there is none."""
    with open(f"{proc}/cgroup", encoding="utf-8") as file:
        groups = [line.rstrip("\n").split(":", 2) for line in file]
    with open(f"{proc}/mountinfo", encoding="utf-8") as file:
        mounts = [line.split() for line in file]
    first = second = None
    for _, controllers, path in groups:
        for mount in mounts:
            root, place, kind = mount[3], mount[4], mount[mount.index("-") + 1 :]
            inside = path.removeprefix(root) if root != "/" else path
            folder = f"{place}/{inside.strip('/')}".rstrip("/")
            if kind[0] == "cgroup" and "memory" in controllers.split(",") and "memory" in kind[2].split(","):
                first = folder
            elif kind[0] == "cgroup2" and not controllers and "memory" in _read(f"{folder}/cgroup.controllers"):
                second = folder
    return first, second


def _giving(own: str) -> str:
    """Return the folder, in the second version's hierarchy, in which a group can have a bound on memory."""
    if "memory" in _read(f"{own}/cgroup.subtree_control"):
        return own
    try:
        with open(f"{own}/cgroup.subtree_control", "w", encoding="ascii") as file:
            file.write("+memory")
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return os.path.dirname(own)  # the own group has processes, so that the new one is beside it
    return own


def _make(parent: str) -> str:
    for name in os.listdir(parent):
        pid = name.removeprefix(_PREFIX).partition("-")[0]
        if name.startswith(_PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            with contextlib.suppress(OSError):
                os.rmdir(f"{parent}/{name}")  # its host was killed
    for number in range(1000):
        path = f"{parent}/{_PREFIX}{os.getpid()}-{number}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
            return path
    raise OSError(errno.EEXIST, "too many control groups of this process")


def _read(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []
