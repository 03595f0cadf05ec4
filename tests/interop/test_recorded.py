"""Our host gives the answers that were recorded on the reference host, theme by theme."""

from __future__ import annotations

import sys

import pytest

from tests.interop.corpus.catalogue import CELLS, CONVERSATIONS, all_cases
from tests.interop.differential.cases import Case
from tests.interop.differential.compare import differences
from tests.interop.differential.known import KNOWN, known_difference
from tests.interop.differential.recording import NotRecorded, Recording, shortened
from tests.interop.differential.runner import HostProgram, run_all
from tests.seed import one_in

OURS = HostProgram.of(sys.executable, "-m", "codemode_host")


@pytest.fixture(scope="session")
def recording() -> Recording:
    return Recording.load()


ONE_IN = {**dict.fromkeys(CONVERSATIONS, 5), "malformed": 8}
"""Of a theme whose cases start a host each only one in so many is tried in a run, by its seed; others in the next.
The comparison with a reference host that runs tries them all."""


def theme(name: str) -> list[tuple[str, Case]]:
    cases = [(case_id, case) for case_id, case in all_cases() if case_id.startswith(f"{name}/")]
    return [*one_in(ONE_IN.get(name, 1), cases)]


def fail_for_disagreements(cases: list[tuple[str, Case]], recording: Recording) -> None:
    answers = run_all(OURS, cases)
    lines = []
    for case_id, case in cases:
        found = differences(case, shortened(answers[case_id]), recording.answer(case_id, case))
        reason = known_difference(case_id)
        if reason is None:
            lines += [f"{case_id}: {line}" for line in found]
        elif not found:
            lines.append(f"{case_id}: does not differ any more, though known for: {reason}")
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


@pytest.mark.parametrize("name", CELLS)
def test_cells_answer_as_on_the_reference_host(name: str, recording: Recording) -> None:
    fail_for_disagreements(theme(name), recording)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations_go_as_with_the_reference_host(name: str, recording: Recording) -> None:
    fail_for_disagreements(theme(name), recording)


def test_every_case_is_recorded_as_it_is_now(recording: Recording) -> None:
    stale = []
    for case_id, case in all_cases():
        try:
            recording.answer(case_id, case)
        except NotRecorded as reason:
            stale.append(str(reason))
    assert stale == []


def test_nothing_else_is_recorded(recording: Recording) -> None:
    assert set(recording.entries) == {case_id for case_id, _ in all_cases()}


def test_every_known_difference_names_a_case() -> None:
    named = {known_difference(case_id) for case_id, _ in all_cases()}
    assert set(KNOWN.values()) - named == set()
