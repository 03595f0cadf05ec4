"""Notes the moments of an execute from inside the host's processes, for `profile_execute.py`.

    python -m benchmarks.marks FILE [the host's own arguments]

runs the host so that its calls of the operating system (reading, writing, forking, exiting, reaping) leave a note each
in FILE, which all its processes map. Nothing of the host's own is touched, and a note costs about a microsecond: a
clock and three stores. The clock is one for all processes.

The file is a table of 64-bit integers, three for each note: when (nanoseconds), what (below), and a value. The host and
the zygote have a region each, and every cell a small one of its own.
"""

from __future__ import annotations

import mmap
import os
import resource
import sys
import time
from typing import TYPE_CHECKING, Any

from codemode_host.runtimes import link

if TYPE_CHECKING:
    from collections.abc import Callable

NOTE = 3
"""Integers of a note."""

SERVER_INTEGERS = NOTE * (1 << 16)
CELL_INTEGERS = NOTE * 32
MAX_CELLS = 2048
FILE_BYTES = 8 * (2 * SERVER_INTEGERS + MAX_CELLS * CELL_INTEGERS)

# What a note says. In brackets its value.
READ = 1  # os.read returned [bytes]
WRITE = 2  # os.write or os.writev is called [bytes]
SENT = 3  # the host is about to write to a link [kind of the frame]
RECEIVED = 4  # the host has read from a link [kind of the frame]
FORK = 5  # the zygote is about to fork [number of the cell]
FORKED = 6  # … and goes on [pid]
BORN = 7  # the fork's child begins [pid]
WAITS = 8  # a cell is about to read
EXITS = 9  # a cell is about to exit
FAULTS = 10  # right after another note of a cell: [page faults so far]
REAPED = 11  # the zygote has reaped [pid]
REAPED_CPU = 12  # right after REAPED: [processor time in microseconds]
REAPED_FAULTS = 13  # right after that: [page faults]

HOST_REGION = 0
ZYGOTE_REGION = SERVER_INTEGERS
CELL_REGIONS = 2 * SERVER_INTEGERS

_KIND_OFFSET = 4  # of a link frame: its length comes first. A client's frame has its JSON's brace there.
_KINDS_TO_CELL = frozenset((link.START, link.SETTLE, link.FLUSHED))
_KINDS_FROM_CELL = frozenset((link.CALL, link.NOTIFY, link.YIELD, link.FLUSH, link.DONE))


class Marks:
    """One process's notes."""

    def __init__(self, path: str, region: int) -> None:
        with open(path, "r+b") as file:
            self._table = memoryview(mmap.mmap(file.fileno(), FILE_BYTES)).cast("q")
        self._at, self._end = region, region + SERVER_INTEGERS
        self.in_cell = False

    def note(self, what: int, value: int = 0) -> None:
        at = self._at
        if at < self._end:
            table = self._table
            table[at + 1], table[at + 2] = what, value
            table[at] = time.perf_counter_ns()
            self._at = at + NOTE

    def note_faults(self) -> None:
        self.note(FAULTS, resource.getrusage(resource.RUSAGE_SELF).ru_minflt)

    def enter_cell(self, number: int) -> None:
        """This process is a cell from now on."""
        self.in_cell = True
        self._at = CELL_REGIONS + number * CELL_INTEGERS if number < MAX_CELLS else self._end
        self._end = self._at + CELL_INTEGERS if number < MAX_CELLS else self._at


def mark_zygote(path: str) -> None:
    """Note what this process, and those that it forks, ask of the operating system. Called before the zygote runs."""
    marks = Marks(path, ZYGOTE_REGION)
    fork, read, write, leave, wait4 = os.fork, os.read, os.write, os._exit, os.wait4
    cells = 0

    def marked_fork() -> int:
        nonlocal cells
        marks.note(FORK, cells)
        pid = fork()
        if pid == 0:
            marks.enter_cell(cells)
            marks.note(BORN, os.getpid())
            marks.note_faults()
        else:
            marks.note(FORKED, pid)
            cells += 1
        return pid

    def marked_read(fd: int, length: int, /) -> bytes:
        if marks.in_cell:
            marks.note(WAITS)
            marks.note_faults()
        data = read(fd, length)
        marks.note(READ, len(data))
        return data

    def marked_write(fd: int, data: Any, /) -> int:
        marks.note(WRITE, len(data))
        return write(fd, data)

    def marked_exit(status: int) -> None:
        if marks.in_cell:
            marks.note(EXITS)
            marks.note_faults()
        leave(status)

    def marked_wait4(pid: int, options: int) -> tuple[int, int, Any]:
        found, status, usage = wait4(pid, options)
        marks.note(REAPED, found)
        marks.note(REAPED_CPU, int((usage.ru_utime + usage.ru_stime) * 1e6))
        marks.note(REAPED_FAULTS, usage.ru_minflt)
        return found, status, usage

    _replace(os, fork=marked_fork, read=marked_read, write=marked_write, _exit=marked_exit, wait4=marked_wait4)


def mark_host(path: str) -> None:
    """Note what this process asks of the operating system, and have its zygote marked too."""
    marks = Marks(path, HOST_REGION)
    read, write, write_pieces, spawn = os.read, os.write, os.writev, os.posix_spawn
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

    def marked_read(fd: int, length: int, /) -> bytes:
        data = read(fd, length)
        kind = _kind(data)
        if kind in _KINDS_FROM_CELL:
            marks.note(RECEIVED, kind)
        else:
            marks.note(READ, len(data))
        return data

    def marked_write(fd: int, data: Any, /) -> int:
        kind = _kind(data)
        if kind in _KINDS_TO_CELL:
            marks.note(SENT, kind)
        else:
            marks.note(WRITE, len(data))
        return write(fd, data)

    def marked_write_pieces(fd: int, pieces: Any, /) -> int:
        marks.note(WRITE, sum(map(len, pieces)))
        return write_pieces(fd, pieces)

    def marked_spawn(program: str, arguments: list[str], environment: dict[str, str], **options: Any) -> int:
        if "-c" not in arguments:  # not the zygote, but something that a library starts
            return spawn(program, arguments, environment, **options)
        at = arguments.index("-c") + 1
        before = (
            f"import sys; sys.path.append({root!r}); from benchmarks.marks import mark_zygote; mark_zygote({path!r}); "
        )
        return spawn(program, [*arguments[:at], before + arguments[at], *arguments[at + 1 :]], environment, **options)

    _replace(os, read=marked_read, write=marked_write, writev=marked_write_pieces, posix_spawn=marked_spawn)


def _kind(data: Any) -> int:
    return int(memoryview(data)[_KIND_OFFSET]) if len(data) > _KIND_OFFSET else 0


def _replace(where: object, **functions: Callable[..., Any]) -> None:
    for name, function in functions.items():
        setattr(where, name, function)


def main() -> int:
    mark_host(sys.argv[1])
    from codemode_host.__main__ import main as host

    return host(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
