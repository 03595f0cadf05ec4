"""Sessions inside the caller's process: the same cells, and failures that stay with the cell they happened to."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import get_args

import pytest
import trio
from msgspec import Raw

from codemode_host.inprocess import InProcessSession, InProcessSessionProvider
from codemode_host.options import MAX_PANICS, OnPanic
from codemode_protocol.errors import HostStartError, ProviderClosedError, RequestFailedError, SessionClosedError
from codemode_protocol.limits import Limits
from codemode_protocol.session import SessionProvider
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
from tests.host.program import list_running_children, wait_until
from tests.processes import list_descriptors

LOOP = "text('before'); while (true) {}"
PANIC = "engine panic: the cell's runtime is lost"


async def run(session: InProcessSession, source: str, *tools: str) -> Result:
    cell = await session.execute(ExecuteRequest("call", [define_tool(name) for name in tools], source))
    response = await cell.initial_response()
    assert isinstance(response, Result), response
    return response


async def test_it_is_a_session_provider() -> None:
    async with InProcessSessionProvider() as provider:
        typed: SessionProvider = provider
        session = await typed.open_session(Recorder())
        outcome = await session.wait(WaitRequest("1", 0))
        assert isinstance(outcome, MissingCell)


async def test_where_no_process_can_be_started_a_session_is_refused_until_one_can_be_and_nothing_is_left_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with InProcessSessionProvider() as provider:
        before = list_descriptors()
        for program in ("/no/such/python", os.devnull):
            with monkeypatch.context() as patched:
                patched.setattr(sys, "executable", program)
                with pytest.raises(HostStartError, match="no runtime can be started: .* '" + program):
                    await provider.open_session(Recorder())
        assert list_descriptors() == before
        assert (await run(await provider.open_session(Recorder()), "text(1)")).error_text is None


async def test_a_session_of_a_block_is_shut_down_at_its_end_and_its_name_is_taken_until_then() -> None:
    async with InProcessSessionProvider() as provider:
        async with provider.session(Recorder(), "mine") as session:
            assert session.id == "mine"
            with pytest.raises(RequestFailedError, match="already open"):
                await provider.open_session(Recorder(), "mine")
        with pytest.raises(SessionClosedError, match="session mine is shut down"):
            await run(session, "text(1)")
        with pytest.raises(ValueError, match="blank"):
            await provider.open_session(Recorder(), " ")


async def test_a_session_of_a_block_that_is_cancelled_is_shut_down_before_the_block_ends() -> None:
    async with InProcessSessionProvider() as provider:
        with trio.CancelScope() as scope:
            async with provider.session(Recorder(), "mine") as session:
                await session.execute(ExecuteRequest("call", [], LOOP, 0))
                assert [provider.cells] == [1]
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert [provider.cells] == [0]
        await provider.open_session(Recorder(), "mine")


async def test_cells_run_call_store_notify_and_close() -> None:
    recorder = Recorder()
    async with InProcessSessionProvider() as provider:
        session = await provider.open_session(recorder)
        result = await run(session, "notify('n'); store('k', await tools.echo(41)); text(load('k') + 1)", "echo")
        assert (result.content_items, result.error_text) == ([InputText("42")], None)
        assert (await run(session, "text(load('k'))")).content_items == [InputText("41")]
        await recorder.until(lambda: recorder.closed == ["1", "2"])
    assert recorder.notifications == [("call", "1", "n")]
    assert recorder.errors == []


async def test_tools_that_fail_reject_and_those_of_a_closed_cell_are_cancelled() -> None:
    async def broken(_: ToolInvocation) -> Raw:
        raise ValueError("no such thing")

    async def nonsense(_: ToolInvocation) -> Raw:
        return Raw(b"{")

    recorder = Recorder(hang=forever, broken=broken, nonsense=nonsense)
    async with InProcessSessionProvider() as provider:
        session = await provider.open_session(recorder)
        source = (
            "tools.hang(); for (const name of ['broken', 'nonsense'])"
            "  try { await tools[name]() } catch (error) { text(String(error)) }"
        )
        result = await run(session, source, "hang", "broken", "nonsense")
        first, second = (item.text for item in result.content_items if isinstance(item, InputText))
        assert first.endswith("ValueError: no such thing")
        assert "is not JSON" in second
        await recorder.until(lambda: recorder.closed == ["1"])
        assert len(recorder.cancelled) == 1
    assert recorder.errors == []


async def test_waiting_and_terminating() -> None:
    async with InProcessSessionProvider() as provider:
        recorder = Recorder()
        session = await provider.open_session(recorder)
        source = "text('before'); notify('on'); while (true) {}"
        cell = await session.execute(ExecuteRequest("call", [], source, 0))
        assert isinstance(await cell.initial_response(), Yielded)
        await recorder.until(lambda: recorder.notifications)
        with trio.move_on_after(0.05):
            await session.wait(WaitRequest(cell.cell_id, 60_000))
        outcome = await session.terminate(cell.cell_id)
        assert isinstance(outcome, LiveCell)
        assert isinstance(outcome.response, Terminated)
        assert outcome.response.content_items == [InputText("before")]


async def test_a_limit_fails_the_cell_alone_and_refusals_are_errors() -> None:
    async with InProcessSessionProvider(Limits(memory_bytes=64 << 20, cells_per_session=1)) as provider:
        session = await provider.open_session(Recorder())
        result = await run(session, "const a = []; for (;;) a.push({})")
        assert result.error_text == "cell exceeded its memory limit of 64 MiB"
        await session.execute(ExecuteRequest("call", [], LOOP, 0))
        with pytest.raises(RequestFailedError, match="has 1 cells already"):
            await session.execute(ExecuteRequest("call", [], "1"))


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGILL", "SIGBUS", "SIGTRAP", "SIGSYS", "SIGKILL"])
@pytest.mark.parametrize("on_panic", get_args(OnPanic))
async def test_a_panic_fails_its_cell_or_all_and_the_next_cells_have_a_fresh_zygote(
    on_panic: OnPanic, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        async with InProcessSessionProvider(Limits(spare_runtimes=0), on_panic=on_panic) as provider:
            released = trio.Event()

            async def echo(_: ToolInvocation) -> Raw:
                await released.wait()
                return Raw(b"1")

            session = await provider.open_session(Recorder(echo=echo))
            broken = await start(session, "yield_control(); while (true) {}")
            zygote = provider.pool.zygote.pid
            [pid] = list_running_children(zygote)
            other = await start(session, "yield_control(); text(await tools.echo())")
            os.kill(pid, getattr(signal, name))
            assert await error_of(session, broken) == PANIC
            released.set()
            assert await error_of(session, other) == (None if on_panic == "cell" else PANIC)
            assert (await run(session, "text(1)")).error_text is None
            assert provider.pool.zygote.pid != zygote
            await wait_until(lambda: not os.path.exists(f"/proc/{zygote}"))
    assert f"killed by {name}" in caplog.text


async def test_several_panics_in_a_short_time_end_all_cells_after_all() -> None:
    async with InProcessSessionProvider(Limits(spare_runtimes=0), on_panic="cell") as provider:
        session = await provider.open_session(Recorder())
        bystander = await start(session, "yield_control(); while (true) {}")
        known = set(list_running_children(provider.pool.zygote.pid))
        for _ in range(MAX_PANICS):
            cell_id = await start(session, "yield_control(); while (true) {}")
            [pid] = set(list_running_children(provider.pool.zygote.pid)) - known
            os.kill(pid, signal.SIGSEGV)
            assert await error_of(session, cell_id) == PANIC
        assert await error_of(session, bystander) == PANIC


async def start(session: InProcessSession, source: str) -> str:
    """Start a cell that yields; return its id."""
    cell = await session.execute(ExecuteRequest("call", [define_tool("echo")], source, 60_000))
    assert isinstance(await cell.initial_response(), Yielded)
    return cell.cell_id


async def error_of(session: InProcessSession, cell_id: str) -> str | None:
    """Wait for a cell's end; return its error."""
    outcome = await session.wait(WaitRequest(cell_id, 60_000))
    assert isinstance(outcome.response, Result)
    return outcome.response.error_text


