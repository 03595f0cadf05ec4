"""The types in functions that are tools: what JSON they take, what they give, and what is said when it does not fit."""

from __future__ import annotations

import datetime
import itertools
import logging
import threading
import uuid
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import attrs
import msgspec
import pytest
from msgspec import Meta, Raw

from codemode_client._tools.functions import FunctionTool
from codemode_protocol.errors import ToolError
from tests.client.functions import Color, Strict, Tree, area, call


class Row(TypedDict):
    a: int
    b: NotRequired[str]


class Pair(NamedTuple):
    first: int
    second: str = "none"


@attrs.define
class Checked:
    amount: int = attrs.field(validator=attrs.validators.gt(3))


def taking(hint: Any) -> Callable[..., object]:
    """A function with one parameter of that type, which gives back its repr."""

    def echo(value):  # type: ignore[no-untyped-def]
        return repr(value)

    echo.__annotations__["value"] = hint
    return echo


def giving(hint: Any, result: object) -> FunctionTool:
    """The tool of a function that says it returns the type, and returns `result`."""

    def give():  # type: ignore[no-untyped-def]
        return result

    give.__annotations__["return"] = hint
    return FunctionTool(give)


# Types


READ: list[tuple[Any, ...]] = [
    (float, b"3", 3.0),
    (int, b"123456789012345678901234567890", 123456789012345678901234567890),
    (Color, b'"red"', Color.RED),
    (Literal["a", 1, None], b"null", None),
    (str | None, b"null", None),
    (int | str, b'"1"', "1"),
    (Tree, b'{"value": 1, "below": [{"value": 2}], "more": 0}', Tree(1, [Tree(2)])),
    (Strict, b'{"x": 1}', Strict(1)),
    (Row, b'{"a": 1}', {"a": 1}),
    (Pair, b"[1]", Pair(1)),
    (Checked, b'{"amount": 5}', Checked(5)),
    (datetime.datetime, b'"2025-01-02T03:04:05Z"', datetime.datetime(2025, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)),
    (datetime.date, b'"2025-01-02"', datetime.date(2025, 1, 2)),
    (datetime.timedelta, b'"PT90S"', datetime.timedelta(seconds=90)),
    (uuid.UUID, b'"12345678-1234-5678-1234-567812345678"', uuid.UUID("12345678-1234-5678-1234-567812345678")),
    (Decimal, b"1.10", Decimal("1.10")),
    (Decimal, b'"1.10"', Decimal("1.10")),
    (bytes, b'"aGk="', b"hi"),
    (PurePosixPath, b'"a/b"', PurePosixPath("a/b")),
    (PurePosixPath | None, b"null", None),
    (set[int], b"[1, 1]", {1}),
    (tuple[int, str], b'[1, "a"]', (1, "a")),
    (dict[int, bool], b'{"1": true}', {1: True}),
    (dict[str, object], b'{"a": [1]}', {"a": [1]}),
    (Any, b"[null]", [None]),
    (object, b"5", 5),
]


async def test_json_becomes_the_type_that_the_hint_says() -> None:
    for hint, given, received in READ:
        assert await call(FunctionTool(taking(hint)), b'{"value": ' + given + b"}") == repr(received)


UNFITTING: list[tuple[Any, ...]] = [
    (float, b'"3"', 'value: expected number, got "3"'),
    (int, b"3.5", "value: expected integer, got 3.5"),
    (int, b"true", "value: expected integer, got true"),
    (bool, b"1", "value: expected boolean, got 1"),
    (str, b"5", "value: expected string, got 5"),
    (str | None, b"[]", "value: expected string | null, got []"),
    (Color, b'"green"', 'value: expected one of "blue", "red", got "green"'),
    (Literal["a", "b"], b'"c"', 'value: expected one of "a", "b", got "c"'),
    (Color | None, b'"c"', 'value: expected one of "blue", "red", null, got "c"'),
    (dict[Color, int], b'{"green": 1}', "value: a key: expected another value, got 'green'"),
    (dict[int, int], b'{"x": 1}', "value: a key: expected integer, got string"),
    (list[Strict], b'[{"x": 1}, {"y": 2}]', "value[1].x is missing"),
    (Strict, b'{"x": 1, "z": 2}', "unknown field `value.z`; expected: x, y"),
    (
        dict[str, dict[str, list[Strict]]],
        b'{"a": {"f": []}, "b c": {"g": [], "h": [{"x": "1"}], "i": [{"x": "2"}]}}',
        'value["b c"].h[0].x: expected integer, got "1"',
    ),
    (tuple[int, str], b"[1]", "value: expected array of length 2, got [1]"),
    (tuple[int, Color], b'[1, "x"]', 'value[1]: expected one of "blue", "red", got "x"'),
    (Tree, b'{"value": -1}', 'value: value must not be negative, got {"value":-1}'),
    (Checked, b'{"amount": 1}', "value: 'amount' must be > 3: 1, got"),
    (Annotated[str, Meta(pattern="^a")], b'"b"', "value: expected string matching regex '^a', got \"b\""),
    (Annotated[int, Meta(ge=1)], b"0", "value: expected integer >= 1, got 0"),
    (datetime.datetime, b'"today"', "value: expected an RFC 3339 date-time such as 2025-12-31T23:59:59Z"),
    (datetime.date, b"5", "value: expected date string, got 5"),
    (uuid.UUID, b'"1"', 'value: expected a UUID, got "1"'),
    (bytes, b'"?"', 'value: expected base64, got "?"'),
    (PurePosixPath, b"5", "value: expected string, got 5"),
    (list[PurePosixPath], b'["a", null]', "value[1]: expected string, got null"),
    (str, b'["' + b"x" * 1000 + b'"]', "x… (1004 characters)"),
]


