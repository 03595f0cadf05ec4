"""How deep JSON is nested: known exactly, for small and large texts, whatever stands in its strings."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codemode_protocol.nesting import is_nested_deeper

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('[]{}"\\ab\n'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('[]{}"\\'), inner, max_size=4),
    max_leaves=30,
)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(JSON, st.integers(0, 12), st.booleans())
def test_it_is_found_out_as_a_parser_would(value: object, levels: int, large: bool) -> None:
    text = json.dumps(value).encode() + b" " * (20_000 if large else 0)
    assert is_nested_deeper(text, levels) == (depth_of(value) > levels)


@pytest.mark.parametrize("padding", [0, 20_000])
@pytest.mark.parametrize("pair", [b"[]", b"{}"])
def test_the_last_level_counts(pair: bytes, padding: int) -> None:
    def nested(levels: int) -> bytes:
        opening = b"[" if pair == b"[]" else b'{"a":'
        return opening * levels + b"1" + b" " * padding + pair[1:] * levels

    assert not is_nested_deeper(nested(120), 120)
    assert is_nested_deeper(nested(121), 120)
    assert is_nested_deeper(nested(5000), 120)


def test_it_is_the_same_from_any_depth_of_the_callers_own_stack() -> None:
    text = b"[" * 120 + b" " * 20_000 + b"]" * 120

    def below(frames: int) -> bool:
        return (
            below(frames - 1)
            if frames
            else is_nested_deeper(text, 120) or not is_nested_deeper(b"[" + text + b"]", 120)
        )

    frames = list(range(0, 200, 20))
    random.Random(4).shuffle(frames)
    assert not any(map(below, frames))


@pytest.mark.parametrize(
    ("value", "levels"), [(["]", {'"[': ["\\"]}], 3), ([[1], [2]], 2), ({"a": [], "b": {}, "c": "["}, 2), ([1], 5)]
)
def test_brackets_within_strings_are_none(value: object, levels: int) -> None:
    text = json.dumps(value).encode()
    assert not is_nested_deeper(text, levels)
    assert is_nested_deeper(text, depth_of(value) - 1)
