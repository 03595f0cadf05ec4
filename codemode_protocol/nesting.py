"""How deep JSON text is nested, found out before its reader has to follow it.

A reader of a message takes its JSON apart level by level, and gives up at some level: the reference's at 128.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from codemode_protocol.errors import ToolError
from codemode_protocol.limits import MAX_JSON_DEPTH

_SMALL_BYTES = 4 * 1024
_MOST_LEVELS = 1 << 16
_possible = 1
"""How deep the parser could go the last time."""

_ALL_ELSE = bytes(set(range(256)) - set(b"[]{}"))
_ALIKE = bytes.maketrans(b"{}", b"[]")

_decode = msgspec.json.Decoder(Raw).decode


class NestingError(Exception):
    """JSON text is nested at more than `MAX_JSON_DEPTH` levels: its receiver might not be able to read it."""


def checked_json(text: bytes) -> Raw:
    """Return JSON text of others, for a message to carry as it is.

    Raises:
        ValueError: It is not JSON.
        NestingError: It is, but not every receiver could read it.
    """
    if not text.isascii():
        str(text, "utf-8")
    try:
        raw = _decode(text)
    except RecursionError:
        raise NestingError from None
    if is_nested_deeper(text, MAX_JSON_DEPTH):
        raise NestingError
    return raw


def checked_answer(answer: Raw) -> Raw:
    """Return a tool's answer once it is known that a message can carry it. Raises ToolError."""
    try:
        return checked_json(bytes(answer))
    except ValueError as error:
        raise ToolError(f"the tool's answer is not JSON: {error}") from error
    except NestingError:
        raise ToolError(f"the tool's answer is nested more than {MAX_JSON_DEPTH} levels deep") from None


def is_nested_deeper(text: bytes, levels: int) -> bool:
    """Return whether valid JSON text has arrays and objects within each other at more levels than these."""
    if text.count(b"[") + text.count(b"{") <= levels:
        return False
    if len(text) > _SMALL_BYTES:
        return _exhausts_parser(text, levels)
    if b'"' in text:
        # What stands in a string is no bracket. Quotes and backslashes that are escaped go first.
        if b"\\" in text:
            text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
        text = b"".join(text.split(b'"')[::2])
    brackets = text.translate(_ALIKE, _ALL_ELSE)
    for _ in range(levels):
        # Each round takes away what has nothing within it.
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _exhausts_parser(text: bytes, levels: int) -> bool:
    """Find out by the parser: how deep it can go from here, less these levels, is put around the text.

    Where Python measures its stack instead of counting levels (3.14), that is exact to some levels.
    """
    global _possible
    possible, impossible = _possible, _possible + 1
    if not (_parses(b"[" * possible + b"]" * possible) and not _parses(b"[" * impossible + b"]" * impossible)):
        possible, impossible = 1, _MOST_LEVELS
    while impossible - possible > 1:
        middle = (possible + impossible) // 2
        if _parses(b"[" * middle + b"]" * middle):
            possible = middle
        else:
            impossible = middle
    _possible = possible
    around = possible - levels
    return not _parses(b"".join((b"[" * around, text, b"]" * around)))


def _parses(text: bytes) -> bool:
    try:
        _decode(text)
    except RecursionError:
        return False
    return True
