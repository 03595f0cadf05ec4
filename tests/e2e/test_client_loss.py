"""The host dies under a real session: what the caller is told, and how it goes on."""

from __future__ import annotations

import os
import signal

import anyio
import pytest

from codemode_client import CodeModeProvider, Session
from codemode_protocol.errors import HostLostError, StaleCellError
from codemode_protocol.values import ExecuteRequest, InputText, WaitRequest
from tests.client.host_process import kill_host, require_host_pid
from tests.client.recorder import Recorder, define_tool, forever

FOREVER = ExecuteRequest("call", [], "await new Promise(() => {})", 60_000)


async def run_for_text(session: Session, source: str) -> str:
    response = await session.run(source)
    return "".join(item.text for item in response.content_items if isinstance(item, InputText))


async def test_a_session_goes_on_with_a_new_host_and_without_its_values(host_command: list[str]) -> None:
    recorder = Recorder()
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        await session.run("store('key', 1)")
        for generation in (2, 3):
            cell = await session.execute(FOREVER)
            kill_host(provider)
            with pytest.raises(HostLostError, match="killed by SIGKILL"):
                await cell.initial_response()
            assert session.generation == generation
            with pytest.raises(StaleCellError):
                await session.wait(WaitRequest(cell.cell_id, 0))
            assert cell.cell_id in recorder.closed
            assert await run_for_text(session, "text(load('key'))") == "undefined"
    assert recorder.errors == []


@pytest.mark.parametrize("phase", ["wait", "terminate", "tool call", "shutdown"])
async def test_the_loss_is_the_answer_to_what_was_under_way(host_command: list[str], phase: str) -> None:
    recorder = Recorder(hang=forever)
    async with CodeModeProvider(host_command) as provider:
        session = await provider.open_session(recorder)
        if phase == "tool call":
            started = await session.execute(ExecuteRequest("call", [define_tool("hang")], "await tools.hang()", 60_000))
            await recorder.until(lambda: recorder.calls)
            kill_host(provider)
            with pytest.raises(HostLostError, match="SIGKILL"):
                await started.initial_response()
            await recorder.until(lambda: recorder.closed)
            assert len(recorder.cancelled) == 1
            return
        started = await session.execute(ExecuteRequest("call", [], FOREVER.source, 0))
        await started.initial_response()
        # Stopped, the host cannot answer before it is killed.
        os.kill(require_host_pid(provider), signal.SIGSTOP)
        async with anyio.create_task_group() as nursery:

            async def call() -> None:
                match phase:
                    case "wait":
                        with pytest.raises(HostLostError, match="SIGKILL"):
                            await session.wait(WaitRequest(started.cell_id, 60_000))
                    case "terminate":
                        with pytest.raises(HostLostError, match="SIGKILL"):
                            await session.terminate(started.cell_id)
                    case "shutdown":
                        await session.shutdown()

            nursery.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            kill_host(provider)
        assert recorder.closed == ["1"]


async def test_a_hundred_calls_at_the_moment_of_the_loss_all_end(host_command: list[str]) -> None:
    recorder = Recorder()
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        ended: list[str] = []
        await run_for_text(session, "")
        async with anyio.create_task_group() as nursery:

            async def run(number: int) -> None:
                try:
                    await session.run("await tools.echo(); await tools.echo(); text(1)", [define_tool("echo")])
                    ended.append("result")
                except HostLostError:
                    ended.append("lost")

            for number in range(100):
                nursery.start_soon(run, number)
            await recorder.until(lambda: len(recorder.calls) > 20)
            kill_host(provider)
        assert len(ended) == 100
        assert "lost" in ended
        assert await run_for_text(session, "text('again')") == "again"
    assert recorder.errors == []
    assert len(recorder.closed) == len(set(recorder.closed))
