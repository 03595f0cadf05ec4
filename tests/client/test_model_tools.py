"""exec and wait as tools: calls as APIs hand them over, mistakes of models and programs, the loss of the host."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from codemode_client import CodeModeProvider, ModelOutput, ModelTools, Toolbox
from codemode_protocol.errors import HostStartError, SessionClosedError
from codemode_protocol.tools import ToolNameConflictError
from tests.client.host_process import kill_host
from tests.client.model_tools import ENDLESS, open_tools, read_output
from tests.client.recorder import Recorder, define_tool, forever

# The loops differ below sessions, where others prove it on each.
pytestmark = pytest.mark.loops("asyncio")

# call


async def test_a_call_takes_what_each_api_hands_over(host_command: list[str]) -> None:
    each: list[str | Mapping[str, object]] = [
        "text(6 * 7)",
        '{"source": "text(6 * 7)"}',
        {"source": "text(6 * 7)"},
    ]
    async with open_tools(host_command) as tools:
        for arguments in each:
            assert read_output(await tools.call("exec", arguments)) == ["42"]


async def test_a_call_of_wait_comes_with_numbers_as_models_write_them(host_command: list[str]) -> None:
    async with open_tools(host_command) as tools:
        first = await tools.call("exec", "yield_control(); text('a'); while (true) {}")
        assert first.cell_id == "1"
        arguments = json.dumps({"cell_id": 1, "until": "news", "yield_time_ms": 5000.0, "max_tokens": None})
        assert read_output(await tools.call("wait", arguments)) == ["a"]
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
    async with open_tools(host_command, None, "echo") as tools:
        for name, arguments, reason in wrong:
            result = await tools.call(name, arguments)
            assert (result.status, result.is_error) == ("refused", True)
            assert reason in result.text


DEEP = "[" * 100_000 + "]" * 100_000
DIGITS = "9" * 5000


async def test_whatever_a_model_hands_to_exec_is_answered(host_command: list[str]) -> None:
    handed: list[str | Mapping[str, object]] = [
        *("", "\0", "\ud800", DEEP, f'{{"source": {DEEP}}}', "text('\ud800')"),
        *({"source": "\ud800"}, {"other": 2}),
        f"// @exec: {DEEP}\ntext(1)",
        f'// @exec: {{"max_output_tokens": {DIGITS}}}\ntext(1)',
        '// @exec: {"yield_time_ms": 1e400}\ntext(1)',
        *(
            "throw '\\ud800'",
            f"throw 'Error: x\\n    at exec_main.mjs:{DIGITS}:1'",
            "throw 'at exec_main.mjs:\u0b67:\u00b2'",
        ),
        *(
            "image('data:;,')",
            "image('data:' + 'x;'.repeat(10000) + ',')",
            "image('data:\\ud800,')",
            "audio('data:,x')",
        ),
    ]
    async with open_tools(host_command) as tools:
        for arguments in handed:
            check_output(await tools.call("exec", arguments))


async def test_whatever_a_model_hands_to_wait_is_answered(host_command: list[str]) -> None:
    ids: list[object] = ["", "\ud800", f"g{DIGITS}:1", DIGITS, int("9" * 4000), 1e308, float("nan"), None, [], object()]
    whole: list[str | Mapping[str, object]] = [
        "",
        "{",
        DEEP,
        f'{{"cell_id": {DEEP}}}',
        f'{{"cell_id": {DIGITS}}}',
        "\ud800",
    ]
    numbers = [
        f'{{"cell_id": "1", "{name}": {value}}}'
        for name in ("yield_time_ms", "max_tokens")
        for value in (DIGITS, -1, "1e400")
    ]
    async with open_tools(host_command) as tools:
        for arguments in [*({"cell_id": cell_id} for cell_id in ids), *whole, *numbers]:
            output = await tools.call("wait", arguments)
            assert output.status == "refused", arguments
            check_output(output)
        for name in ("\ud800", "", "x" * 1_000_000):
            check_output(await tools.call(name, "{}"))


def check_output(output: ModelOutput) -> None:
    """Each API's form of it can be sent."""
    for form in (output.openai_responses(), output.openai_chat(), output.anthropic(), output.text):
        json.dumps(form, ensure_ascii=False).encode()


async def test_the_tools_have_the_names_that_they_were_given(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        tools = ModelTools(session, [define_tool("echo")], exec_name="run_js", wait_name="resume")
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
            self.definitions = [define_tool("first")]

    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        source = Growing()
        tools = ModelTools(session, source)
        assert read_output(await tools.exec("text(typeof tools.second)")) == ["undefined"]
        source.definitions.append(define_tool("second"))
        assert read_output(await tools.exec("text(typeof tools.second)")) == ["function"]
        assert "second" in tools.definitions[0].description


# Mistakes of the program


async def test_numbers_and_names_that_make_no_sense_are_the_callers_mistake(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        with pytest.raises(ValueError, match="negative"):
            await ModelTools(session, []).wait("1", yield_time_ms=-1)
        with pytest.raises(ValueError, match="both"):
            ModelTools(session, [], exec_name="run", wait_name="run")
        with pytest.raises(ToolNameConflictError):
            ModelTools(session, [define_tool("a-b"), define_tool("a_b")])


@pytest.mark.parametrize("setting", ["max_output_tokens", "yield_time_ms", "max_wait_ms"])
def test_a_negative_setting_is_the_programs_mistake(setting: str) -> None:
    settings: Any = {setting: -1}
    session: Any = None  # never asked
    with pytest.raises(ValueError, match="-1 is negative"):
        ModelTools(session, [], **settings)


# The host is lost


@pytest.mark.parametrize("phase", ["exec", "wait"])
async def test_a_lost_host_is_an_answer_that_says_what_is_gone(host_command: list[str], phase: str) -> None:
    recorder = Recorder(hang=forever)
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        tools = ModelTools(session, [define_tool("hang")])
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
        assert read_output(result) == ["undefined"]
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
        assert read_output(await tools.call("exec", '{"source": "text(6 * 7)"}')) == ["42"]

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
        assert read_output(await tools.wait("3", until="news")) == ["2"]
        opened.set()
        last = await tools.wait("3", until="end")
        assert (last.status, read_output(last)) == ("completed", ["4"])
