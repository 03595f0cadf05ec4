"""A session with a real host, through all that a caller can do."""

from __future__ import annotations

import anyio
import pytest
from msgspec import Raw

from codemode_client import CodeModeProvider, Toolbox
from codemode_protocol.errors import RequestFailedError, SessionClosedError, ToolError
from codemode_protocol.values import (
    ExecuteRequest,
    InputText,
    LiveCell,
    MissingCell,
    Result,
    Terminated,
    ToolInvocation,
    WaitRequest,
    Yielded,
)
from tests.client.recorder import Recorder, define_tool, forever

FOREVER = "await new Promise(() => {})"


def texts(response: Yielded | Terminated | Result) -> list[str]:
    return [item.text for item in response.content_items if isinstance(item, InputText)]


def cell(source: str, *tools: str, yield_time_ms: int | None = None) -> ExecuteRequest:
    return ExecuteRequest("call", [define_tool(name) for name in tools], source, yield_time_ms)


async def test_a_cell_is_executed_and_reported_closed(host_command: list[str]) -> None:
    recorder = Recorder()
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        started = await session.execute(cell("text('a'); text(1 + 1)"))
        response = await started.initial_response()
        assert isinstance(response, Result)
        assert (response.cell_id, response.error_text, texts(response)) == ("1", None, ["a", "2"])
        await recorder.until(lambda: recorder.closed == ["1"])


