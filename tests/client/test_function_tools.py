"""Functions as tools: schemas from type hints, kinds of functions, time limits, event loops."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import subprocess
import sys
import threading
import typing
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from msgspec import Meta

from codemode_client._tools.functions import FunctionTool
from codemode_protocol.errors import ToolError
from codemode_protocol.values import ToolKind
from tests.client.functions import Color, Strict, Tree, area, call

BACKENDS = ("trio", "asyncio")


def inputs(function: Callable[..., object]) -> Any:
    return msgspec.json.decode(FunctionTool(function).definition.input_schema)


def outputs(function: Callable[..., object]) -> Any:
    return msgspec.json.decode(FunctionTool(function).definition.output_schema)


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


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SystemExit(3), "the function ended with SystemExit: 3"),
        (KeyboardInterrupt(), "the function ended with KeyboardInterrupt"),
        (asyncio.CancelledError(), "the function ended with CancelledError"),
    ],
)
def test_a_plain_function_that_would_end_the_program_fails_alone(error: BaseException, text: str) -> None:
    def leave() -> None:
        raise error

    async def main() -> None:
        with pytest.raises(RuntimeError) as caught:
            await call(FunctionTool(leave))
        assert str(caught.value) == text
        assert caught.value.__cause__ is error

    for backend in BACKENDS:
        anyio.run(main, backend=backend)


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
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(call, FunctionTool(plain))
            assert await anyio.to_thread.run_sync(started.wait, 60)
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
        "from codemode_client._tools.functions import FunctionTool\n"
        "def add(a: int, b: list[int] | None = None) -> dict[str, int]: return {'a': a}\n"
        "print(bytes(trio.run(FunctionTool(add).call, Raw(b'{\"a\": 1}'))).decode(), 'pydantic' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout == '{"a":1} False\n'
