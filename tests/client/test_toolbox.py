"""A toolbox: names, namespaces, conflicts, the decorator, ready-made tools, and what a script gets from it."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import anyio
import msgspec
import pytest
from msgspec import Raw

from codemode_client import CodeModeProvider, Toolbox
from codemode_client._tools.toolbox import Tool
from codemode_protocol.errors import ToolError
from codemode_protocol.values import (
    ExecuteRequest,
    InputText,
    Result,
    RuntimeResponse,
    ToolDefinition,
    ToolInvocation,
    ToolKind,
    ToolName,
)


def area(width: float, height: float = 1.0) -> float:
    """The area of a rectangle."""
    return width * height


async def call(toolbox: Toolbox, name: str, argument: bytes = b"null", namespace: str | None = None) -> Any:
    invocation = ToolInvocation("1", "tool-1", ToolName(name, namespace), ToolKind.FUNCTION, Raw(argument))
    return msgspec.json.decode(await toolbox.invoke_tool(invocation))


def names(toolbox: Toolbox) -> list[str]:
    return [definition.name for definition in toolbox.definitions]


class Ready:
    """A ready-made tool that gives back what it got."""

    def __init__(self, name: str, tool_name: ToolName) -> None:
        self.definition = ToolDefinition(name, tool_name, "Ready.", ToolKind.FUNCTION)

    async def call(self, argument: Raw) -> Raw:
        return argument


def test_a_definition_says_what_the_function_says() -> None:
    definition = Toolbox([area]).definitions[0]
    assert (definition.name, definition.tool_name) == ("area", ToolName("area"))
    assert definition.description == "The area of a rectangle."
    assert definition.kind is ToolKind.FUNCTION


async def test_the_decorator_leaves_the_function_what_it_was() -> None:
    toolbox = Toolbox()

    @toolbox.tool
    def one() -> int:
        """One."""
        return 1

    @toolbox.tool(name="zwei", description="Zwei.", namespace="de", timeout=5)
    async def two() -> int:
        return 2

    assert one() == 1
    assert await two() == 2
    assert await call(toolbox, "one") == 1
    assert await call(toolbox, "zwei", namespace="de") == 2
    assert [(d.name, d.description) for d in toolbox.definitions] == [("one", "One."), ("de__zwei", "Zwei.")]


def test_the_decorator_takes_its_options_by_name_only() -> None:
    with pytest.raises(TypeError, match=r"tool\(name='area'\)"):
        Toolbox().tool("area")  # type: ignore[call-overload]


async def test_a_namespace_is_part_of_the_name_in_javascript_and_stays_apart_in_the_canonical_one() -> None:
    toolbox = Toolbox([area], namespace="geo")
    toolbox.add(area, namespace="flat", name="size")
    toolbox.add(area, namespace=None)
    assert names(toolbox) == ["geo__area", "flat__size", "area"]
    assert [d.tool_name for d in toolbox.definitions] == [
        ToolName("area", "geo"),
        ToolName("size", "flat"),
        ToolName("area"),
    ]
    assert await call(toolbox, "area", b'{"width": 2}', namespace="geo") == 2
    with pytest.raises(ToolError, match="invalid arguments for flat__size: width is missing"):
        await call(toolbox, "size", namespace="flat")
    with pytest.raises(ToolError, match="no tool named flat__area"):
        await call(toolbox, "area", namespace="flat")


@pytest.mark.parametrize(
    ("first", "second", "complaint"),
    [
        ("area", "area", "there is a tool named area already"),
        ("read-file", "read_file", r"read-file and read_file are both tools\.read_file in JavaScript"),
        ("1st", "2st", r"both tools\._st in JavaScript"),
        ("geo__area", None, "a tool named geo__area already"),
    ],
)
def test_names_that_are_one_in_javascript_are_refused_when_they_are_added(
    first: str, second: str | None, complaint: str
) -> None:
    toolbox = Toolbox()
    toolbox.add(area, name=first)
    with pytest.raises(ValueError, match=complaint):
        if second is None:
            toolbox.add(area, namespace="geo")
        else:
            toolbox.add(area, name=second)
    assert names(toolbox) == [first]


@pytest.mark.parametrize("options", [{"name": ""}, {"namespace": ""}, {"timeout": 0}, {"timeout": float("nan")}])
def test_empty_names_and_no_time_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"empty|more than 0 seconds"):
        Toolbox().add(area, **options)
    with pytest.raises(ValueError, match="less than 1"):
        Toolbox(threads=0)


async def test_ready_made_tools_stand_beside_functions() -> None:
    toolbox = Toolbox([area])
    ready: Tool = Ready("server__Do.It", ToolName("Do.It", "server"))
    toolbox.add_tool(ready)
    assert await call(toolbox, "Do.It", b'{"a": 1}', namespace="server") == {"a": 1}
    with pytest.raises(ValueError, match=r"both tools\.server__Do_It"):
        toolbox.add_tool(Ready("server__Do_It", ToolName("Do_It", "server")))
    with pytest.raises(ValueError, match=r"canonical name server__Do\.It already"):
        toolbox.add_tool(Ready("other", ToolName("Do.It", "server")))
    assert names(toolbox) == ["area", "server__Do.It"]


async def test_a_tool_that_was_taken_out_is_gone_and_its_name_is_free() -> None:
    toolbox = Toolbox([area], namespace="geo")
    toolbox.remove_tool(ToolName("area", "geo"))
    assert names(toolbox) == []
    with pytest.raises(ToolError, match="no tool named geo__area"):
        await call(toolbox, "area", b'{"width": 1}', namespace="geo")
    with pytest.raises(KeyError):
        toolbox.remove_tool(ToolName("area", "geo"))
    toolbox.add(area)
    assert names(toolbox) == ["geo__area"]


async def test_methods_partials_and_callable_objects_are_functions_too() -> None:
    class Counter:
        """Counts."""

        def __init__(self) -> None:
            self.value = 0

        def add(self, amount: int) -> int:
            """Add to the counter."""
            self.value += amount
            return self.value

        @staticmethod
        def zero() -> int:
            return 0

        async def __call__(self, factor: int) -> int:
            return self.value * factor

    counter = Counter()
    toolbox = Toolbox([counter.add, counter, Counter.zero])
    toolbox.add(partial(area, height=10.0), name="wide")
    toolbox.add(partial(partial(area, 3.0)))
    assert await call(toolbox, "add", b'{"amount": 3}') == 3
    assert await call(toolbox, "Counter", b'{"factor": 5}') == 15
    assert await call(toolbox, "zero") == 0
    assert await call(toolbox, "wide", b'{"width": 2}') == 20
    assert await call(toolbox, "area", b'{"height": 2}') == 6
    described = [definition.description for definition in toolbox.definitions]
    assert described == ["Add to the counter.", "Counts.", "", "The area of a rectangle.", "The area of a rectangle."]


async def test_what_a_partial_binds_cannot_be_given_by_a_script() -> None:
    def read(path: str, *, root: str) -> str:
        return root + path

    toolbox = Toolbox([partial(read, root="/safe/")])
    assert await call(toolbox, "read", b'{"path": "x"}') == "/safe/x"
    with pytest.raises(ToolError, match="unknown argument `root`; expected: path"):
        await call(toolbox, "read", b'{"path": "x", "root": "/"}')


async def test_no_more_plain_functions_run_at_once_than_there_are_threads() -> None:
    lock = threading.Lock()
    running = highest = 0
    third_started = threading.Event()

    def work(number: int) -> int:
        nonlocal running, highest
        with lock:
            running += 1
            highest = max(highest, running)
        if number == 2:
            third_started.set()
        with lock:
            running -= 1
        return number

    toolbox = Toolbox([work], threads=2)
    results: dict[int, int] = {}

    async def one(number: int) -> None:
        results[number] = await call(toolbox, "work", b'{"number": %d}' % number)

    async with anyio.create_task_group() as nursery:
        for number in range(100):
            nursery.start_soon(one, number)
    assert results == {number: number for number in range(100)}
    assert third_started.is_set()
    assert highest <= 2


async def test_notifications_and_ends_of_cells_reach_the_callbacks() -> None:
    seen: list[str] = []
    toolbox = Toolbox(on_notify=seen.append, on_cell_closed=seen.append)
    await toolbox.notify("call", "1", "hello")
    toolbox.cell_closed("1")
    assert seen == ["hello", "1"]
    silent = Toolbox()
    await silent.notify("call", "1", "hello")
    silent.cell_closed("1")


async def run_script(toolbox: Toolbox, source: str) -> tuple[list[str], RuntimeResponse]:
    """Run one cell on a real host to its end."""
    async with CodeModeProvider() as provider, provider.session(toolbox) as session:
        cell = await session.execute(ExecuteRequest("call-1", toolbox.definitions, source, 60_000))
        response = await cell.initial_response()
    return [item.text for item in response.content_items if isinstance(item, InputText)], response


async def test_a_script_calls_all_kinds_of_tools_and_reads_why_a_call_failed() -> None:
    toolbox = Toolbox([area], namespace="geo")

    @toolbox.tool(freeform=True, namespace=None)
    def shout(words: str) -> str:
        return words.upper()

    @toolbox.tool(namespace=None)
    async def broken() -> int:
        raise LookupError("no such city")

    source = """
        text(await tools.geo__area({ width: 2, height: 3 }));
        text(await tools.shout("free text"));
        for (const wrong of [
            () => tools.geo__area({ width: "2", up: 1 }),
            () => tools.shout({ words: "x" }),
            () => tools.broken(),
        ]) await wrong().catch((reason) => text(reason));
    """
    written, response = await run_script(toolbox, source)
    assert isinstance(response, Result)
    assert response.error_text is None
    assert written == [
        "6",
        "FREE TEXT",
        (
            'invalid arguments for geo__area: width: expected number, got "2"; '
            "unknown argument `up`; expected: width, height"
        ),
        'invalid arguments for shout: expected string, got {"words":"x"}',
        "LookupError: no such city",
    ]


async def test_a_call_that_takes_longer_than_its_tool_may_is_rejected() -> None:
    toolbox = Toolbox(timeout=0.02)

    @toolbox.tool
    async def slow() -> None:
        await anyio.sleep_forever()

    @toolbox.tool(timeout=0.01)
    async def impatient() -> None:
        await anyio.sleep_forever()

    written, _ = await run_script(
        toolbox, "text(await tools.slow().catch(String)); await tools.impatient().catch(text)"
    )
    assert written == [
        "slow took longer than 0.02 s and was given up",
        "impatient took longer than 0.01 s and was given up",
    ]


async def test_a_cell_that_ends_does_not_wait_for_the_thread_of_a_plain_function() -> None:
    started, release = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        release.wait(60)

    try:
        toolbox = Toolbox([wait])

        @toolbox.tool
        async def has_started() -> bool:
            return await anyio.to_thread.run_sync(started.wait, 60)

        written, _ = await run_script(toolbox, "tools.wait(); text(await tools.has_started())")
        assert written == ["true"]
        assert not release.is_set()
    finally:
        release.set()


# Tools from JSON Schemas

KEY_SCHEMA = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_a_tool_from_a_schema_takes_the_decoded_arguments(kind: str) -> None:
    def plain(arguments: dict[str, Any]) -> object:
        return {"got": arguments}

    async def asynchronous(arguments: dict[str, Any]) -> object:
        return {"got": arguments}

    toolbox = Toolbox(namespace="kv")
    call = plain if kind == "plain" else asynchronous
    toolbox.add(
        name="look", description="Look up.", input_schema=KEY_SCHEMA, output_schema={"type": "object"}, call=call
    )
    (definition,) = toolbox.definitions
    assert (definition.name, definition.description) == ("kv__look", "Look up.")
    assert msgspec.json.decode(definition.input_schema) == KEY_SCHEMA
    assert msgspec.json.decode(definition.output_schema) == {"type": "object"}
    tool_name = definition.tool_name
    for given, got in ((b'{"key": "a"}', {"key": "a"}), (b"null", {})):
        answer = await toolbox.invoke_tool(ToolInvocation("1", "tool-1", tool_name, ToolKind.FUNCTION, Raw(given)))
        assert msgspec.json.decode(answer) == {"got": got}
    with pytest.raises(ToolError, match="kv__look takes one object"):
        await toolbox.invoke_tool(ToolInvocation("1", "tool-1", tool_name, ToolKind.FUNCTION, Raw(b"[1]")))


async def test_a_tool_from_a_schema_whose_result_is_not_json_says_whose_fault_that_is() -> None:
    toolbox = Toolbox()
    toolbox.add(name="bad", input_schema=KEY_SCHEMA, call=lambda _: object())
    name = toolbox.definitions[0].tool_name
    with pytest.raises(ToolError, match="a fault of the tool"):
        await toolbox.invoke_tool(ToolInvocation("1", "tool-1", name, ToolKind.FUNCTION, Raw(b"{}")))


def test_parameters_of_add_that_do_not_belong_together_are_refused() -> None:
    toolbox: Any = Toolbox()
    for wrong in (
        {"name": "x"},
        {"input_schema": KEY_SCHEMA, "call": print},
        {"function": print, "input_schema": KEY_SCHEMA},
        {"name": "x", "input_schema": KEY_SCHEMA, "call": print, "freeform": True},
    ):
        with pytest.raises(TypeError, match="add takes a function, or else name, input_schema and call"):
            toolbox.add(**wrong)
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        toolbox.add(name="x", input_schema={"a": object()}, call=print)
