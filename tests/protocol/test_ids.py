from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codemode_protocol.ids import (
    MAX_CELL_ID,
    MAX_ID,
    MIN_ID,
    CellIds,
    CellIdsExhaustedError,
    IdSet,
    NameSet,
    ScatteredIdsError,
    parse_cell_id,
)


@given(st.lists(st.integers(-20, 20) | st.integers(MIN_ID, MAX_ID)))
def test_an_id_is_accepted_exactly_once(numbers: list[int]) -> None:
    used, model = IdSet(), set[int]()
    for number in numbers:
        assert used.add(number) is (number not in model)
        model.add(number)
        assert all((probe in used) is (probe in model) for probe in (number - 1, number, number + 1))
    intervals = used.intervals
    assert sum(last - first + 1 for first, last in intervals) == len(model)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(intervals))
    assert used.runs == len(intervals)


def test_a_hundred_thousand_ids_in_order_are_one_interval() -> None:
    used = IdSet()
    assert all(used.add(number) for number in range(100_000))
    assert used.intervals == [(0, 99_999)]


def test_scattered_ids_are_refused_at_the_limit_and_nothing_is_forgotten() -> None:
    used = IdSet(max_intervals=2)
    assert used.add(1)
    assert used.add(5)
    with pytest.raises(ScatteredIdsError) as caught:
        used.add(3)
    assert caught.value.limit == 2
    assert used.intervals == [(1, 1), (5, 5)]
    assert not used.add(5)
    assert used.add(4)
    assert used.add(2)
    assert used.add(3)  # joins the two
    assert used.intervals == [(1, 5)]


NAMES = st.sampled_from(
    ["", "s", "s0", "s1", "s2", "s3", "s01", "s1x", "0", "1", "01", "s" * 40, "s" * 40 + "1", "s" + "1" * 30, "é9"]
)


@given(st.lists(NAMES | st.text()))
def test_a_name_is_accepted_exactly_once(names: list[str]) -> None:
    used, model = NameSet(), set[str]()
    for name in names:
        assert (name in used) is (name in model)
        assert used.has_room_for(name)
        assert used.add(name) is (name not in model)
        model.add(name)
        assert name in used
    assert len(used) <= len(model)


def test_numbered_names_are_one_interval() -> None:
    used = NameSet()
    assert all(used.add(f"session-{number}") for number in range(1, 1000))
    assert len(used) == 1
    assert "session-1000" not in used


def test_numbered_names_with_a_long_beginning_are_one_interval_too() -> None:
    used = NameSet(max_names=1)
    assert all(used.add("s" * 1000 + str(number)) for number in range(1, 100))
    assert "s" * 1000 + "50" in used
    assert "s" * 999 + "50" not in used
    assert len(used) == 1


def test_scattered_names_are_refused_at_the_limit_and_nothing_is_forgotten() -> None:
    used = NameSet(max_names=2)
    assert used.add("alpha")
    assert used.add("s1")
    assert not used.has_room_for("beta")
    assert not used.has_room_for("s3")
    with pytest.raises(ScatteredIdsError):
        used.add("beta")
    assert not used.add("alpha")
    assert used.has_room_for("s2")
    assert used.add("s2")
    assert len(used) == 2


def test_cell_ids_count_from_one() -> None:
    ids = CellIds()
    assert [ids.allocate() for _ in range(3)] == ["1", "2", "3"]


def test_cell_ids_end_before_they_could_wrap_around() -> None:
    ids = CellIds(start=MAX_CELL_ID)
    assert ids.allocate() == "9007199254740991"
    for _ in range(2):
        with pytest.raises(CellIdsExhaustedError, match="open a new session"):
            ids.allocate()


@pytest.mark.parametrize("text", ["", "0", "01", "+1", " 1", "1_0", "x", "²", "١", "9007199254740992", "1" * 17])
def test_a_cell_id_is_written_in_one_way_only(text: str) -> None:
    assert parse_cell_id(text) is None


@given(st.integers(1, MAX_CELL_ID))
def test_a_cell_id_is_a_number(number: int) -> None:
    assert parse_cell_id(str(number)) == number
