"""What the notes of `marks.py` say about one execute."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from benchmarks import marks
from codemode_host.runtimes import link


class Note(NamedTuple):
    """One moment: nanoseconds, one of the constants of `marks`, and its value."""

    when: int
    what: int
    value: int


@dataclass
class Cell:
    """One cell's moments in nanoseconds, its processor time in microseconds, and its page faults so far by moment."""

    pid: int
    fork: int = 0
    forked: int = 0
    born: int = 0
    waits: int = 0
    started: int = 0
    done: int = 0
    exits: int = 0
    reaped: int = 0
    cpu: float = 0.0
    faults: dict[str, float] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return all((self.fork, self.forked, self.waits, self.started, self.done, self.exits, self.reaped))


class NoteMissing(Exception):
    """Something did not leave the note that it should have left; the text says what."""


class Timeline:
    """The host's notes in order, and the cells by the time at which they got their script."""

    def __init__(self, host: list[Note], cells: list[Cell]) -> None:
        self._host = host
        self._times = [note.when for note in host]
        self._cells = sorted((cell for cell in cells if cell.complete), key=lambda cell: cell.started)
        self._starts = [cell.started for cell in self._cells]

    @classmethod
    def read(cls, path: Path) -> Self:
        """The notes of a host that has ended, or is idle."""
        data = path.read_bytes()
        zygote = list(_notes(data, marks.ZYGOTE_REGION, marks.SERVER_INTEGERS))
        cells = []
        for number in range(marks.MAX_CELLS):
            own = list(_notes(data, marks.CELL_REGIONS + number * marks.CELL_INTEGERS, marks.CELL_INTEGERS))
            if own:
                cells.append(_cell(number, own, zygote))
        return cls(list(_notes(data, marks.HOST_REGION, marks.SERVER_INTEGERS)), cells)

    def stages(self, start: int, end: int) -> tuple[dict[str, int], Cell]:
        """The stages of the execute between two moments, in nanoseconds, and its cell. Raises NoteMissing."""
        at = bisect_left(self._starts, start)
        if at == len(self._cells) or self._cells[at].started > end:
            raise NoteMissing("a cell that is forked, gets its script, says its end, exits and is reaped")
        cell = self._cells[at]
        notes = self._host[bisect_left(self._times, start) : bisect_left(self._times, end)]
        read = _first(notes, "the host's read of a request", marks.READ)
        sent = _first(notes, "its sending of the script", marks.SENT, link.START)
        heard = _first(notes, "its receiving of the end", marks.RECEIVED, link.DONE)
        answered = _first([note for note in notes if note.when >= heard], "its writing of the answer", marks.WRITE)
        moments = {
            "request": (start, read),
            "start": (read, sent),
            "wake": (sent, cell.started),
            "script": (cell.started, cell.done),
            "done": (cell.done, heard),
            "answer": (heard, answered),
            "result": (answered, end),
            "total": (start, end),
            "fork": (cell.fork, cell.forked),
            "setup": (cell.born, cell.waits),
            "spare": (cell.waits, cell.started),
            "reap": (cell.exits, cell.reaped),
        }
        return {name: until - since for name, (since, until) in moments.items()}, cell


def _first(notes: list[Note], name: str, what: int, value: int | None = None) -> int:
    for note in notes:
        if note.what == what and value in (None, note.value):
            return note.when
    raise NoteMissing(name)


def _notes(data: bytes, region: int, length: int) -> Iterator[Note]:
    for at in range(region, region + length, marks.NOTE):
        note = Note(*struct.unpack_from("=3q", data, at * 8))
        if not note.when:
            return
        yield note


def _cell(number: int, own: list[Note], zygote: list[Note]) -> Cell:
    cell = Cell(own[0].value, born=own[0].when)
    born, script = 0.0, 0.0
    for note, after in zip(own, [*own[1:], Note(0, 0, 0)], strict=True):
        faults = after.value if after.what == marks.FAULTS else 0
        match note.what:
            case marks.BORN:
                born = faults
            case marks.WAITS if not cell.waits:
                cell.waits = note.when
                cell.faults["setup"] = faults
            case marks.READ if not cell.started:
                cell.started = note.when
            case marks.WRITE:
                cell.done = note.when
            case marks.EXITS:
                cell.exits = note.when
                script = faults
            case _:
                pass
    cell.faults["script"] = script - cell.faults.get("setup", born)
    for at, note in enumerate(zygote):
        if note.what == marks.FORK and note.value == number:
            cell.fork, cell.forked = note.when, zygote[at + 1].when if at + 1 < len(zygote) else 0
        elif note.what == marks.REAPED and note.value == cell.pid and at + 2 < len(zygote):
            cell.reaped = note.when
            cell.cpu, cell.faults["all"] = zygote[at + 1].value, zygote[at + 2].value
    return cell
