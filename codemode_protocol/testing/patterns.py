"""What an expected message may leave open, as plain data.

An expected message is JSON. Where the protocol leaves something to the host, an object with one of these keys stands
for it:

| object | stands for |
|---|---|
| `{"$any": "text"}` | any text |
| `{"$as": NAME}` | an integer that the host chose: any one where the name comes first, that one from then on |
| `{"$starts": TEXT}` | a text that begins so |

In a message that is sent, `{"$as": NAME}` is the integer that was named before. The host's timings may come or not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

Json = Any
"""JSON as Python has it: what `json.loads` gives."""

Names = Mapping[str, int]
"""The integers that were named so far. No two names stand for the same one."""

ANY_TEXT: Final = {"$any": "text"}

TIMINGS: Final = frozenset({"code_mode_host_duration_ns", "result_buffered_for_ns"})
"""Fields of a runtime response that differ from run to run, and that a host may leave out."""

_SHOWN = 1000
"""As many characters of a message are shown."""


def named(name: str) -> Json:
    """Return what stands for an integer that the host chooses."""
    return {"$as": name}


def starts(text: str) -> Json:
    """Return what stands for a text that begins so."""
    return {"$starts": text}


def match(expected: Json, came: Json, names: Names) -> dict[str, int] | None:
    """Compare a message with what was expected.

    Args:
        expected: With what it leaves open.
        came: The message.
        names: What was named before.

    Returns:
        The names with those that were given here; None when the message is not the one that was expected.
    """
    found = dict(names)
    return found if _fits(expected, came, found) else None


def fill(message: Json, names: Names) -> Json:
    """Return a message to send, its names replaced by their integers.

    Raises:
        KeyError: A name has not come before.
    """
    if isinstance(message, dict):
        if message.keys() == {"$as"}:
            return names[message["$as"]]
        return {key: fill(value, names) for key, value in message.items()}
    if isinstance(message, list):
        return [fill(value, names) for value in message]
    return message


def show(message: Json) -> str:
    """Return a message, or what was expected, as one line that is not too long."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def _fits(expected: Json, came: Json, names: dict[str, int]) -> bool:
    if isinstance(expected, dict):
        if len(expected) == 1:
            ((key, value),) = expected.items()
            if key == "$any":
                return isinstance(came, str)
            if key == "$starts":
                return isinstance(came, str) and came.startswith(value)
            if key == "$as":
                return _is_named(value, came, names)
        if not isinstance(came, dict):
            return False
        timings = {key for key in TIMINGS & came.keys() - expected.keys() if type(came[key]) is int and came[key] >= 0}
        return came.keys() - timings == expected.keys() and all(
            _fits(value, came[key], names) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return (
            isinstance(came, list)
            and len(came) == len(expected)
            and all(_fits(one, other, names) for one, other in zip(expected, came, strict=True))
        )
    return type(expected) is type(came) and bool(expected == came)


def _is_named(name: str, came: Json, names: dict[str, int]) -> bool:
    if type(came) is not int:
        return False
    if name not in names:
        if came in names.values():
            return False
        names[name] = came
    return names[name] == came
