"""Gathers the themes. A case's id is `theme/name`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain

from tests.interop.corpus import (
    calls,
    cancelling,
    delegating,
    errors,
    extras,
    handshake,
    helpers,
    locales,
    malformed,
    modules,
    order,
    output,
    sessions,
    surface,
    terminations,
    values,
    yields,
)
from tests.interop.differential.cases import Case, CellCase, Conversation

CELLS: Mapping[str, tuple[CellCase, ...]] = {
    "values": values.CASES,
    "errors": errors.CASES,
    "modules": modules.CASES,
    "helpers": helpers.CASES,
    "extras": extras.CASES,
    "calls": calls.CASES,
    "order": order.CASES,
    "locales": locales.CASES,
    "output": output.CASES,
    "surface": surface.CASES,
}

CONVERSATIONS: Mapping[str, tuple[Conversation, ...]] = {
    "handshake": handshake.CASES,
    "malformed": malformed.CASES,
    "sessions": sessions.CASES,
    "yields": yields.CASES,
    "terminations": terminations.CASES,
    "delegating": delegating.CASES,
    "cancelling": cancelling.CASES,
}


def _named(themes: Mapping[str, Iterable[Case]]) -> Iterable[tuple[str, Case]]:
    for theme, cases in themes.items():
        for case in cases:
            yield f"{theme}/{case.name}", case


def all_cases() -> list[tuple[str, Case]]:
    """Every case with its id, cells first. Raises ValueError when an id is taken twice."""
    cases = list(chain(_named(CELLS), _named(CONVERSATIONS)))
    ids = [case_id for case_id, _ in cases]
    if twice := {case_id for case_id in ids if ids.count(case_id) > 1}:
        raise ValueError(f"ids used twice: {sorted(twice)}")
    return cases
