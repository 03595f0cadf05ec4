"""Functions as tools: schemas from type hints, arguments and results that are checked, time limits, event loops."""

from __future__ import annotations

import contextvars
import datetime
import enum
import functools
import itertools
import logging
import subprocess
import sys
import threading
import typing
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import anyio
import anyio.lowlevel
import attrs
import msgspec
import pytest
import trio
from msgspec import Meta, Raw, Struct

from codemode_client.functions import FunctionTool
from codemode_protocol.errors import ToolError
from codemode_protocol.values import ToolKind

BACKENDS = ("trio", "asyncio")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Strict(Struct, forbid_unknown_fields=True):
    """A point."""

    x: int
    y: int = 0


class Row(TypedDict):
    a: int
    b: NotRequired[str]


class Pair(NamedTuple):
    first: int
    second: str = "none"


@attrs.define
class Checked:
    amount: int = attrs.field(validator=attrs.validators.gt(3))


@dataclass
class Tree:
    value: int
    below: list[Tree] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError("value must not be negative")


def area(width: Annotated[float, Meta(description="in metres")], height: float = 1.0) -> float:
    """The area of a rectangle."""
    return width * height


async def call(tool: FunctionTool, argument: bytes = b"null") -> Any:
    return msgspec.json.decode(await tool.call(Raw(argument)))


def inputs(function: Callable[..., object]) -> Any:
    return msgspec.json.decode(FunctionTool(function).definition.input_schema)


def outputs(function: Callable[..., object]) -> Any:
    return msgspec.json.decode(FunctionTool(function).definition.output_schema)


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


# What a cell is told


def test_the_input_schema_is_one_object_with_the_parameters() -> None:
    assert inputs(area) == {
        "type": "object",
        "properties": {
            "width": {"type": "number", "description": "in metres"},
            "height": {"type": "number", "default": 1.0},
        },
        "required": ["width"],
        "additionalProperties": False,
    }
    assert outputs(area) == {"type": "number"}


def test_a_function_without_parameters_takes_an_empty_object() -> None:
    def nothing() -> None: ...

    assert inputs(nothing) == {"type": "object", "properties": {}, "additionalProperties": False}
    assert outputs(nothing) == {"type": "null"}


def test_descriptions_of_parameters_come_from_the_docstring_unless_the_hint_has_one() -> None:
    def find(
        city: str,
        limit: Annotated[int, Meta(description="At most so many.", ge=1)] = 10,
        color: Color = Color.RED,
        **filters: str,
    ) -> list[str]:
        """Find things.

        Args:
            city: Where.
            limit: Not this one.
            color: Of which color.
            **filters: Whatever else.

        Returns:
            Their names.
        """
        return []

    tool = FunctionTool(find)
    assert tool.definition.description == "Find things.\n\nReturns:\n    Their names."
    schema = msgspec.json.decode(tool.definition.input_schema)
    assert schema["properties"] == {
        "city": {"type": "string", "description": "Where."},
        "limit": {"type": "integer", "minimum": 1, "default": 10, "description": "At most so many."},
        "color": {"$ref": "#/$defs/Color", "default": "red", "description": "Of which color."},
    }
    assert schema["additionalProperties"] == {"type": "string", "description": "Whatever else."}


def test_types_that_are_used_are_defined_once_and_may_be_recursive() -> None:
    def graft(onto: Tree, what: Tree | None = None) -> Tree: ...  # type: ignore[empty-body]

    schema = inputs(graft)
    assert schema["properties"]["onto"] == {"$ref": "#/$defs/Tree"}
    assert list(schema["$defs"]) == ["Tree"]
    assert schema["$defs"]["Tree"]["properties"]["below"]["items"] == {"$ref": "#/$defs/Tree"}
    assert outputs(graft)["$ref"] == "#/$defs/Tree"
    assert outputs(area) == {"type": "number"}


def test_a_result_type_that_nothing_else_refers_to_stands_in_the_schema_itself() -> None:
    def make() -> Strict: ...  # type: ignore[empty-body]

    assert outputs(make)["properties"]["x"] == {"type": "integer"}
    assert "$defs" not in outputs(make)


def test_defaults_are_shown_when_json_can_show_them() -> None:
    def many(
        a: tuple[int, ...] = (1, 2),
        b: Strict = Strict(1, 2),  # noqa: B008 - a default like others
        c: Color = Color.BLUE,
        d: Path = Path("x"),
        e: object = threading,
        f: float = float("inf"),
        g: str = None,  # type: ignore[assignment]  # noqa: RUF013 - as people write it
    ) -> None: ...

    shown = {name: schema.get("default", "none") for name, schema in inputs(many)["properties"].items()}
    assert shown == {
        "a": [1, 2],
        "b": {"x": 1, "y": 2},
        "c": "blue",
        "d": "x",
        "e": "none",
        "f": "none",
        "g": None,
    }
    assert inputs(many)["properties"]["g"]["anyOf"] == [{"type": "string"}, {"type": "null"}]


