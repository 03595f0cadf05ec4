"""How deep JSON text is nested: the same answer for short and long text, whatever strings hold."""

from __future__ import annotations

import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codemode_protocol import nesting
from codemode_protocol.nesting import is_nested_deeper

LONG = b'"' + b"x" * 5000 + b'",'
"""So much that the parser is asked, and not the text looked through."""


def nested(levels: int, inside: bytes = b"") -> bytes:
    return b"[" * levels + inside + b"]" * levels


def count_levels(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(count_levels, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(count_levels, value), default=0)
    return 0


values = st.recursive(
    st.none() | st.text(alphabet='[]{}"\\x', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='[{"\\', max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(values, st.integers(0, 8))
def test_the_levels_of_a_value_are_counted_and_not_those_in_its_strings(value: object, levels: int) -> None:
    assert is_nested_deeper(msgspec.json.encode(value), levels) == (count_levels(value) > levels)


@pytest.mark.parametrize("levels", [1, 2, 128, 200])
def test_short_text_may_have_just_so_many_levels(levels: int) -> None:
    assert not is_nested_deeper(nested(levels), levels)
    assert is_nested_deeper(nested(levels + 1), levels)
    assert not is_nested_deeper(b"[" + b"{}," * (levels + 5) + b"1]", 2)
    assert not is_nested_deeper(b'["' + b"[" * (levels + 5) + b'"]', 1)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there the stack is measured, and not the levels counted")
@pytest.mark.parametrize("levels", [2, 128, 200])
@pytest.mark.parametrize("forgotten", [True, False])
def test_long_text_may_have_just_so_many_levels(levels: int, forgotten: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        if forgotten:
            monkeypatch.setattr(nesting, "_possible", 1)
        flat = b"[" + LONG + b"[]," * (levels + 5) + b"1]"
        assert len(flat) > 4096
        assert not is_nested_deeper(flat, 2)
        assert not is_nested_deeper(nested(levels - 1, b"[" + LONG + b"1]"), levels)
        assert is_nested_deeper(nested(levels, b"[" + LONG + b"1]"), levels)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there the stack is measured, and not the levels counted")
def test_the_answer_does_not_depend_on_how_deep_the_stack_is() -> None:
    def deeper(calls: int, text: bytes) -> bool:
        return deeper(calls - 1, text) if calls else is_nested_deeper(text, 128)

    for calls in (0, 200, 50, 0):
        assert not deeper(calls, nested(127, b"[" + LONG + b"1]"))
        assert deeper(calls, nested(128, b"[" + LONG + b"1]"))