async def test_after_the_end_of_a_zygote_the_next_cell_has_a_fresh_one() -> None:
    async with InProcessSessionProvider() as provider:
        session = await provider.open_session(Recorder())
        await run(session, "store('k', 1)")
        cells = [await session.execute(ExecuteRequest("call", [], LOOP)) for _ in range(3)]
        zygote = provider.pool.zygote.pid
        os.kill(zygote, signal.SIGSEGV)
        for cell in cells:
            response = await cell.initial_response()
            assert isinstance(response, Result)
            assert response.error_text == "engine panic: the cell's runtime is lost"
        assert (await run(session, "text(load('k'))")).content_items == [InputText("1")]
        assert provider.pool.zygote.pid != zygote


async def test_closing_ends_everything() -> None:
    async with InProcessSessionProvider() as provider:
        session = await provider.open_session(Recorder())
        cell = await session.execute(ExecuteRequest("call", [], LOOP))
        await session.shutdown()
        await session.shutdown()
        assert isinstance(await cell.initial_response(), Terminated)
        with pytest.raises(SessionClosedError):
            await session.execute(ExecuteRequest("call", [], "1"))
        family = [provider.pool.zygote.pid, *list_running_children(provider.pool.zygote.pid)]
        await provider.aclose()
        with pytest.raises(ProviderClosedError):
            await provider.open_session(Recorder())
    assert [pid for pid in family if pid in list_running_children(os.getpid())] == []
