"""exec and wait as a model uses them, over real sessions."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec import Raw

from codemode_client import CodeModeProvider, ModelOutput, ModelTools, Toolbox
from codemode_client._model.tools import NEWS_INTERVAL_MS
from codemode_protocol.errors import HostStartError, SessionClosedError
from codemode_protocol.tools import ToolNameConflictError
from codemode_protocol.values import InputImage, InputText, ToolInvocation
from tests.client.host_process import kill_host
from tests.client.recorder import Recorder, definition, forever

ENDLESS = "await new Promise(() => {})"


@asynccontextmanager
async def tools_over(
    command: list[str], recorder: Recorder | None = None, *names: str, max_wait_ms: int | None = 600_000
) -> AsyncIterator[ModelTools]:
    """ModelTools over a session of its own, whose cells may call the recorder's tools of these names."""
    definitions = [definition(name) for name in names]
    async with CodeModeProvider(command) as provider, provider.session(recorder or Recorder()) as session:
        yield ModelTools(session, definitions, max_wait_ms=max_wait_ms)


def output(result: ModelOutput) -> list[str]:
    """The texts after the header."""
    header, *items = result.items
    assert isinstance(header, InputText)
    assert header.text.startswith(f"Status: {result.status}")
    return [item.text for item in items if isinstance(item, InputText)]


class Gate:
    """A tool that answers once it is opened."""

    def __init__(self) -> None:
        self.opened = anyio.Event()

    async def __call__(self, _: ToolInvocation) -> Raw:
        await self.opened.wait()
        return Raw(b"1")


# exec


async def test_a_script_runs_to_its_end(host_command: list[str]) -> None:
    async with tools_over(host_command, Recorder(), "echo") as tools:
        result = await tools.exec(
            "text(await tools.echo({a: 1})); image('data:image/png;base64,AAAA'); text(2);"
            "text(ALL_TOOLS[0].description)"
        )
        assert (result.status, result.cell_id, result.is_error) == ("completed", "1", False)
        assert isinstance(result.items[2], InputImage)
        first, second, description = output(result)
        assert (first, second) == ('{"a":1}', "2")
        assert "echo(" in description


async def test_an_error_is_told_in_terms_of_what_the_model_wrote(host_command: list[str]) -> None:
    async with tools_over(host_command) as tools:
        result = await tools.exec('// @exec: {"max_output_tokens": 100}\ntext("before");\n  null.x;')
        assert (result.status, result.is_error) == ("failed", True)
        before, error = output(result)
        assert before == "before"
        assert error.startswith("Error:\nTypeError: ")
        assert error.endswith("    at exec:3:3\n\n    3 |   null.x;\n      |   ^")


async def test_an_error_that_comes_in_a_wait_is_told_in_the_same_terms(host_command: list[str]) -> None:
    gate = Gate()
    async with tools_over(host_command, Recorder(gate=gate), "gate") as tools:
        first = await tools.exec('// @exec: {"yield_time_ms": 0}\nawait tools.gate();\nnull.x')
        assert first.cell_id is not None
        gate.opened.set()
        result = await tools.wait(first.cell_id, until="end")
        assert "at exec:3:1" in result.text


async def test_the_pragma_sets_time_and_budget(host_command: list[str]) -> None:
    async with tools_over(host_command) as tools:
        started = anyio.current_time()
        result = await tools.exec(
            f'// @exec: {{"yield_time_ms": 500, "max_output_tokens": 10}}\ntext("x".repeat(1000));{ENDLESS}'
        )
        assert anyio.current_time() - started < 5
        assert result.status == "running"
        assert output(result) == ["x" * 20 + "\n[… about 240 tokens left out here (1 line) …]\n" + "x" * 20]


async def test_a_waits_budget_goes_before_the_pragmas_and_that_before_the_default(host_command: list[str]) -> None:
    def size(result: ModelOutput) -> int:
        return result.text.count("x")

    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        tools = ModelTools(session, [definition("echo")], max_output_tokens=50)
        big = 'text("x".repeat(1000));'
        assert size(await tools.exec(big)) == 200
        for budget, expected in ((None, 40), (20, 80)):
            first = await tools.exec(
                f'// @exec: {{"max_output_tokens": 10}}\n{big} yield_control(); await tools.echo(); {big}'
            )
            assert size(first) == 40
            assert first.cell_id is not None
            assert size(await tools.wait(first.cell_id, max_tokens=budget, until="end")) == expected


