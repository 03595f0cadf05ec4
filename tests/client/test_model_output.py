"""What a model is shown: cut to a budget, in the forms of three APIs; and what it sends, taken apart."""

from __future__ import annotations

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codemode_client._model.definitions import (
    ArgumentsError,
    exec_definition,
    exec_source,
    wait_arguments,
    wait_definition,
)
from codemode_client._model.output import (
    MAX_ERROR_TOKENS,
    MAX_MEDIA_BYTES,
    ModelOutput,
    fewer,
    present,
    refuse,
    truncate,
)
from codemode_client._model.source_positions import locate, quote_line
from codemode_protocol.source import parse_source
from codemode_protocol.values import ContentItem, ImageDetail, InputAudio, InputImage, InputText

PNG = InputImage("data:image/png;base64,iVBORw0KGgo=", ImageDetail.HIGH)
SVG = InputImage("data:image/svg+xml,<svg/>")
SOUND = InputAudio("data:audio/wav;base64,AAAA")

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ITEMS = st.lists(st.one_of(TEXTS.map(InputText), st.just(PNG), st.just(SOUND)), max_size=8)


def texts(items: list[ContentItem]) -> list[str]:
    return [item.text for item in items if isinstance(item, InputText)]


def joined(items: list[ContentItem]) -> str:
    return "\n".join(texts(items))


# Truncation


def test_what_fits_the_budget_is_left_alone() -> None:
    items: list[ContentItem] = [InputText("12345678"), PNG, InputText("1234567")]
    assert truncate(items, 4) == items
    assert truncate(items, 3) != items


def test_both_ends_stay_and_it_says_how_much_went() -> None:
    lines = [f"line {number:04}" for number in range(1000)]
    (item,) = truncate([InputText("\n".join(lines))], 20)
    assert isinstance(item, InputText)
    assert item.text.split("\n") == [
        *lines[:4],
        "[… about 2,480 tokens left out here (992 lines) …]",
        *lines[-4:],
    ]


def test_the_budget_is_that_of_all_texts_together_and_images_keep_their_place() -> None:
    items: list[ContentItem] = [
        InputText("a" * 100),
        PNG,
        InputText("b" * 100),
        SOUND,
        InputText("c" * 100),
        SVG,
        InputText("d" * 100),
    ]
    assert truncate(items, 60) == [
        InputText("a" * 100),
        PNG,
        InputText("b" * 19 + "\n[… about 41 tokens left out here (2 lines) …]"),
        SOUND,
        InputText("c" * 19),
        SVG,
        InputText("d" * 100),
    ]


def test_no_budget_leaves_the_images_and_a_word() -> None:
    items: list[ContentItem] = [InputText("abcd\nefgh"), PNG, InputText("ijkl")]
    assert truncate(items, 0) == [InputText("[… about 4 tokens left out here (3 lines) …]"), PNG]


@given(ITEMS, st.integers(0, 30))
@example([InputText("😀😀"), InputText("😀😀")], 1)
@example([InputText(""), InputText(""), InputText(""), InputText(""), InputText(""), InputText("")], 1)
def test_no_more_than_the_budget_is_left_and_nothing_else_is_touched(items: list[ContentItem], tokens: int) -> None:
    kept = truncate(items, tokens)
    whole, after = joined(items), joined(kept)
    assert [item for item in kept if not isinstance(item, InputText)] == [
        item for item in items if not isinstance(item, InputText)
    ]
    if len(whole.encode()) <= 4 * tokens:
        assert kept == items
        return
    if kept == items:  # there was nothing to cut but the line end between two items
        assert len(whole.encode()) == 4 * tokens + 1
        return
    before, mark, rest = after.partition("[… about ")
    assert mark
    _, _, end = rest.partition(") …]")
    before, end = before.removesuffix("\n"), end.removeprefix("\n")
    assert whole.startswith(before)
    assert whole.endswith(end)
    assert len((before + end).encode()) <= 4 * tokens


def test_a_long_error_is_bounded_and_not_counted_as_output() -> None:
    output = present(
        "failed", "1", seconds=0, output=[InputText("x" * 1000)], max_tokens=0, error="e" * 1_000_000 + "END"
    )
    assert output.is_error
    assert output.text.startswith("Status: failed\n")
    assert output.text.endswith("eEND")
    assert len(output.text) < MAX_ERROR_TOKENS * 4 + 300


