"""What a response says of a script, whatever its ending, and how long one is waited for."""

from __future__ import annotations

import pytest

from codemode_protocol.errors import ScriptError
from codemode_protocol.values import ContentItem, InputImage, InputText, Result, Terminated, Yielded, observation_ms

ITEMS: list[ContentItem] = [InputText("one"), InputImage("data:,x"), InputText("two")]


def test_the_text_is_all_texts_a_line_each() -> None:
    for response in (Yielded("1", [*ITEMS]), Terminated("1", [*ITEMS]), Result("1", [*ITEMS])):
        assert response.text == "one\ntwo"
    assert Result("1", []).text == ""


def test_a_script_that_succeeded_has_no_error() -> None:
    result = Result("1", [])
    assert result.ok
    assert result.error_text is None
    result.raise_for_error()


@pytest.mark.parametrize(
    ("response", "text"),
    [(Result("7", [], "Error: mine"), "Error: mine"), (Terminated("7", []), "the script was terminated")],
)
def test_a_script_that_failed_or_was_stopped_raises_its_error_when_asked(
    response: Result | Terminated, text: str
) -> None:
    assert not response.ok
    assert response.error_text == text
    with pytest.raises(ScriptError) as caught:
        response.raise_for_error()
    assert (str(caught.value), caught.value.error_text, caught.value.cell_id) == (text, text, "7")


@pytest.mark.parametrize(
    ("asked", "observed"), [(0, 0), (9_999, 9_999), (10_000, 11_000), (None, 11_000), (60_000, 61_000)]
)
def test_an_observation_of_ten_seconds_or_more_lasts_a_second_longer(asked: int | None, observed: int) -> None:
    assert observation_ms(asked) == observed
