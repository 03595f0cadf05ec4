from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codemode_protocol.errors import CodeModeError
from codemode_protocol.source import EmptySourceError, ExecSource, PragmaError, SourceError, parse_source
from codemode_protocol.values import ExecuteRequest


def test_a_source_without_a_pragma_stays_as_it_is() -> None:
    for text in ("text(1)", "\n// @exec: {}\n1", "// @execute\n1", "1 // @exec: {}\n2", "// @exec\n1"):
        assert parse_source(text) == ExecSource(text)


@pytest.mark.parametrize(
    ("line", "yield_time_ms", "max_output_tokens"),
    [
        ('// @exec: {"yield_time_ms": 10000, "max_output_tokens": 1000}', 10000, 1000),
        ('  \t// @exec:{"yield_time_ms":0}  \r', 0, None),
        ('// @exec: {"max_output_tokens":null}', None, None),
        ("// @exec: {}", None, None),
        ('// @exec: {"yield_time_ms": 9007199254740991}', 9007199254740991, None),
    ],
)
def test_a_pragma_is_taken_off_and_applied(line: str, yield_time_ms: int | None, max_output_tokens: int | None) -> None:
    source = parse_source(f"{line}\ntext(1)\n// end")
    assert source == ExecSource("text(1)\n// end", yield_time_ms, max_output_tokens, stripped_lines=1)


def test_any_budget_that_a_pragma_may_name_fits_in_a_request() -> None:
    source = parse_source('// @exec: {"max_output_tokens": 9007199254740991}\n1')
    assert ExecuteRequest("c", [], source.source, None, source.max_output_tokens).max_output_tokens == 2**31 - 1


@pytest.mark.parametrize("text", ["", " \n\t", "// @exec: {}", "// @exec: {}\n  \n", "// @exec: nonsense"])
def test_a_source_with_nothing_to_run_is_an_error(text: str) -> None:
    with pytest.raises(EmptySourceError, match=r"source"):
        parse_source(text)


@pytest.mark.parametrize(
    ("pragma", "why"),
    [
        ("", "must be a JSON object"),
        ("[]", "must be a JSON object"),
        ("1", "must be a JSON object"),
        ("{", "must be valid JSON"),
        ("{} {}", "must be valid JSON"),
        ("[" * 100_000, "must be valid JSON"),
        ('"\ud800"', "must be valid JSON"),
        ('{"yield_ms": 1}', "only supports .*; got `yield_ms`"),
        ('{"yield_time_ms": -1}', "`yield_time_ms` must be a non-negative safe integer"),
        ('{"yield_time_ms": 1.0}', "`yield_time_ms` must be a non-negative safe integer"),
        ('{"yield_time_ms": true}', "`yield_time_ms` must be a non-negative safe integer"),
        ('{"yield_time_ms": "1"}', "`yield_time_ms` must be a non-negative safe integer"),
        ('{"max_output_tokens": 9007199254740992}', "`max_output_tokens` must be a non-negative safe integer"),
    ],
)
def test_a_pragma_that_says_anything_else_is_an_error(pragma: str, why: str) -> None:
    with pytest.raises(PragmaError, match=why) as caught:
        parse_source(f"// @exec: {pragma}\n1")
    assert isinstance(caught.value, CodeModeError)


@given(st.text())
def test_any_text_is_a_source_or_a_clear_error(text: str) -> None:
    for candidate in (text, f"// @exec:{text}"):
        try:
            source = parse_source(candidate)
        except SourceError:
            continue
        assert candidate.endswith(source.source)
