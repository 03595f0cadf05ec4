"""How deep JSON is nested: known exactly, for small and large texts, whatever stands in its strings."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from codemode_protocol.errors import ToolError
from codemode_protocol.nesting import NestingError, checked_answer, checked_json, is_nested_deeper

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


@pytest.mark.parametrize("text", [b'{"a":["\xc3\xa9"]}', b" 1 ", b"[" * 120 + b"]" * 120])
def test_what_a_message_can_carry_is_passed_on_as_it_is(text: bytes) -> None:
    assert bytes(checked_json(text)) == bytes(checked_answer(Raw(text))) == text.strip()


@pytest.mark.parametrize("text", [b"{", b"", b'"\xff"', b"1 2"])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever the parser says
        checked_json(text)
    with pytest.raises(ToolError, match="the tool's answer is not JSON: "):
        checked_answer(Raw(text))


@pytest.mark.parametrize("levels", [121, 5000, 1 << 17])
def test_what_not_every_receiver_could_read_is_refused(levels: int) -> None:
    text = b"[" * levels + b"]" * levels
    with pytest.raises(NestingError):
        checked_json(text)
    with pytest.raises(ToolError, match="nested more than 120 levels deep"):
        checked_answer(Raw(text))