# Functions of all kinds


async def test_arguments_are_given_by_name_and_results_come_back_as_json() -> None:
    tool = FunctionTool(area)
    assert await call(tool, b'{"width": 3, "height": 2}') == 6
    assert await call(tool, b'{"width": 3}') == 3


async def test_a_tool_without_parameters_takes_no_argument_or_an_empty_object() -> None:
    async def answer() -> int:
        return 42

    for argument in (b"null", b"{}"):
        assert await call(FunctionTool(answer), argument) == 42


async def test_a_parameter_without_a_hint_takes_anything() -> None:
    def echo(value, default=(1, 2)):  # type: ignore[no-untyped-def]
        return [value, default]

    assert await call(FunctionTool(echo), b'{"value": {"a": [null]}}') == [{"a": [None]}, [1, 2]]


async def test_a_default_is_the_functions_own_object() -> None:
    shared: list[int] = []

    def add(number: int, to: list[int] = shared) -> int:
        to.append(number)
        return len(to)

    tool = FunctionTool(add)
    assert [await call(tool, b'{"number": 1}') for _ in range(3)] == [1, 2, 3]
    assert shared == [1, 1, 1]


async def test_other_arguments_go_to_the_keyword_parameters() -> None:
    def tags(name: str, *, sep: str = "=", **values: int) -> str:
        return name + sep + repr(values)

    tool = FunctionTool(tags)
    assert await call(tool, b'{"name": "n", "a": 1, "values": 2}') == "n={'a': 1, 'values': 2}"
    with pytest.raises(ToolError, match='for tags: name is missing; a: expected integer, got "x"'):
        await call(tool, b'{"a": "x"}')

    def anything(**values: object) -> int:
        return len(values)

    assert inputs(anything)["additionalProperties"] is True
    assert await call(FunctionTool(anything), b'{"a": 1, "b": [2]}') == 2


async def test_a_plain_function_around_an_async_one_is_awaited() -> None:
    async def inner(value: int) -> int:
        await anyio.lowlevel.checkpoint()
        return value

    @functools.wraps(inner)
    def outer(*args: Any, **kwargs: Any) -> Awaitable[int]:
        return inner(*args, **kwargs)

    assert await call(FunctionTool(outer), b'{"value": 5}') == 5


async def test_plain_functions_run_in_a_thread_and_async_ones_do_not() -> None:
    def plain() -> bool:
        return threading.current_thread() is threading.main_thread()

    async def asynchronous() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert await call(FunctionTool(plain)) is False
    assert await call(FunctionTool(asynchronous)) is True


class Parts:
    def method(self, a: int) -> None: ...

    def make(self) -> None: ...


