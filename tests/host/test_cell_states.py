"""The states of a cell: what the table promises as a whole. docs/states.md draws it, row by row."""

from __future__ import annotations

import pytest

from codemode_host.cells.cell_states import TRANSITIONS, CellEvent, CellState

KILLED = (CellState.FAILING, CellState.STOPPING, CellState.TERMINATING)
"""Its process is being killed."""


def reach(start: CellState, events: set[CellEvent] | None = None) -> set[CellState]:
    """Return the states that can follow, sooner or later, with these events or with all."""
    found = {start}
    while True:
        more = {
            following
            for state in found
            for event, following in TRANSITIONS[state].items()
            if events is None or event in events
        }
        if more <= found:
            return found
        found |= more


def test_every_state_has_a_row_and_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(CellState) == reach(CellState.RUNNING)


def test_only_a_closed_cell_stays_as_it_is() -> None:
    for state, row in TRANSITIONS.items():
        assert (set(row.values()) <= {state}) == (state is CellState.CLOSED)


@pytest.mark.parametrize("state", list(CellState))
def test_a_cell_whose_process_has_ended_closes_once_its_result_is_taken(state: CellState) -> None:
    quiet = {CellEvent.PROCESS_ENDED, CellEvent.DELIVERED, CellEvent.TAKEN}
    assert CellState.CLOSED in reach(state, quiet)


@pytest.mark.parametrize("state", [state for state in CellState if state is not CellState.CLOSED])
def test_a_cell_can_be_ended_from_outside_in_every_state(state: CellState) -> None:
    assert CellEvent.END in TRANSITIONS[state]


@pytest.mark.parametrize("state", KILLED)
def test_what_kills_a_cell_first_decides_unless_its_client_terminates_it(state: CellState) -> None:
    assert TRANSITIONS[state][CellEvent.LIMIT_MET] is state
    assert TRANSITIONS[state][CellEvent.END] is state
    if state is not CellState.TERMINATING:
        assert TRANSITIONS[state][CellEvent.TERMINATE] is CellState.TERMINATING


@pytest.mark.parametrize("state", KILLED)
def test_a_script_that_is_being_killed_has_nothing_to_say_any_more(state: CellState) -> None:
    assert CellEvent.SCRIPT_OVER not in TRANSITIONS[state]