async def test_an_argument_that_does_not_fit_is_named_with_what_was_expected_and_what_came() -> None:
    for hint, given, complaint in UNFITTING:
        with pytest.raises(ToolError) as caught:
            await call(FunctionTool(taking(hint)), b'{"value": ' + given + b"}")
        assert str(caught.value).startswith(
            ("invalid arguments for echo: value", "invalid arguments for echo: unknown field `value.")
        )
        assert complaint in str(caught.value)


CALLS: list[tuple[Any, ...]] = [
    (b"{}", "width is missing"),
    (b"null", "width is missing"),
    (b'{"width": 1, "depth": 1}', "unknown argument `depth`; expected: width, height"),
    (
        b'{"height": "1", "my depth": 1}',
        'width is missing; height: expected number, got "1"; unknown argument `"my depth"`',
    ),
    (b"{", "Input data was truncated"),
    (b"[1]", "expected one object with width, height, got [1]"),
    (b'"Oslo"', 'expected one object with width, height, got "Oslo"'),
]


async def test_all_that_is_wrong_with_a_call_is_one_error() -> None:
    for argument, complaint in CALLS:
        with pytest.raises(ToolError) as caught:
            await call(FunctionTool(area), argument)
        assert str(caught.value).startswith(f"invalid arguments for area: {complaint}")


async def test_an_error_about_arguments_stays_short() -> None:
    argument = msgspec.json.encode({f"argument_{number}" * 50: number for number in range(1000)})
    with pytest.raises(ToolError, match=r"; and 993 more$") as caught:
        await call(FunctionTool(area), argument)
    assert len(str(caught.value)) < 2000


async def test_an_argument_for_a_function_that_takes_none_is_refused() -> None:
    def nothing() -> None: ...

    with pytest.raises(ToolError, match="unknown argument `a`; none is expected"):
        await call(FunctionTool(nothing), b'{"a": 1}')
    with pytest.raises(ToolError, match="expected an empty object, got 5"):
        await call(FunctionTool(nothing), b"5")


# Results


WRITTEN: list[tuple[Any, ...]] = [
    (str, "é", "é"),
    (dict[str, Any], {"a": {1: 2}}, {"a": {"1": 2}}),
    (list[Strict], [Strict(1)], [{"x": 1, "y": 0}]),
    (Tree, Tree(1), {"value": 1, "below": []}),
    (Row, {"a": 1}, {"a": 1}),
    (Pair, Pair(1, "x"), [1, "x"]),
    (Checked, Checked(5), {"amount": 5}),
    (Color | None, Color.RED, "red"),
    (bytes, b"hi", "aGk="),
    (datetime.datetime, datetime.datetime(2025, 1, 2, tzinfo=datetime.UTC), "2025-01-02T00:00:00Z"),
    (Decimal, Decimal("1.10"), "1.10"),
    (Path, Path("a"), "a"),
    (object, [1, None], [1, None]),
    (None, None, None),
    (Strict | Tree, Tree(1), {"value": 1, "below": []}),
    (threading.Thread, 5, 5),
    (Raw, Raw(b'{"a": 1}'), {"a": 1}),
    (list[int], (1, 2), [1, 2]),
]


async def test_results_are_written_as_their_type_says() -> None:
    for hint, result, written in WRITTEN:
        assert await call(giving(hint, result)) == written


UNFIT_RESULTS: list[tuple[Any, ...]] = [
    (int, "secret", "result: expected integer, got string"),
    (float, float("nan"), "result: expected number, got null"),
    (list[Strict], [Strict(1), {"y": 2}], "result[1].x is missing"),
    (list[Strict], [Strict("secret")], "result[0].x: expected integer, got string"),  # type: ignore[arg-type]
    (dict[str, Color], {"a": Color.RED, "b": "secret"}, 'result.b: expected one of "blue", "red"'),
    (None, "secret", "result: expected null, got string"),
]


async def test_a_result_that_is_not_of_its_type_is_an_error_that_tells_nothing_of_it() -> None:
    for hint, result, complaint in UNFIT_RESULTS:
        with pytest.raises(ToolError) as caught:
            await call(giving(hint, result))
        assert (
            str(caught.value) == f"give gave a result that is not of its type: {complaint}. This is a fault of the tool"
        )


CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)


async def test_a_result_that_json_cannot_hold_is_an_error_that_tells_nothing_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for hint, result in itertools.product((Any, list[int], str), (threading.Lock(), {(1, 2): 3}, "\ud800", CIRCLE)):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "codemode_client"), pytest.raises(ToolError) as caught:
            await call(giving(hint, result))
        assert str(caught.value) == "give gave a result that cannot be written as JSON: this is a fault of the tool"
        assert f"the tool give gave a {type(result).__qualname__}" in caplog.text


def test_a_return_type_without_a_json_form_has_no_schema() -> None:
    for hint in (threading.Thread, Strict | Tree, Awaitable[int]):
        assert msgspec.json.decode(giving(hint, None).definition.output_schema) is None