def test_images_and_sounds_are_bounded_in_number_and_size() -> None:
    media: list[ContentItem] = [PNG, SOUND]
    output: list[ContentItem] = [InputText("before"), *(media * 60), InputText("after")]
    note = InputText("[… 20 images or sounds left out from here on …]")
    assert fewer(output) == [InputText("before"), *(media * 50), note, InputText("after")]
    assert fewer(output[:101]) == output[:101]
    large = InputImage("data:image/png;base64," + "A" * (MAX_MEDIA_BYTES // 2 - 22))
    note = InputText("[… 1 images or sounds left out from here on …]")
    assert fewer([large, large, PNG, InputText("after")]) == [large, large, note, InputText("after")]


def test_many_small_texts_become_one() -> None:
    texts: list[ContentItem] = [InputText(str(number)) for number in range(100)]
    assert fewer([*texts, PNG, *texts[:99]]) == [*texts, PNG, *texts[:99]]
    first, image, second = fewer([*texts, PNG, *texts])
    assert (first, image, second) == (InputText(joined(texts)), PNG, InputText(joined(texts)))
    output = present("completed", "1", seconds=0, output=[InputText("")] * 50_000, max_tokens=10_000)
    assert len(output.items) < 10


# What it looks like


def test_a_completed_script() -> None:
    output = present("completed", "1", seconds=1.23, output=[InputText("a"), PNG, InputText("b")], max_tokens=100)
    assert output == ModelOutput(
        "1",
        "completed",
        [InputText("Status: completed\nWall time: 1.2 s\nOutput:"), InputText("a"), PNG, InputText("b")],
    )
    assert output.text == "Status: completed\nWall time: 1.2 s\nOutput:\na\nb"
    assert not output.is_error


def test_a_running_one_says_how_to_go_on() -> None:
    output = present("running", "g2:3", seconds=10, max_tokens=100, wait_name="resume")
    assert output.text == (
        'Status: running, as cell g2:3. Call `resume` with cell_id "g2:3" for the rest.\n'
        "Wall time: 10.0 s\nOutput: none so far"
    )
    assert not output.is_error


def test_a_script_without_output_is_told_what_output_is() -> None:
    assert "text()" in present("completed", "1", seconds=0, max_tokens=100).text


def test_errors_count_the_lines_of_the_pragma() -> None:
    source = parse_source('// @exec: {"yield_time_ms": 1}\n\tlet a;\n\tnull.x')
    error = "TypeError: null\n    at f (exec_main.mjs:2:2)\n    at exec_main.mjs:9:1"
    assert locate(error, source, "exec") == "TypeError: null\n    at f (exec:3:2)\n    at exec:10:1"
    assert quote_line(error, source) == "    3 |  null.x\n      |  ^"
    assert quote_line("x at exec_main.mjs:9:1", source) is None
    assert quote_line("no place", source) is None


def test_of_a_very_long_line_only_the_place_is_shown() -> None:
    source = parse_source("😀" * 500 + "X" + "b" * 500)
    shown = quote_line("at exec_main.mjs:1:1001", source)
    assert shown is not None
    line, mark = shown.split("\n")
    assert len(line) < 140
    assert line[mark.index("^")] == "X"
    assert line.endswith("…")


# Forms of the APIs


def output_of(*items: ContentItem) -> ModelOutput:
    return ModelOutput("1", "completed", list(items))


def test_adjacent_texts_are_one_part_and_images_stay_between() -> None:
    output = output_of(InputText("head"), InputText("a"), PNG, InputText("b"), SOUND)
    sound = "[a sound, left out: this API takes no sounds here]"
    assert output.openai_responses() == [
        {"type": "input_text", "text": "head\na"},
        {"type": "input_image", "image_url": PNG.image_url, "detail": "high"},
        {"type": "input_text", "text": f"b\n{sound}"},
    ]
    assert output.anthropic() == [
        {"type": "text", "text": "head\na"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "text", "text": f"b\n{sound}"},
    ]
    assert output.openai_chat() == f"head\na\n[an image, left out: this API takes no images here]\nb\n{sound}"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("data:image/svg+xml,<svg/>", "this API takes no image/svg+xml"),
        ("data:,x", "this API takes no text/plain"),
        ("data:image/png;base64,!", "its base64 is broken"),
        ("data:image/png;base64,", "it is empty"),
        ("data:", "not a data: URL with content"),
    ],
)
def test_an_image_that_an_api_would_refuse_is_a_word_instead(url: str, reason: str) -> None:
    (block,) = output_of(InputImage(url)).anthropic()
    assert block["type"] == "text"
    assert reason in str(block["text"])


