"""Says in which points two answers to the same case differ."""

from __future__ import annotations

import re
from typing import Any

from tests.interop.differential.cases import Case, CellCase, ErrorLevel

ERROR_LINE = re.compile(r"(?:Uncaught )?([A-Z][A-Za-z]*(?:Error|Exception)|Error)(?::|$)")
"""The first line of an engine's error text: its name, then a message in the engine's own words."""

FRAME = re.compile(r"exec_main\.mjs:(\d+:\d+)")


def differences(case: Case, ours: Any, reference: Any) -> list[str]:
    """One line for each point in which our answer is not the reference's; none when they agree."""
    if isinstance(ours, dict) and "failure" in ours:
        return [f"ours failed: {ours['failure']}"]
    if isinstance(case, CellCase):
        return _cell(case.error, ours, reference)
    return _conversation(ours, reference)


def _cell(level: ErrorLevel, ours: Any, reference: Any) -> list[str]:
    if not isinstance(ours, list) or not isinstance(reference, list):
        return [] if ours == reference else [f"ours {ours!r}, reference {reference!r}"]
    found = []
    for at in range(max(len(ours), len(reference))):
        mine: list[Any] = ours[at] if at < len(ours) else ["nothing"]
        theirs: list[Any] = reference[at] if at < len(reference) else ["nothing"]
        if mine[0] == "result" and theirs[0] == "result":
            if mine[1] != theirs[1]:
                found.append(f"items: {_first_difference(mine[1], theirs[1])}")
            if comparable(mine[2], level) != comparable(theirs[2], level):
                found.append(f"error ({level}): ours {mine[2]!r}, reference {theirs[2]!r}")
        elif mine != theirs:
            found.append(f"event {at}: ours {mine!r}, reference {theirs!r}")
    return found


def _first_difference(ours: list[Any], reference: list[Any]) -> str:
    for at in range(max(len(ours), len(reference))):
        mine = ours[at] if at < len(ours) else "nothing"
        theirs = reference[at] if at < len(reference) else "nothing"
        if mine != theirs:
            return f"number {at}: ours {str(mine)[:300]!r}, reference {str(theirs)[:300]!r}"
    return "none"


def comparable(error_text: str | None, level: ErrorLevel) -> Any:
    """What of an error text has to be the same on both hosts."""
    if error_text is None or level == "text":
        return error_text
    match = ERROR_LINE.match(error_text)
    if match is None:
        return error_text
    if level == "class":
        return [match[1]]
    place = FRAME.search(error_text)
    return [match[1], place[1] if place else None]


def _conversation(ours: Any, reference: Any) -> list[str]:
    if "failure" in reference:
        return [f"the reference failed: {reference['failure']}"]
    found = []
    said, expected = ours["said"], reference["said"]
    for at in range(max(len(said), len(expected))):
        mine = said[at] if at < len(said) else "nothing"
        theirs = expected[at] if at < len(expected) else "nothing"
        if mine != theirs:
            found.append(f"message {at}: ours {mine[:400]}, reference {theirs[:400]}")
    if ours["status"] != reference["status"]:
        found.append(f"exit status: ours {ours['status']}, reference {reference['status']}")
    if ours["status"] == 1 and len(ours["stderr"].splitlines()) != 1:
        found.append(f"not one line on standard error: {ours['stderr']!r}")
    return found
