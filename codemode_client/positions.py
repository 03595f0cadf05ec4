"""Errors in terms of the source that their author wrote: its name, its line numbers, and the line itself."""

from __future__ import annotations

import re

from codemode_protocol.source import ExecSource

_POSITION = re.compile(r"exec_main\.mjs:(\d+):(\d+)")

MAX_EXCERPT = 120
"""So many characters of a line are shown at most, around the place that the error is about."""


def locate(error_text: str, source: ExecSource, name: str) -> str:
    """An error's text with `name` for the script, and its lines counted as its author counts them."""
    return _POSITION.sub(lambda match: f"{name}:{int(match[1]) + source.stripped_lines}:{match[2]}", error_text)


def excerpt(error_text: str, source: ExecSource) -> str | None:
    """The line that an error is about, with its number, and a mark below the place; None when it names no line."""
    match = _POSITION.search(error_text)
    if match is None:
        return None
    line, column = int(match[1]), int(match[2])
    lines = source.source.split("\n")
    if not 1 <= line <= len(lines):
        return None
    text = lines[line - 1].rstrip("\r")
    # The engine counts UTF-16 units; what stands before the place is as many characters, or fewer.
    before = text.encode("utf-16-le", "surrogatepass")[: 2 * (column - 1)].decode("utf-16-le", "ignore")
    start = max(0, len(before) - MAX_EXCERPT // 2)
    shown = text[start : start + MAX_EXCERPT]
    lead = "…" if start else ""
    trail = "…" if start + MAX_EXCERPT < len(text) else ""
    number = line + source.stripped_lines
    mark = " " * (len(lead) + len(before) - start)
    return f"{number:>5} | {lead}{shown.replace(chr(9), ' ')}{trail}\n      | {mark}^"
