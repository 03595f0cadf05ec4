"""What an expected message may leave open."""

from __future__ import annotations

from typing import Any

import pytest

from codemode_protocol.testing.patterns import ANY_TEXT, fill, match, named, show, starts


@pytest.mark.parametrize(
    ("expected", "came"),
    [
        (1, 1),
        (None, None),
        ([1, "a", {}], [1, "a", {}]),
        ({"a": {"b": []}}, {"a": {"b": []}}),
        (ANY_TEXT, ""),
        (starts("Error: "), "Error: no"),
        ({"text": ANY_TEXT}, {"text": "x"}),
        ({"a": 1}, {"a": 1, "code_mode_host_duration_ns": 5}),
        ({"a": 1, "result_buffered_for_ns": 0}, {"a": 1, "result_buffered_for_ns": 0}),
    ],
)
def test_what_fits(expected: Any, came: Any) -> None:
    assert match(expected, came, {}) == {}


@pytest.mark.parametrize(
    ("expected", "came"),
    [
        (1, 2),
        (1, True),
        (1, 1.0),
        (0, None),
        ([1], [1, 2]),
        ([1], [2]),
        ([], {}),
        ({}, []),
        ({"a": 1}, {}),
        ({"a": 1}, {"a": 2}),
        ({}, {"a": 1}),
        (ANY_TEXT, 1),
        (starts("Error: "), "no Error: "),
        (starts("Error: "), None),
        (named("a"), "1"),
        (named("a"), True),
        ({"a": 1}, {"a": 1, "code_mode_host_duration_ns": -5}),
        ({"a": 1}, {"a": 1, "code_mode_host_duration_ns": "5"}),
    ],
)
def test_what_does_not_fit(expected: Any, came: Any) -> None:
    assert match(expected, came, {}) is None


def test_a_name_stands_for_one_integer_and_no_other_name_for_the_same() -> None:
    names = match([named("a"), named("b"), named("a")], [1, 2, 1], {})
    assert names == {"a": 1, "b": 2}
    assert match(named("a"), 1, names) == names
    assert match(named("a"), 2, names) is None
    assert match(named("c"), 2, names) is None
    assert match([named("c"), named("d")], [3, 3], names) is None


def test_names_are_filled_in() -> None:
    assert fill({"id": named("a"), "more": [named("b"), "x"]}, {"a": 1, "b": 2}) == {"id": 1, "more": [2, "x"]}
    with pytest.raises(KeyError):
        fill(named("c"), {})


def test_what_is_shown_is_one_line_that_is_not_too_long() -> None:
    assert show({"é": [1, None]}) == '{"é":[1,null]}'
    assert show("x" * 5000).endswith("… (5002 characters)")
