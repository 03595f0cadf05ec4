"""Text of others, made fit to be shown: on a terminal, in a log, in a report, or to a model.

A script, a tool, a server or a host may put anything into its text: escape sequences that a terminal obeys, marks that
turn the order of what is read, characters that a model reads and a person does not see.
"""

from __future__ import annotations

import re

_CONTROLS = "\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e0fff"
_UNSAFE = re.compile(f"[{_CONTROLS}]")
_UNSAFE_OR_BREAK = re.compile(f"[{_CONTROLS}\n\t]")

# Unicode's Default_Ignorable_Code_Point, and the blanks that are letters or pictures.
_INVISIBLE = re.compile(
    "[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def printable(text: str) -> str:
    """Return the text with what a terminal would obey written as an escape. Line breaks and tabs stay."""
    return _UNSAFE.sub(_escape, text)


def printable_line(text: str) -> str:
    """Return the text as `printable` does, on one line."""
    return _UNSAFE_OR_BREAK.sub(_escape, text)


def without_invisible(text: str) -> str:
    """Return the text without the characters that are not seen."""
    return _INVISIBLE.sub("", text)


def has_invisible(text: str) -> bool:
    """Return whether the text has characters that are not seen."""
    return _INVISIBLE.search(text) is not None


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] in "\n\t":
        return repr(match[0])[1:-1]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
