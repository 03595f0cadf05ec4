"""Both hosts run the whole corpus side by side, and the recording is what the reference host still says."""

from __future__ import annotations

import sys

import pytest

from tests.interop.corpus.catalogue import CELLS, CONVERSATIONS, all_cases
from tests.interop.differential.cases import Case
from tests.interop.differential.compare import differences
from tests.interop.differential.known import known_difference
from tests.interop.differential.recording import Recording, shortened
from tests.interop.differential.runner import HostProgram, run_all
from tests.interop.reference import ReferenceMissing, reference_host

pytestmark = pytest.mark.interop

OURS = HostProgram.of(sys.executable, "-m", "codemode_host")


@pytest.fixture(scope="session")
def reference() -> HostProgram:
    try:
        return HostProgram.of(str(reference_host()))
    except ReferenceMissing as missing:
        pytest.skip(str(missing))


def theme(name: str) -> list[tuple[str, Case]]:
    return [(case_id, case) for case_id, case in all_cases() if case_id.startswith(f"{name}/")]


@pytest.mark.parametrize("name", [*CELLS, *CONVERSATIONS])
def test_both_hosts_give_the_same_answers(name: str, reference: HostProgram) -> None:
    cases = theme(name)
    ours, theirs = run_all(OURS, cases), run_all(reference, cases)
    found = {case_id: differences(case, ours[case_id], theirs[case_id]) for case_id, case in cases}
    assert {case_id: lines for case_id, lines in found.items() if lines and not known_difference(case_id)} == {}


@pytest.mark.parametrize("name", [*CELLS, *CONVERSATIONS])
def test_recording_is_what_the_reference_host_says(name: str, reference: HostProgram) -> None:
    cases = theme(name)
    recording = Recording.load()
    answers = run_all(reference, cases)
    assert {case_id: shortened(answers[case_id]) for case_id, _ in cases} == {
        case_id: recording.answer(case_id, case) for case_id, case in cases
    }
