"""wait as a model uses it, over real sessions."""

from __future__ import annotations

import anyio
import pytest

from codemode_client import CodeModeProvider, ModelOutput, ModelTools
from codemode_client._model.tools import NEWS_INTERVAL_MS
from tests.client.model_tools import ENDLESS, Gate, open_tools, read_output
from tests.client.recorder import Recorder, forever


async def test_a_wait_comes_back_at_a_yield_and_at_the_end(host_command: list[str]) -> None:
    gate = Gate()
    async with open_tools(host_command, Recorder(gate=gate), "gate") as tools:
        first = await tools.exec("text(1); yield_control(); text(await tools.gate() + 1)")
        assert (first.status, read_output(first), first.cell_id) == ("running", ["1"], "1")
        again = await tools.wait("1", yield_time_ms=0)
        assert (again.status, read_output(again)) == ("running", [])
        gate.opened.set()
        last = await tools.wait("1")
        assert (last.status, read_output(last)) == ("completed", ["2"])


async def test_a_wait_for_the_end_goes_on_through_yields(host_command: list[str]) -> None:
    recorder = Recorder()
    async with open_tools(host_command, recorder, "echo") as tools:
        await tools.exec("for (let i = 0; i < 5; i++) { text(i); yield_control(); await tools.echo(); }")
        result = await tools.wait("1", until="end")
        assert (result.status, read_output(result)) == ("completed", ["1", "2", "3", "4"])


async def test_a_wait_for_the_end_comes_back_when_its_time_is_over(host_command: list[str]) -> None:
    recorder = Recorder()
    async with open_tools(host_command, recorder, max_wait_ms=150) as tools:
        started = anyio.current_time()
        await tools.exec(f"text(1); yield_control(); text(2); notify('written'); {ENDLESS}")
        await recorder.until(lambda: recorder.notifications)
        result = await tools.wait("1", until="end")
        assert (result.status, read_output(result)[-1]) == ("running", "2")
        assert (await tools.wait("1", until="end", yield_time_ms=3_600_000)).status == "running"
        assert anyio.current_time() - started < 10


async def test_a_wait_for_the_end_brings_no_more_than_an_answer_should_hold(
    host_command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codemode_client._model.tools.MAX_GATHERED", 10_000)
    async with open_tools(host_command, Recorder(), "echo") as tools:
        first = await tools.exec("while (true) { yield_control(); text('x'.repeat(1000)); await tools.echo() }")
        assert first.cell_id is not None
        assert (await tools.wait(first.cell_id, until="end")).status == "running"


async def test_a_wait_for_news_comes_back_at_the_first_output(host_command: list[str]) -> None:
    gate = Gate()
    recorder = Recorder(gate=gate, hang=forever)
    async with open_tools(host_command, recorder, "gate", "hang") as tools, anyio.create_task_group() as nursery:
        await tools.exec("yield_control(); await tools.gate(); text('news'); await tools.hang()")

        async def open_later() -> None:
            await anyio.sleep(3 * NEWS_INTERVAL_MS / 1000)
            gate.opened.set()

        nursery.start_soon(open_later)
        result = await tools.wait("1", until="news")
        assert (result.status, read_output(result)) == ("running", ["news"])
        assert (await tools.wait("1", until="news", yield_time_ms=50)).status == "running"


async def test_a_terminated_cell_gives_what_it_wrote_and_is_gone(host_command: list[str]) -> None:
    recorder = Recorder()
    async with open_tools(host_command, recorder) as tools:
        await tools.exec("text(1); yield_control(); text(2); notify('written'); while (true) {}")
        await recorder.until(lambda: recorder.notifications)
        result = await tools.wait("1", terminate=True)
        assert (result.status, read_output(result), result.is_error) == ("terminated", ["2"], False)
        again = await tools.wait("1", terminate=True)
        assert again.status == "refused"


@pytest.mark.parametrize("until", ["yield", "news", "end"])
async def test_a_terminate_ends_a_wait_that_is_under_way(host_command: list[str], until: str) -> None:
    async with open_tools(host_command) as tools:
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
    async with open_tools(host_command, Recorder(gate=gate), "gate") as tools:
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
        assert (results[0].status, read_output(results[0])) == ("completed", ["1"])


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
    async with open_tools(host_command, recorder, "gate", "hang", "echo") as tools:
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
        assert read_output(result) == ["1", "2"]


async def test_a_cell_that_is_not_there_is_refused_and_the_running_ones_are_named(host_command: list[str]) -> None:
    async with open_tools(host_command) as tools:
        assert "No other cell is running" in (await tools.wait("7")).text
        await tools.exec("text(1)")
        await tools.exec(f"yield_control(); {ENDLESS}")
        for cell_id in ("1", "7", "", "\ud800", "g2:x", "x" * 10_000):
            assert (await tools.wait(cell_id)).status == "refused"
            assert (await tools.wait(cell_id, terminate=True)).status == "refused"
        assert 'These may still run: "2".' in (await tools.wait("1")).text
