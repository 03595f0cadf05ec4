"""Rewrites the positions in errors to the source as its author wrote it."""

from __future__ import annotations

import re
from collections.abc import Callable

from codemode_protocol.source import ExecSource

_POSITION = re.compile(r"exec_main\.mjs:(\d{1,9}):(\d{1,9})")

MAX_QUOTED = 120
"""The most characters of a line that a model is shown, around the place of the error."""


def locate(error_text: str, source: ExecSource, name: str) -> str:
    """Return an error's text with `name` for the script and the author's line numbers."""
    return relocate(error_text, name, lambda line, column: (line + source.stripped_lines, column))


def quote_line(error_text: str, source: ExecSource) -> str | None:
    """Return the line of an error, with its number and a mark below the place; None if the error names no line."""
    place = position(error_text)
    lines = source.source.split("\n")
    if place is None or not 1 <= place[0] <= len(lines):
        return None
    line, column = place
    return point_out(lines[line - 1].rstrip("\r"), line + source.stripped_lines, column, limit=MAX_QUOTED)


def relocate(error_text: str, name: str, place: Callable[[int, int], tuple[int, int]]) -> str:
    """Return an error's text with `name` for the script and its lines and columns, from 1, mapped by `place`."""

    def moved(match: re.Match[str]) -> str:
        line, column = place(int(match[1]), int(match[2]))
        return f"{name}:{line}:{column}"

    return _POSITION.sub(moved, error_text)


def position(error_text: str) -> tuple[int, int] | None:
    """Return the first line and column in an error, as the engine counts them."""
    match = _POSITION.search(error_text)
    return None if match is None else (int(match[1]), int(match[2]))


def point_out(text: str, number: int, column: int, limit: int | None = None) -> str:
    """Return a line with its number and a mark below a column, cut around it to `limit` characters."""
    # The engine counts UTF-16 units, of which a character has one or two.
    before = len(text.encode("utf-16-le", "surrogatepass")[: 2 * (column - 1)].decode("utf-16-le", "ignore"))
    start, end = 0, len(text)
    if limit is not None:
        start = max(0, before - limit // 2)
        end = min(end, start + limit)
    lead = "…" if start else ""
    trail = "…" if end < len(text) else ""
    shown = text[start:end].replace("\t", " ")
    return f"{number:>5} | {lead}{shown}{trail}\n      | {' ' * (len(lead) + before - start)}^"
