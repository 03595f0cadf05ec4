"""Errors in terms of the source that their author wrote: its name, its line numbers, and the line itself."""

from __future__ import annotations

import re
from collections.abc import Callable

from codemode_protocol.source import ExecSource

_POSITION = re.compile(r"exec_main\.mjs:(\d+):(\d+)")

MAX_EXCERPT = 120
"""So many characters of a line a model is shown at most, around the place that the error is about."""


def locate(error_text: str, source: ExecSource, name: str) -> str:
    """An error's text with `name` for the script, and its lines counted as its author counts them."""
    return relocate(error_text, name, lambda line, column: (line + source.stripped_lines, column))


def excerpt(error_text: str, source: ExecSource) -> str | None:
    """The line that an error is about, with its number, and a mark below the place; None when it names no line."""
    place = position(error_text)
    lines = source.source.split("\n")
    if place is None or not 1 <= place[0] <= len(lines):
        return None
    line, column = place
    return point_out(lines[line - 1].rstrip("\r"), line + source.stripped_lines, column, limit=MAX_EXCERPT)


def relocate(error_text: str, name: str, place: Callable[[int, int], tuple[int, int]]) -> str:
    """An error's text with `name` for the script, and what `place` makes of its lines and columns, both from one on."""

    def moved(match: re.Match[str]) -> str:
        line, column = place(int(match[1]), int(match[2]))
        return f"{name}:{line}:{column}"

    return _POSITION.sub(moved, error_text)


def position(error_text: str) -> tuple[int, int] | None:
    """The first line and column that an error names, as the engine counts them."""
    match = _POSITION.search(error_text)
    return None if match is None else (int(match[1]), int(match[2]))


def point_out(text: str, number: int, column: int, limit: int | None = None) -> str:
    """A line with its number and a mark below a column; of a longer one than `limit` only what is around it."""
    # The engine counts UTF-16 units; what stands before the place is as many characters, or fewer.
    before = len(text.encode("utf-16-le", "surrogatepass")[: 2 * (column - 1)].decode("utf-16-le", "ignore"))
    start, end = 0, len(text)
    if limit is not None:
        start = max(0, before - limit // 2)
        end = min(end, start + limit)
    lead = "…" if start else ""
    trail = "…" if end < len(text) else ""
    shown = text[start:end].replace("\t", " ")
    return f"{number:>5} | {lead}{shown}{trail}\n      | {' ' * (len(lead) + before - start)}^"