async def test_a_source_that_cannot_be_run_is_refused_with_the_reason(host_command: list[str]) -> None:
    wrong = {
        "": "exec expects raw JavaScript source text",
        " \n": "exec expects raw JavaScript source text",
        '// @exec: {"yield_time_ms": 1}': "must be followed by JavaScript source",
        "// @exec: {yield\ntext(1)": "must be valid JSON",
        '// @exec: {"timeout": 1}\ntext(1)': "only supports",
        "text('\ud800')": "not valid Unicode",
    }
    async with tools_over(host_command) as tools:
        for source, reason in wrong.items():
            result = await tools.exec(source)
            assert (result.status, result.is_error, result.cell_id) == ("refused", True, None)
            assert reason in result.text


async def test_what_the_host_refuses_is_refused(host_command: list[str]) -> None:
    async with tools_over(host_command) as tools:
        result = await tools.exec("//" + "x" * 17 * 1_048_576)
        assert result.status == "refused"
        assert "not started" in result.text
        assert (await tools.exec("text(1)")).status == "completed"


async def test_a_cancelled_exec_leaves_no_cell_behind(host_command: list[str]) -> None:
    recorder = Recorder(hang=forever)
    async with tools_over(host_command, recorder, "hang") as tools:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(tools.exec, "await tools.hang()")
            await recorder.until(lambda: recorder.calls)
            nursery.cancel_scope.cancel()
        await recorder.until(lambda: recorder.closed == ["1"])
        assert (await tools.wait("1")).status == "refused"


async def test_notifications_carry_the_id_of_the_call_and_are_not_in_the_output(host_command: list[str]) -> None:
    recorder = Recorder()
    async with tools_over(host_command, recorder) as tools:
        result = await tools.call("exec", "notify('psst'); text(1)", call_id="call_17")
        assert output(result) == ["1"]
        assert recorder.notifications == [("call_17", "1", "psst")]


# wait


async def test_a_wait_comes_back_at_a_yield_and_at_the_end(host_command: list[str]) -> None:
    gate = Gate()
    async with tools_over(host_command, Recorder(gate=gate), "gate") as tools:
        first = await tools.exec("text(1); yield_control(); text(await tools.gate() + 1)")
        assert (first.status, output(first), first.cell_id) == ("running", ["1"], "1")
        again = await tools.wait("1", yield_time_ms=0)
        assert (again.status, output(again)) == ("running", [])
        gate.opened.set()
        last = await tools.wait("1")
        assert (last.status, output(last)) == ("completed", ["2"])


async def test_a_wait_for_the_end_goes_on_through_yields(host_command: list[str]) -> None:
    recorder = Recorder()
    async with tools_over(host_command, recorder, "echo") as tools:
        await tools.exec("for (let i = 0; i < 5; i++) { text(i); yield_control(); await tools.echo(); }")
        result = await tools.wait("1", until="end")
        assert (result.status, output(result)) == ("completed", ["1", "2", "3", "4"])


async def test_a_wait_for_the_end_comes_back_when_its_time_is_over(host_command: list[str]) -> None:
    recorder = Recorder()
    async with tools_over(host_command, recorder, max_wait_ms=150) as tools:
        started = anyio.current_time()
        await tools.exec(f"text(1); yield_control(); text(2); notify('written'); {ENDLESS}")
        await recorder.until(lambda: recorder.notifications)
        result = await tools.wait("1", until="end")
        assert (result.status, output(result)[-1]) == ("running", "2")
        assert (await tools.wait("1", until="end", yield_time_ms=3_600_000)).status == "running"
        assert anyio.current_time() - started < 10