def positional(a: int, /) -> None: ...
def several(*values: int) -> None: ...
def nowhere(value: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def hidden(__value: int) -> None: ...
def thread(value: threading.Thread) -> None: ...
def callback(value: Callable[[], int]) -> None: ...
def union(value: Strict | Tree) -> None: ...
def generator() -> Iterator[int]:
    yield 1


REFUSED: list[tuple[Any, ...]] = [
    (positional, "positional cannot be a tool: parameter a cannot be given by name"),
    (several, "parameter *values cannot be given by name"),
    (nowhere, "name 'Nowhere' is not defined; its type hints are looked up in its module"),
    (hidden, "begins with two underscores"),
    (thread, "parameter value: Thread has no JSON form"),
    (callback, "parameter value: Callable has no JSON form"),
    (union, "parameter value: Type unions may not contain more than one dict-like type"),
    (generator, "it is a generator: return a list"),
    (Parts.method, "it is a method without its object"),
    (Parts, "it is a class"),
    (5, "int cannot be a tool: it cannot be called"),
    (lambda: 1, "a lambda has no name"),
]


def test_a_function_that_cannot_be_a_tool_is_refused_with_the_reason() -> None:
    for function, complaint in REFUSED:
        with pytest.raises(TypeError) as caught:
            FunctionTool(function)
        assert complaint in str(caught.value)


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
    (Strict, b'{"x": 1, "z": 2}', "value.z is no field: there are x, y"),
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
        assert str(caught.value).startswith("invalid arguments for echo: value")
        assert complaint in str(caught.value)


CALLS: list[tuple[Any, ...]] = [
    (b"{}", "width is missing"),
    (b"null", "width is missing"),
    (b'{"width": 1, "depth": 1}', "depth is no argument: there are width, height"),
    (b'{"height": "1", "my depth": 1}', 'width is missing; height: expected number, got "1"; "my depth" is no'),
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

    with pytest.raises(ToolError, match="a is no argument: there is none"):
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


# Time, threads, event loops


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_tools_work_on_every_event_loop(backend: str) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    def plain(number: int) -> str:
        return f"{variable.get()} {number}"

    async def asynchronous(number: int) -> str:
        await anyio.lowlevel.checkpoint()
        return f"{variable.get()} {number}"

    tools = [FunctionTool(plain), FunctionTool(asynchronous), FunctionTool(asynchronous, timeout=60)]
    answers: list[str] = []

    async def one(tool: FunctionTool, number: int) -> None:
        variable.set(f"call {number}")
        answers.append(await call(tool, b'{"number": %d}' % number))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number in range(100):
                for tool in tools:
                    group.start_soon(one, tool, number)

    for _ in range(2):  # on one loop after the other
        answers.clear()
        anyio.run(main, backend=backend)
        assert sorted(answers) == sorted(f"call {number} {number}" for number in range(100) for _ in tools)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_call_that_takes_too_long_is_given_up(backend: str) -> None:
    release, ended = threading.Event(), threading.Event()
    cancelled = False

    def plain() -> str:
        release.wait(60)
        ended.set()
        return "late"

    async def asynchronous() -> None:
        nonlocal cancelled
        try:
            await anyio.sleep_forever()
        finally:
            cancelled = True

    async def main() -> None:
        try:
            for function in (plain, asynchronous):
                with pytest.raises(
                    ToolError, match=rf"^{function.__name__} took longer than 0\.01 s and was given up$"
                ):
                    await call(FunctionTool(function, timeout=0.01))
            assert cancelled
            assert not ended.is_set()
        finally:
            release.set()

    anyio.run(main, backend=backend)
    assert ended.wait(60), "the thread goes on by itself"


async def test_a_functions_own_timeout_is_its_own_error() -> None:
    async def impatient() -> None:
        raise TimeoutError("the database did not answer")

    with pytest.raises(TimeoutError, match="the database did not answer"):
        await call(FunctionTool(impatient, timeout=60))


async def test_what_a_function_raises_is_left_as_it_is() -> None:
    class Odd(Exception):
        pass

    def plain() -> None:
        raise Odd("plain")

    async def asynchronous() -> None:
        raise ToolError("as it stands")

    with pytest.raises(Odd, match=r"^plain$"):
        await call(FunctionTool(plain))
    with pytest.raises(ToolError, match=r"^as it stands$"):
        await call(FunctionTool(asynchronous))


async def test_a_cancelled_call_leaves_its_thread_behind_at_once() -> None:
    started, release = threading.Event(), threading.Event()

    def plain() -> None:
        started.set()
        release.wait(60)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, FunctionTool(plain))
            assert await trio.to_thread.run_sync(started.wait, 60)
            nursery.cancel_scope.cancel()
        assert not release.is_set()
    finally:
        release.set()


# Freeform tools


async def test_a_freeform_tool_takes_a_string() -> None:
    def patch(text: str) -> int:
        """Apply a patch."""
        return len(text)

    tool = FunctionTool(patch, freeform=True)
    assert tool.definition.kind is ToolKind.FREEFORM
    assert msgspec.json.decode(tool.definition.input_schema) is None
    assert await call(tool, b'"*** Begin"') == 9
    for argument, got in ((b"null", "null"), (b'{"text": "x"}', r'\{"text":"x"\}')):
        with pytest.raises(ToolError, match=f"^invalid arguments for patch: expected string, got {got}$"):
            await call(tool, argument)


async def test_a_freeform_tools_string_may_have_limits() -> None:
    def sql(query: Annotated[str, Meta(max_length=5)]) -> str:
        return query

    def untyped(query):  # type: ignore[no-untyped-def]
        return query

    with pytest.raises(ToolError, match="sql: expected string of length <= 5, got"):
        await call(FunctionTool(sql, freeform=True), b'"select"')
    assert await call(FunctionTool(untyped, freeform=True), b'"select"') == "select"


def test_a_freeform_tool_has_one_parameter_that_is_a_string() -> None:
    def none() -> None: ...
    def two(a: str, b: str) -> None: ...
    def number(a: int) -> None: ...
    def rest(a: str, **more: str) -> None: ...

    for function in typing.cast("list[Callable[..., object]]", [none, two, number, rest]):
        with pytest.raises(TypeError, match="a freeform tool takes one str"):
            FunctionTool(function, freeform=True)


# Pydantic is nobody's business who does not use it


def test_pydantic_is_not_imported_for_functions_without_it() -> None:
    program = (
        "import sys, trio\n"
        "from msgspec import Raw\n"
        "from codemode_client import Toolbox\n"
        "from codemode_client.functions import FunctionTool\n"
        "def add(a: int, b: list[int] | None = None) -> dict[str, int]: return {'a': a}\n"
        "assert bytes(trio.run(FunctionTool(add).call, Raw(b'{\"a\": 1}'))) == b'{\"a\":1}'\n"
        "assert 'pydantic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
