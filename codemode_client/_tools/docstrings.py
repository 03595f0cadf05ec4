"""Reads parameter descriptions from docstrings in the Google, NumPy and reStructuredText styles."""

from __future__ import annotations

import inspect
import re

from msgspec import Struct

_TITLES = r"(?:Args|Arguments|Params|Parameters|Keyword Args|Keyword Arguments|Other Parameters)"
_GOOGLE_SECTION = re.compile(rf"{_TITLES}\s*:\s*$")
_GOOGLE_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\))?\s*:(?:\s+|$)(.*)$")
_NUMPY_SECTION = re.compile(rf"{_TITLES}\s*$")
_NUMPY_ENTRY = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
_UNDERLINE = re.compile(r"-{3,}\s*$")
_REST_ENTRY = re.compile(r":(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)$")
_REST_TYPE = re.compile(r":type\s+\w+\s*:")


class Docstring(Struct, frozen=True):
    """A parsed docstring: `text` is all of it except the descriptions of parameters."""

    text: str
    parameters: dict[str, str]


def parse_docstring(docstring: str | None) -> Docstring:
    """Parse a docstring. Anything in none of the three styles stays in the text."""
    docstring = docstring or ""
    if _GOOGLE_SECTION.match(docstring.partition("\n")[0]):
        docstring = "\n" + docstring  # else the entries would define the indentation
    lines = inspect.cleandoc(docstring).split("\n")
    text: list[str] = []
    found: dict[str, list[str]] = {}
    at = 0
    while at < len(lines):
        line = lines[at]
        if _GOOGLE_SECTION.match(line) and _is_indented(lines, at + 1):
            at = _google(lines, at + 1, found)
        elif _NUMPY_SECTION.match(line) and at + 1 < len(lines) and _UNDERLINE.match(lines[at + 1]):
            at = _numpy(lines, at + 2, found)
        elif match := _REST_ENTRY.match(line):
            found[match[1]] = entry = [match[2]]
            at = _continued(lines, at + 1, entry)
        elif _REST_TYPE.match(line):
            at = _continued(lines, at + 1, [])
        else:
            text.append(line)
            at += 1
    joined = re.sub(r"\n{3,}", "\n\n", "\n".join(text)).strip()
    return Docstring(joined, {name: said for name, entry in found.items() if (said := " ".join(filter(None, entry)))})


def _google(lines: list[str], at: int, found: dict[str, list[str]]) -> int:
    """Read the indented entries of a section and return the index of the line after it."""
    entry: list[str] = []
    margin = len(lines[at]) - len(lines[at].lstrip())
    while at < len(lines) and (not lines[at] or lines[at][:1].isspace()):
        line = lines[at]
        match = _GOOGLE_ENTRY.match(line.strip())
        if match and len(line) - len(line.lstrip()) <= margin:
            found[match[1]] = entry = [match[2].strip()]
        else:
            entry.append(line.strip())
        at += 1
    return at


def _numpy(lines: list[str], at: int, found: dict[str, list[str]]) -> int:
    """Read the entries after a section's underline and return the index of the line after the section."""
    entry: list[str] = []
    while at < len(lines):
        line = lines[at]
        if at + 1 < len(lines) and _UNDERLINE.match(lines[at + 1]) and line.strip():
            break
        if line[:1].isspace() or not line:
            entry.append(line.strip())
        elif match := _NUMPY_ENTRY.match(line):
            entry = []
            for name in match[1].split(","):
                found[name.strip().lstrip("*")] = entry
        else:
            break  # prose after the section
        at += 1
    return at


def _continued(lines: list[str], at: int, entry: list[str]) -> int:
    """Add an entry's indented continuation lines to it and return the index of the line after them."""
    while _is_indented(lines, at):
        entry.append(lines[at].strip())
        at += 1
    return at


def _is_indented(lines: list[str], at: int) -> bool:
    return at < len(lines) and lines[at][:1].isspace() and bool(lines[at].strip())
