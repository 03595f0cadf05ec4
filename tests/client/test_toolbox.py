"""Python functions as tools."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import msgspec
import pytest
import trio
from msgspec import Raw

from codemode_client import Toolbox
from codemode_protocol.errors import ToolError
from codemode_protocol.values import ToolInvocation, ToolKind, ToolName


@dataclass
class Point:
    x: int
    y: int = 0


def area(width: Annotated[float, msgspec.Meta(description="in metres")], height: float = 1.0) -> float:
    """The area of a rectangle."""
    return width * height


async def move(point: Point, *, by: Point | None = None) -> Point:
    """Move a point."""
    await trio.lowlevel.checkpoint()
    return Point(point.x + by.x, point.y + by.y) if by else point


async def call(toolbox: Toolbox, name: str, argument: bytes) -> Any:
    invocation = ToolInvocation("1", "tool-1", ToolName(name), ToolKind.FUNCTION, Raw(argument))
    return msgspec.json.decode(await toolbox.invoke_tool(invocation))


def schema(toolbox: Toolbox, which: str = "input_schema", index: int = 0) -> Any:
    return msgspec.json.decode(getattr(toolbox.definitions[index], which))


def test_a_definition_says_what_the_function_says() -> None:
    definition = Toolbox([area]).definitions[0]
    assert (definition.name, definition.tool_name) == ("area", ToolName("area"))
    assert definition.description == "The area of a rectangle."
    assert definition.kind is ToolKind.FUNCTION


def test_the_schemas_come_from_the_type_hints() -> None:
    toolbox = Toolbox([area])
    found = schema(toolbox)
    assert found["type"] == "object"
    assert found["required"] == ["width"]
    assert found["additionalProperties"] is False
    assert found["properties"]["width"] == {"type": "number", "description": "in metres"}
    assert found["properties"]["height"] == {"type": "number", "default": 1.0}
    assert schema(toolbox, "output_schema") == {"type": "number"}


def test_types_that_are_used_stand_in_the_schema_itself() -> None:
    found = schema(Toolbox([move]))
    assert found["properties"]["point"] == {"$ref": "#/$defs/Point"}
    assert found["$defs"]["Point"]["required"] == ["x"]
    assert "move" not in found["$defs"]


async def test_arguments_are_given_by_name_and_results_come_back_as_json() -> None:
    toolbox = Toolbox([area, move])
    assert await call(toolbox, "area", b'{"width": 3, "height": 2}') == 6
    assert await call(toolbox, "area", b'{"width": 3}') == 3
    assert await call(toolbox, "move", b'{"point": {"x": 1}, "by": {"x": 2, "y": 3}}') == {"x": 3, "y": 3}


async def test_a_tool_without_parameters_takes_no_argument_or_an_empty_object() -> None:
    toolbox = Toolbox()

    @toolbox.tool
    def answer() -> int:
        return 42

    assert await call(toolbox, "answer", b"null") == 42
    assert await call(toolbox, "answer", b"{}") == 42


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        (b'{"width": "3"}', r"invalid arguments for area: Expected `float`, got `str` - at `\$\.width`"),
        (b"{}", "missing required field `width`"),
        (b'{"width": 1, "depth": 1}', "unknown field `depth`"),
        (b"[1]", "Expected `object`, got `array`"),
        (b"null", "missing required field `width`"),
    ],
)
async def test_arguments_that_do_not_fit_are_a_clear_error(argument: bytes, complaint: str) -> None:
    with pytest.raises(ToolError, match=complaint):
        await call(Toolbox([area]), "area", argument)


async def test_plain_functions_run_in_a_thread_and_async_ones_do_not() -> None:
    toolbox = Toolbox()

    @toolbox.tool
    def plain() -> bool:
        return threading.current_thread() is threading.main_thread()

    @toolbox.tool
    async def asynchronous() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert await call(toolbox, "plain", b"null") is False
    assert await call(toolbox, "asynchronous", b"null") is True


async def test_a_parameter_without_a_hint_takes_anything() -> None:
    toolbox = Toolbox()

    @toolbox.tool
    def echo(value, default=(1, 2)):  # type: ignore[no-untyped-def]
        return [value, default]

    assert await call(toolbox, "echo", b'{"value": {"a": [null]}}') == [{"a": [None]}, [1, 2]]


async def test_methods_partials_and_callable_objects_are_functions_too() -> None:
    class Counter:
        def __init__(self) -> None:
            self.value = 0

        def add(self, amount: int) -> int:
            """Add to the counter."""
            self.value += amount
            return self.value

        async def __call__(self, factor: int) -> int:
            return self.value * factor

    counter = Counter()
    toolbox = Toolbox([counter.add])
    toolbox.add(counter, name="times", description="Multiply.")
    toolbox.add(partial(area, height=10.0), name="wide")
    assert await call(toolbox, "add", b'{"amount": 3}') == 3
    assert await call(toolbox, "times", b'{"factor": 5}') == 15
    assert await call(toolbox, "wide", b'{"width": 2}') == 20
    assert [definition.description for definition in toolbox.definitions[:2]] == ["Add to the counter.", "Multiply."]


def test_a_function_that_cannot_be_called_by_name_is_refused() -> None:
    def positional(a: int, /) -> None: ...
    def many(*values: int) -> None: ...
    def unknown(value: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    for function in (positional, many, unknown):
        with pytest.raises(TypeError, match=f"{function.__name__} cannot be a tool"):
            Toolbox([function])


def test_a_name_is_taken_once() -> None:
    toolbox = Toolbox([area])
    with pytest.raises(ValueError, match="a tool named area already"):
        toolbox.add(area)
    toolbox.add(area, name="area_of_rectangle")
    assert [definition.name for definition in toolbox.definitions] == ["area", "area_of_rectangle"]


async def test_a_tool_that_is_not_there_is_a_clear_error() -> None:
    with pytest.raises(ToolError, match="no tool named volume"):
        await call(Toolbox([area]), "volume", b"null")


def test_a_result_without_a_schema_is_no_hindrance() -> None:
    def opaque() -> threading.Thread: ...  # type: ignore[empty-body]

    assert schema(Toolbox([opaque]), "output_schema") is None


async def test_notifications_and_ends_of_cells_reach_the_callbacks() -> None:
    seen: list[str] = []
    toolbox = Toolbox(on_notify=seen.append, on_cell_closed=seen.append)
    await toolbox.notify("call", "1", "hello")
    toolbox.cell_closed("1")
    assert seen == ["hello", "1"]
    silent = Toolbox()
    await silent.notify("call", "1", "hello")
    silent.cell_closed("1")
