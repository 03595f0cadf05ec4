"""One table of limits: what the host says at each is what the client counts by."""

from __future__ import annotations

import re

import pytest

from codemode_protocol import limits
from codemode_protocol.limits import FLAGS, LIMIT_NAMES, Limits, LimitText, limit_named_in

TEXTS = [value for value in vars(limits).values() if isinstance(value, LimitText)]
VALUES = {"limit": 12, "size": 34, "session": "a\nb", "reason": "no room: 5", "remedy": "end some"}


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.template[:30])
def test_each_text_is_known_by_its_limit(text: LimitText) -> None:
    said = text(**VALUES)
    assert re.search(r"[{}]", said) is None
    assert limit_named_in(said) == text.limit
    assert text.limit in LIMIT_NAMES


def test_only_what_is_said_of_storing_may_follow_another_error() -> None:
    for text in TEXTS:
        found = limit_named_in(f"Error: mine\n{text(**VALUES)}")
        assert found == (text.limit if text.limit.startswith("stored_") else None)


def test_other_texts_and_very_long_ones_name_no_limit() -> None:
    assert limit_named_in("cell exceeded its memory limit of much MiB") is None
    assert limit_named_in(limits.PROCESS_REFUSED(reason="x" * 5000)) is None


def test_each_limit_that_can_be_set_has_a_flag_of_its_own_in_its_unit() -> None:
    assert set(FLAGS) == set(Limits._fields)
    assert len({flag.flag for flag in FLAGS.values()}) == len(FLAGS)
    for name, flag in FLAGS.items():
        default = getattr(Limits(), name)
        assert default is None or default % flag.unit == 0
        assert flag.zero_allowed or default