async def test_an_error_is_the_cells_own(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        response = await session.run("text('before'); null.x")
        assert isinstance(response, Result)
        assert response.error_text is not None
        assert response.error_text.startswith("TypeError: ")
        assert texts(response) == ["before"]
        assert texts(await session.run("text('after')")) == ["after"]


async def test_a_cell_yields_goes_on_and_ends(host_command: list[str]) -> None:
    tool = anyio.Event()

    async def step(_: ToolInvocation) -> Raw:
        await tool.wait()
        return Raw(b"2")

    async with CodeModeProvider(host_command) as provider, provider.session(Recorder(step=step)) as session:
        started = await session.execute(cell("text(1); yield_control(); text(await tools.step())", "step"))
        first = await started.initial_response()
        assert isinstance(first, Yielded)
        assert texts(first) == ["1"]
        outcome = await session.wait(WaitRequest(started.cell_id, 0))
        assert isinstance(outcome, LiveCell)
        assert isinstance(outcome.response, Yielded)
        tool.set()
        outcome = await session.wait(WaitRequest(started.cell_id, 60_000))
        assert isinstance(outcome, LiveCell)
        assert isinstance(outcome.response, Result)
        assert texts(outcome.response) == ["2"]
        outcome = await session.wait(WaitRequest(started.cell_id, 60_000))
        assert isinstance(outcome, MissingCell)
        assert isinstance(outcome.response, Result)
        assert outcome.response.error_text == "exec cell 1 not found"


async def test_run_joins_what_a_cell_wrote_between_its_yields(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        response = await session.run(
            "text(1); yield_control(); await tools.echo(); text(2); yield_control(); await tools.echo(); text(3)",
            [define_tool("echo")],
        )
        assert texts(response) == ["1", "2", "3"]


async def test_a_terminate_stops_a_loop_that_never_ends_and_gives_what_it_wrote(host_command: list[str]) -> None:
    recorder = Recorder()
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        started = await session.execute(cell("text('early'); while (true) {}", yield_time_ms=0))
        await started.initial_response()
        outcome = await session.terminate(started.cell_id)
        assert isinstance(outcome, LiveCell)
        assert isinstance(outcome.response, Terminated)
        await recorder.until(lambda: recorder.closed == ["1"])


async def test_a_terminate_answers_the_pending_observer_too(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        started = await session.execute(cell(FOREVER, yield_time_ms=60_000))
        async with anyio.create_task_group() as nursery:

            async def observe() -> None:
                assert isinstance(await started.initial_response(), Terminated)

            nursery.start_soon(observe)
            await anyio.wait_all_tasks_blocked()
            outcome = await session.terminate(started.cell_id)
            assert isinstance(outcome.response, Terminated)


async def test_two_observers_of_one_cell_are_one_too_many(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        started = await session.execute(cell(FOREVER, yield_time_ms=60_000))
        with pytest.raises(RequestFailedError, match="exec cell 1 already has an active observer"):
            await session.wait(WaitRequest(started.cell_id, 0))


async def test_a_cancelled_wait_loses_no_output(host_command: list[str]) -> None:
    release = anyio.Event()

    async def step(_: ToolInvocation) -> Raw:
        await release.wait()
        return Raw(b"0")

    async with CodeModeProvider(host_command) as provider, provider.session(Recorder(step=step)) as session:
        started = await session.execute(
            cell("yield_control(); text('a'); await tools.step(); text('b')", "step", yield_time_ms=60_000)
        )
        await started.initial_response()
        for _ in range(20):
            with anyio.move_on_after(0.002):
                await session.wait(WaitRequest(started.cell_id, 60_000))
        release.set()
        found: list[str] = []
        while True:
            outcome = await session.wait(WaitRequest(started.cell_id, 60_000))
            found += texts(outcome.response)
            if isinstance(outcome.response, Result):
                break
        assert found == ["a", "b"]


async def test_tools_carry_their_canonical_names_and_their_input(host_command: list[str]) -> None:
    recorder = Recorder()
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        request = ExecuteRequest("call", [define_tool("my-tool", "space")], "text(await tools.my_tool({a: [1, 'ü']}))")
        response = await (await session.execute(request)).initial_response()
        assert texts(response) == ['{"a":[1,"ü"]}']
        (call,) = recorder.calls
        assert (call.tool_name.name, call.tool_name.namespace) == ("my-tool", "space")
        assert (call.cell_id, call.runtime_tool_call_id) == ("1", "tool-1")


async def test_a_tools_error_is_a_rejection_that_can_be_caught(host_command: list[str]) -> None:
    async def refuse(_: ToolInvocation) -> Raw:
        raise ToolError("not here")

    async with CodeModeProvider(host_command) as provider, provider.session(Recorder(refuse=refuse)) as session:
        response = await session.run(
            "try { await tools.refuse() } catch (error) { text(String(error)) }", [define_tool("refuse")]
        )
        assert texts(response)[0].endswith("not here")


async def test_unawaited_calls_are_cancelled_when_their_cell_ends(host_command: list[str]) -> None:
    recorder = Recorder(hang=forever)
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        await session.run("tools.hang(); tools.hang(); await tools.echo()", [define_tool("hang"), define_tool("echo")])
        await recorder.until(lambda: recorder.closed == ["1"])
        assert len(recorder.cancelled) == 2
    assert recorder.errors == []


async def test_notifications_arrive_while_the_cell_runs(host_command: list[str]) -> None:
    recorder = Recorder()

    async def step(_: ToolInvocation) -> Raw:
        await recorder.until(lambda: recorder.notifications)
        return Raw(b"0")

    recorder.tools["step"] = step
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        await session.run("notify('hello'); await tools.step()", [define_tool("step")], tool_call_id="c7")
    assert recorder.notifications == [("c7", "1", "hello")]


async def test_values_are_shared_by_the_cells_of_a_session_and_by_no_others(host_command: list[str]) -> None:
    async with (
        CodeModeProvider(host_command) as provider,
        provider.session(Recorder()) as one,
        provider.session(Recorder()) as other,
    ):
        await one.run("store('key', {n: 1})")
        assert texts(await one.run("text(load('key'))")) == ['{"n":1}']
        assert texts(await other.run("text(load('key'))")) == ["undefined"]


async def test_shutting_down_ends_live_cells_and_answers_their_observers(host_command: list[str]) -> None:
    recorder = Recorder()
    async with CodeModeProvider(host_command) as provider:
        session = await provider.open_session(recorder)
        cells = [await session.execute(cell(FOREVER, yield_time_ms=60_000)) for _ in range(3)]
        async with anyio.create_task_group() as nursery:

            async def observe(index: int) -> None:
                assert isinstance(await cells[index].initial_response(), Terminated)

            for index in range(3):
                nursery.start_soon(observe, index)
            await anyio.wait_all_tasks_blocked()
            await session.shutdown()
        assert sorted(recorder.closed) == ["1", "2", "3"]
        with pytest.raises(SessionClosedError):
            await session.execute(cell(""))
    assert recorder.errors == []


async def test_leaving_the_provider_ends_live_cells(host_command: list[str]) -> None:
    recorder = Recorder()
    async with CodeModeProvider(host_command) as provider:
        session = await provider.open_session(recorder)
        started = await session.execute(cell("while (true) {}", yield_time_ms=60_000))
    assert recorder.closed == ["1"]
    with pytest.raises(SessionClosedError):
        await started.initial_response()


async def test_a_cancelled_run_terminates_its_cell(host_command: list[str]) -> None:
    recorder = Recorder(hang=forever)
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(session.run, "await tools.hang()", [define_tool("hang")])
                await recorder.until(lambda: recorder.calls)
                scope.cancel()
        await recorder.until(lambda: recorder.closed == ["1"])
        assert (len(recorder.cancelled), provider.counters.cells_terminated) == (1, 1)


async def test_python_functions_are_tools(host_command: list[str]) -> None:
    toolbox = Toolbox()

    @toolbox.tool
    def add(a: int, b: int = 1) -> int:
        """Add two numbers."""
        return a + b

    async with CodeModeProvider(host_command) as provider, provider.session(toolbox) as session:
        response = await session.run(
            "text(await tools.add({a: 1})); text(ALL_TOOLS[0].description.split('\\n')[0]);"
            "try { await tools.add({a: 'x'}) } catch (error) { text(String(error)) }",
            toolbox.definitions,
        )
    assert texts(response)[0] == "2"
    assert texts(response)[1].startswith("Add two numbers.")
    assert texts(response)[2] == 'invalid arguments for add: a: expected integer, got "x"'