def test_an_image_without_base64_gets_it() -> None:
    (block,) = output_of(InputImage("DATA:image/PNG,%89PNG")).anthropic()
    data = base64.b64encode(b"\x89PNG").decode()
    assert block == {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def test_an_empty_text_is_no_part() -> None:
    assert output_of(PNG, InputText("")).anthropic()[1:] == []
    assert output_of(InputImage("data:image/png;base64,")).openai_responses() == [
        {"type": "input_image", "image_url": "data:image/png;base64,"}
    ]


def test_definitions_have_the_form_of_each_api() -> None:
    run, wait = exec_definition("exec", "Runs."), wait_definition("wait", "Waits.")
    schema = run.input_schema
    assert run.openai_responses() == {
        "type": "custom",
        "name": "exec",
        "description": "Runs.",
        "format": {"type": "text"},
    }
    assert run.openai_responses(freeform=False) == {
        "type": "function",
        "name": "exec",
        "description": "Runs.",
        "parameters": schema,
        "strict": False,
    }
    assert run.openai_chat() == {
        "type": "function",
        "function": {"name": "exec", "description": "Runs.", "parameters": schema},
    }
    assert run.anthropic() == {"name": "exec", "description": "Runs.", "input_schema": schema}
    assert wait.openai_responses()["type"] == "function"
    assert wait.input_schema["required"] == ["cell_id"]


# Arguments


@pytest.mark.parametrize(
    "arguments", ["text(1)", '{"source": "text(1)"}', {"source": "text(1)"}, ' {"source":"text(1)"}\n']
)
def test_a_script_comes_as_text_as_json_or_decoded(arguments: str | dict[str, object]) -> None:
    assert exec_source("exec", arguments) == "text(1)"


@pytest.mark.parametrize(
    "script", ["{ text(1) }", '{"use strict"; text(1)}', "({}).a", '"source"', "", '// {"source": 1}']
)
def test_a_script_that_only_resembles_json_is_a_script(script: str) -> None:
    assert exec_source("exec", script) == script


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("{}", "missing required field `source`"),
        ('{"code": "text(1)"}', "unknown field `code`"),
        ('{"source": "text(1)', "not valid JSON"),
        ('{"source": "text(\n1)"}', "not valid JSON"),
        ('{"source": 1}', "Expected `str`, got `int`"),
        ({"source": None}, "Expected `str`, got `null`"),
        ({1: 2}, "do not fit"),
        (None, "Expected `object`, got `null`"),
        (["text(1)"], "Expected `object`, got `array`"),
    ],
)
def test_wrong_arguments_are_explained(arguments: object, problem: str) -> None:
    with pytest.raises(ArgumentsError) as caught:
        exec_source("exec", arguments)  # type: ignore[arg-type]
    assert problem in str(caught.value)
    assert str(caught.value).endswith('`exec` takes one argument: {"source": "raw JavaScript"}.')


def test_a_waits_arguments_are_taken_as_models_write_them() -> None:
    arguments = wait_arguments("wait", '{"cell_id": 3, "yield_time_ms": 1000.0, "max_tokens": null, "until": "end"}')
    assert (arguments.cell_id, arguments.yield_time_ms, arguments.max_tokens) == (3, 1000, None)


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "3",
        "{}",
        '{"cell_id": true}',
        '{"cell_id": "1", "yield_time_ms": -1}',
        '{"cell_id": "1", "max_tokens": 1e300}',
        '{"cell_id": "1", "until": "now"}',
        '{"cell_id": "1", "terminate": "yes"}',
        '{"cell_id": "\\ud800"}',
        '{"cell_id": ' + "[" * 100_000,
    ],
)
def test_a_wait_that_cannot_be_understood_is_explained(arguments: str) -> None:
    with pytest.raises(ArgumentsError, match="`wait` takes cell_id, and optionally"):
        wait_arguments("wait", arguments)


def test_a_refusal_may_repeat_what_cannot_be_sent() -> None:
    assert refuse("There is no tool `\ud800`.").text == "Status: refused\nThere is no tool `\\ud800`."


def test_a_refusal_is_an_error_with_its_reason() -> None:
    output = refuse("Because.")
    assert (output.text, output.is_error, output.cell_id) == ("Status: refused\nBecause.", True, None)
