"""exec as a model uses it, over real sessions."""

from __future__ import annotations

import anyio
import pytest

from codemode_client import CodeModeProvider, ModelOutput, ModelTools
from codemode_protocol.values import InputImage
from tests.client.model_tools import ENDLESS, Gate, open_tools, read_output
from tests.client.recorder import Recorder, define_tool, forever

# The loops differ below sessions, where others prove it on each.
pytestmark = pytest.mark.loops("asyncio")


async def test_a_script_runs_to_its_end(host_command: list[str]) -> None:
    async with open_tools(host_command, Recorder(), "echo") as tools:
        result = await tools.exec(
            "text(await tools.echo({a: 1})); image('data:image/png;base64,AAAA'); text(2);"
            "text(ALL_TOOLS[0].description)"
        )
        assert (result.status, result.cell_id, result.is_error) == ("completed", "1", False)
        assert isinstance(result.items[2], InputImage)
        first, second, description = read_output(result)
        assert (first, second) == ('{"a":1}', "2")
        assert "echo(" in description


async def test_an_error_is_told_in_terms_of_what_the_model_wrote(host_command: list[str]) -> None:
    async with open_tools(host_command) as tools:
        result = await tools.exec('// @exec: {"max_output_tokens": 100}\ntext("before");\n  null.x;')
        assert (result.status, result.is_error) == ("failed", True)
        before, error = read_output(result)
        assert before == "before"
        assert error.startswith("Error:\nTypeError: ")
        assert error.endswith("    at exec:3:3\n\n    3 |   null.x;\n      |   ^")


async def test_an_error_that_comes_in_a_wait_is_told_in_the_same_terms(host_command: list[str]) -> None:
    gate = Gate()
    async with open_tools(host_command, Recorder(gate=gate), "gate") as tools:
        first = await tools.exec('// @exec: {"yield_time_ms": 0}\nawait tools.gate();\nnull.x')
        assert first.cell_id is not None
        gate.opened.set()
        result = await tools.wait(first.cell_id, until="end")
        assert "at exec:3:1" in result.text


async def test_the_pragma_sets_time_and_budget(host_command: list[str]) -> None:
    async with open_tools(host_command) as tools:
        started = anyio.current_time()
        result = await tools.exec(
            f'// @exec: {{"yield_time_ms": 500, "max_output_tokens": 10}}\ntext("x".repeat(1000));{ENDLESS}'
        )
        assert anyio.current_time() - started < 5
        assert result.status == "running"
        assert read_output(result) == ["x" * 20 + "\n[… about 240 tokens left out here (1 line) …]\n" + "x" * 20]


async def test_no_script_is_observed_for_longer_than_the_program_says(host_command: list[str]) -> None:
    async with open_tools(host_command, max_wait_ms=150) as tools:
        with anyio.fail_after(10):
            result = await tools.exec(f'// @exec: {{"yield_time_ms": 3600000}}\ntext(1); {ENDLESS}')
        assert (result.status, read_output(result)) == ("running", ["1"])


async def test_a_waits_budget_goes_before_the_pragmas_and_that_before_the_default(host_command: list[str]) -> None:
    def size(result: ModelOutput) -> int:
        return result.text.count("x")

    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        tools = ModelTools(session, [define_tool("echo")], max_output_tokens=50)
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
    async with open_tools(host_command) as tools:
        for source, reason in wrong.items():
            result = await tools.exec(source)
            assert (result.status, result.is_error, result.cell_id) == ("refused", True, None)
            assert reason in result.text


async def test_what_the_host_refuses_is_refused(host_command: list[str]) -> None:
    async with open_tools(host_command) as tools:
        result = await tools.exec("//" + "x" * 17 * 1_048_576)
        assert result.status == "refused"
        assert "not started" in result.text
        assert (await tools.exec("text(1)")).status == "completed"


@pytest.mark.loops("asyncio", "trio")
async def test_a_cancelled_exec_leaves_no_cell_behind(host_command: list[str]) -> None:
    recorder = Recorder(hang=forever)
    async with open_tools(host_command, recorder, "hang") as tools:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(tools.exec, "await tools.hang()")
            await recorder.until(lambda: recorder.calls)
            nursery.cancel_scope.cancel()
        await recorder.until(lambda: recorder.closed == ["1"])
        assert (await tools.wait("1")).status == "refused"


async def test_notifications_carry_the_id_of_the_call_and_are_not_in_the_output(host_command: list[str]) -> None:
    recorder = Recorder()
    async with open_tools(host_command, recorder) as tools:
        result = await tools.call("exec", "notify('psst'); text(1)", call_id="call_17")
        assert read_output(result) == ["1"]
        assert recorder.notifications == [("call_17", "1", "psst")]