async def test_a_wait_for_the_end_brings_no_more_than_an_answer_should_hold(
    host_command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codemode_client._model.tools.MAX_GATHERED", 10_000)
    async with tools_over(host_command, Recorder(), "echo") as tools:
        first = await tools.exec("while (true) { yield_control(); text('x'.repeat(1000)); await tools.echo() }")
        assert first.cell_id is not None
        assert (await tools.wait(first.cell_id, until="end")).status == "running"


async def test_a_wait_for_news_comes_back_at_the_first_output(host_command: list[str]) -> None:
    gate = Gate()
    recorder = Recorder(gate=gate, hang=forever)
    async with tools_over(host_command, recorder, "gate", "hang") as tools, anyio.create_task_group() as nursery:
        await tools.exec("yield_control(); await tools.gate(); text('news'); await tools.hang()")

        async def open_later() -> None:
            await anyio.sleep(3 * NEWS_INTERVAL_MS / 1000)
            gate.opened.set()

        nursery.start_soon(open_later)
        result = await tools.wait("1", until="news")
        assert (result.status, output(result)) == ("running", ["news"])
        assert (await tools.wait("1", until="news", yield_time_ms=50)).status == "running"


async def test_a_terminated_cell_gives_what_it_wrote_and_is_gone(host_command: list[str]) -> None:
    recorder = Recorder()
    async with tools_over(host_command, recorder) as tools:
        await tools.exec("text(1); yield_control(); text(2); notify('written'); while (true) {}")
        await recorder.until(lambda: recorder.notifications)
        result = await tools.wait("1", terminate=True)
        assert (result.status, output(result), result.is_error) == ("terminated", ["2"], False)
        again = await tools.wait("1", terminate=True)
        assert again.status == "refused"


@pytest.mark.parametrize("until", ["yield", "news", "end"])
async def test_a_terminate_ends_a_wait_that_is_under_way(host_command: list[str], until: str) -> None:
    async with tools_over(host_command) as tools:
        await tools.exec(f"yield_control(); {ENDLESS}")
        results: list[ModelOutput] = []

        async def observe() -> None:
            results.append(await tools.call("wait", {"cell_id": "1", "until": until, "yield_time_ms": 60_000}))

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(observe)
            await anyio.wait_all_tasks_blocked()
            results.append(await tools.wait("1", terminate=True))
        assert [result.status for result in results] == ["terminated", "terminated"]


async def test_a_second_wait_for_a_cell_is_refused_and_the_first_goes_on(host_command: list[str]) -> None:
    gate = Gate()
    async with tools_over(host_command, Recorder(gate=gate), "gate") as tools:
        await tools.exec("yield_control(); text(await tools.gate())")
        results: list[ModelOutput] = []

        async def observe() -> None:
            results.append(await tools.wait("1", until="news"))

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(observe)
            await anyio.wait_all_tasks_blocked()
            second = await tools.wait("1")
            assert (second.status, second.cell_id) == ("refused", "1")
            assert "Another call waits for cell 1" in second.text
            gate.opened.set()
        assert (results[0].status, output(results[0])) == ("completed", ["1"])


async def test_a_cell_that_somebody_else_observes_is_refused(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        mine, theirs = ModelTools(session, []), ModelTools(session, [])
        await mine.exec(f"yield_control(); {ENDLESS}")
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(mine.wait, "1")
            await anyio.wait_all_tasks_blocked()
            result = await theirs.wait("1")
            assert result.status == "refused"
            assert "already has an active observer" in result.text
            assert (await theirs.wait("1", terminate=True)).status == "terminated"


async def test_a_cancelled_wait_loses_nothing_that_it_had_gathered(host_command: list[str]) -> None:
    recorder = Recorder(hang=forever)
    gate = Gate()
    recorder.tools["gate"] = gate
    async with tools_over(host_command, recorder, "gate", "hang", "echo") as tools:
        await tools.exec("yield_control(); text(1); await tools.gate(); yield_control(); text(2); await tools.hang()")
        async with anyio.create_task_group() as nursery:

            async def observe() -> None:
                await tools.wait("1", until="end")

            nursery.start_soon(observe)
            await anyio.wait_all_tasks_blocked()
            gate.opened.set()
            await recorder.until(lambda: len(recorder.calls) == 2)
            nursery.cancel_scope.cancel()
        result = await tools.wait("1", terminate=True)
        assert output(result) == ["1", "2"]


async def test_a_cell_that_is_not_there_is_refused_and_the_running_ones_are_named(host_command: list[str]) -> None:
    async with tools_over(host_command) as tools:
        assert "No other cell is running" in (await tools.wait("7")).text
        await tools.exec("text(1)")
        await tools.exec(f"yield_control(); {ENDLESS}")
        for cell_id in ("1", "7", "", "\ud800", "g2:x", "x" * 10_000):
            assert (await tools.wait(cell_id)).status == "refused"
            assert (await tools.wait(cell_id, terminate=True)).status == "refused"
        assert 'These may still run: "2".' in (await tools.wait("1")).text


async def test_numbers_that_make_no_sense_are_the_callers_mistake(host_command: list[str]) -> None:
    async with tools_over(host_command) as tools:
        with pytest.raises(ValueError, match="negative"):
            await tools.wait("1", yield_time_ms=-1)
        with pytest.raises(ValueError, match="both"):
            ModelTools(tools._session, [], exec_name="run", wait_name="run")
        with pytest.raises(ToolNameConflictError):
            ModelTools(tools._session, [definition("a-b"), definition("a_b")])


# call


async def test_a_call_takes_what_each_api_hands_over(host_command: list[str]) -> None:
    each: list[str | Mapping[str, object]] = [
        "text(6 * 7)",
        '{"source": "text(6 * 7)"}',
        {"source": "text(6 * 7)"},
    ]
    async with tools_over(host_command) as tools:
        for arguments in each:
            assert output(await tools.call("exec", arguments)) == ["42"]


async def test_a_call_of_wait_comes_with_numbers_as_models_write_them(host_command: list[str]) -> None:
    async with tools_over(host_command) as tools:
        first = await tools.call("exec", "yield_control(); text('a'); while (true) {}")
        assert first.cell_id == "1"
        arguments = json.dumps({"cell_id": 1, "until": "news", "yield_time_ms": 5000.0, "max_tokens": None})
        assert output(await tools.call("wait", arguments)) == ["a"]
        assert (await tools.call("wait", {"cell_id": "1", "terminate": True})).status == "terminated"


async def test_what_a_model_does_wrong_is_an_answer(host_command: list[str]) -> None:
    wrong = [
        ("run", "text(1)", "no tool `run` to call. There are `exec` and `wait`."),
        ("echo", "{}", "exec with `text(await tools.echo(…))`"),
        ("exec", '{"code": "text(1)"}', "unknown field `code`"),
        ("exec", '{"source": "text(1', "not valid JSON"),
        ("exec", "", "raw JavaScript source text"),
        ("wait", "1", "`wait` takes cell_id"),
        ("wait", '{"cell_id": "1", "until": "later"}', "Invalid enum value 'later'"),
        ("wait", "{", "not valid JSON"),
        ("wait", '{"cell_id": "1"}', "There is no cell 1"),
    ]
    async with tools_over(host_command, None, "echo") as tools:
        for name, arguments, reason in wrong:
            result = await tools.call(name, arguments)
            assert (result.status, result.is_error) == ("refused", True)
            assert reason in result.text


async def test_the_tools_have_the_names_that_they_were_given(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        tools = ModelTools(session, [definition("echo")], exec_name="run_js", wait_name="resume")
        run, resume = tools.definitions
        assert (run.name, run.freeform, resume.name, resume.freeform) == ("run_js", True, "resume", False)
        assert "echo" in run.description
        assert "`resume`" in run.description
        assert "`run_js`" in resume.description
        result = await tools.call("run_js", "yield_control(); null.x")
        assert "`resume`" in result.text
        assert "at run_js:1:18" in (await tools.call("resume", {"cell_id": "1"})).text


async def test_tools_that_are_added_later_are_there_for_the_next_script(host_command: list[str]) -> None:
    class Growing:
        def __init__(self) -> None:
            self.definitions = [definition("first")]

    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        source = Growing()
        tools = ModelTools(session, source)
        assert output(await tools.exec("text(typeof tools.second)")) == ["undefined"]
        source.definitions.append(definition("second"))
        assert output(await tools.exec("text(typeof tools.second)")) == ["function"]
        assert "second" in tools.definitions[0].description


# The host is lost


@pytest.mark.parametrize("phase", ["exec", "wait"])
async def test_a_lost_host_is_an_answer_that_says_what_is_gone(host_command: list[str], phase: str) -> None:
    recorder = Recorder(hang=forever)
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        tools = ModelTools(session, [definition("hang")])
        results: list[ModelOutput] = []

        async def call() -> None:
            if phase == "exec":
                results.append(await tools.exec("await tools.hang()"))
            else:
                results.append(await tools.wait("1", until="end"))

        if phase == "wait":
            await tools.exec("yield_control(); await tools.hang()")
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(call)
            await recorder.until(lambda: recorder.calls)
            await anyio.wait_all_tasks_blocked()
            kill_host(provider)
        (result,) = results
        assert (result.status, result.cell_id) == ("failed", "1")
        assert "SIGKILL" in result.text
        assert "every stored value" in result.text
        assert (stale := await tools.wait("1")).status == "refused"
        assert "Cell 1 is gone" in stale.text
        after = await tools.exec("text(1)")
        assert (after.status, after.cell_id) == ("completed", "g2:1")
        assert "Note:" not in after.text, "it has been told"


async def test_a_host_that_was_lost_between_two_scripts_is_told_of_with_the_next(host_command: list[str]) -> None:
    recorder = Recorder()
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        tools = ModelTools(session, [])
        await tools.exec(f"store('a', 1); yield_control(); {ENDLESS}")
        kill_host(provider)
        await recorder.until(lambda: recorder.closed)
        result = await tools.exec("text(load('a'))")
        assert output(result) == ["undefined"]
        assert "\nNote: the process that ran the earlier scripts was lost." in result.text
        assert "No other cell is running" in (await tools.wait("g2:9")).text
        assert "Note:" not in (await tools.exec("text(1)")).text


async def test_what_the_program_did_wrong_raises(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider:
        session = await provider.open_session(Recorder())
        tools = ModelTools(session, [])
        await session.shutdown()
        with pytest.raises(SessionClosedError):
            await tools.exec("text(1)")
        with pytest.raises(SessionClosedError):
            await tools.call("wait", {"cell_id": "1"})


async def test_a_host_that_cannot_be_started_raises(host_command: list[str], tmp_path: Path) -> None:
    # A host program that is there once: what a broken upgrade looks like.
    program = tmp_path / "host"
    program.write_text(f"#!/bin/sh\nrm '{program}'\nexec {shlex.join(host_command)}\n")
    program.chmod(0o700)
    recorder = Recorder()
    async with CodeModeProvider([str(program)]) as provider, provider.session(recorder) as session:
        tools = ModelTools(session, [])
        await tools.exec(f"yield_control(); {ENDLESS}")
        kill_host(provider)
        await recorder.until(lambda: recorder.closed)
        with pytest.raises(HostStartError):
            await tools.exec("text(1)")


# Cancelled as asyncio does it


@pytest.mark.loops("asyncio")
async def test_a_cancelled_task_stops_an_exec_and_loses_nothing_of_a_wait(host_command: list[str]) -> None:
    toolbox = Toolbox()
    opened, reached = asyncio.Event(), asyncio.Event()

    @toolbox.tool
    async def gate() -> int:
        reached.set()
        await opened.wait()
        return 1

    async with CodeModeProvider(host_command) as provider, provider.session(toolbox) as session:
        tools = ModelTools(session, toolbox)
        assert output(await tools.call("exec", '{"source": "text(6 * 7)"}')) == ["42"]

        # A cancelled exec leaves no cell behind.
        task = asyncio.create_task(tools.exec("await tools.gate()"))
        await reached.wait()
        reached.clear()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await tools.wait("2")).status == "refused"

        # A cancelled wait loses nothing.
        first = await tools.exec("text(1); yield_control(); text(2); yield_control(); text(3 + await tools.gate())")
        assert (first.status, first.cell_id) == ("running", "3")
        await reached.wait()
        task = asyncio.create_task(tools.wait("3", until="end"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert output(await tools.wait("3", until="news")) == ["2"]
        opened.set()
        last = await tools.wait("3", until="end")
        assert (last.status, output(last)) == ("completed", ["4"])


@pytest.mark.parametrize("setting", ["max_output_tokens", "yield_time_ms", "max_wait_ms"])
def test_a_negative_setting_is_the_programs_mistake(setting: str) -> None:
    settings: Any = {setting: -1}
    session: Any = None  # never asked
    with pytest.raises(ValueError, match="-1 is negative"):
        ModelTools(session, [], **settings)
