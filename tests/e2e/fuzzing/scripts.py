"""Composes scripts from the fragments in `fragments.txt`. A seed and a number make the same script again."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

_MARK = re.compile("«(\\w+)»")
_STATEMENTS = {"x": None, "y": False, "a": True, "q": False}
_DEEPEST = 4
_LONGEST = 60_000
"""Characters of one script: what is longer is composed again."""


def read_tables(text: str) -> dict[str, list[str]]:
    """Return the fragments by the names of their tables."""
    tables: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("== "):
            name = line.removeprefix("== ").partition(":")[0]
            tables[name] = []
        elif line and not line.startswith("//"):
            tables[name].append(line)
    return tables


TABLES = read_tables(Path(__file__).with_name("fragments.txt").read_text(encoding="utf-8"))


class Piece:
    """A fragment with what its marks stand for. `dropped` leaves it out, for the search for the smallest script."""

    def __init__(self, parts: list[str | Piece], *, statement: bool, quoted: bool = False) -> None:
        self._parts = parts
        self.statement = statement
        self._quoted = quoted
        self.dropped = False

    def __str__(self) -> str:
        if self.dropped:
            return "" if self.statement else "0"
        text = "".join(map(str, self._parts))
        if self._quoted:
            return text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        return text

    def walk(self) -> Iterator[Piece]:
        """Yield all pieces that may be dropped, the outer ones first."""
        for part in self._parts:
            if isinstance(part, Piece):
                yield part
                yield from part.walk()


class Composer:
    """Draws one script.

    Args:
        seed: Of the campaign.
        number: Of the script in it.
    """

    def __init__(self, seed: int, number: int) -> None:
        self._random = random.Random(f"{seed} {number}")
        self._last = 0

    def script(self) -> Piece:
        """Return the script as a piece, whose text is the source."""
        while True:
            count = self._random.choice((1, 1, 2, 3, 4, 6))
            script = Piece([part for _ in range(count) for part in (self._statement(0, True), "\n")], statement=True)
            if len(str(script)) <= _LONGEST:
                return script

    def fill(self, template: str) -> str:
        """Return one statement with something in place of its marks."""
        return "".join(map(str, self._fill(template, _DEEPEST, True)))

    def _statement(self, depth: int, is_async: bool) -> Piece:
        chance = self._random.random()
        if depth < _DEEPEST and chance < 0.35:
            table = TABLES["wrappers"]
        elif chance < 0.67:
            table = TABLES["language"]
        elif chance < 0.9:
            table = TABLES["helpers"]
        else:
            table = TABLES["exhaustions"]
        while True:
            template = self._random.choice(table)
            if is_async or "await" not in _own_level(template):
                break
        parts = self._fill(template, depth, is_async)
        return Piece(["{ ", *parts, " }"], statement=True)

    def _fill(self, template: str, depth: int, is_async: bool) -> list[str | Piece]:
        self._last += 1
        own = str(self._last)
        pieces = _MARK.split(template)
        parts: list[str | Piece] = [pieces[0]]
        for mark, text in zip(pieces[1::2], pieces[2::2], strict=True):
            parts += [own if mark == "u" else self._mark(mark, depth + 1, is_async), text]
        return parts

    def _mark(self, mark: str, depth: int, is_async: bool) -> str | Piece:
        if mark in _STATEMENTS:
            # Where nothing is nested there is still something that could be.
            if depth > _DEEPEST or self._random.random() < 0.4:
                return ""
            inner = _STATEMENTS[mark]
            piece = self._statement(depth, is_async if inner is None else inner)
            return Piece([piece], statement=True, quoted=True) if mark == "q" else piece
        template = self._random.choice(TABLES[mark])
        if depth > _DEEPEST + 1:
            template = self._simple(template, TABLES[mark])
        parts = self._fill(template, depth, False)
        if mark in "tg":
            return template
        return Piece(["(", *parts, ")"], statement=False)

    def _simple(self, template: str, table: list[str]) -> str:
        for _ in range(20):
            if "«" not in template:
                return template
            template = self._random.choice(table)
        return "0"


def _own_level(template: str) -> str:
    """Return a fragment without its functions that are async themselves, which may await wherever they are."""
    while (start := template.find("async ")) >= 0:
        opening = template.find("{", start)
        if opening < 0:
            return template[:start]
        end, level = opening, 0
        for end in range(opening, len(template)):
            level += {"{": 1, "}": -1}.get(template[end], 0)
            if level == 0:
                break
        template = template[:start] + template[end + 1 :]
    return template


async def smallest(script: Piece, fails: Callable[[str], Awaitable[bool]]) -> str:
    """Drop what can be dropped, for as long as the script still fails; return its source.

    Changes the script. `fails` runs a source.
    """
    changed = True
    while changed:
        changed = False
        for piece in list(script.walk()):
            before = str(script)
            if piece.dropped:
                continue
            piece.dropped = True
            if str(script) == before or not await fails(str(script)):
                piece.dropped = False
            else:
                changed = True
    return str(script)
