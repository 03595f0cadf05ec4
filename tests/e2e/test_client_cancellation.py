"""A whole life of a session, cancelled at each of its steps in turn: nothing is left, and what comes after works."""

from __future__ import annotations

import anyio.lowlevel
from msgspec import Raw

from codemode_client import CodeModeProvider
from codemode_protocol.errors import CodeModeError
from codemode_protocol.values import ExecuteRequest, ToolInvocation, WaitRequest
from tests.client.recorder import Recorder, definition
from tests.client.steps import cancel_at_step


async def _life(provider: CodeModeProvider, recorder: Recorder) -> None:
    async with provider.session(recorder) as session:
        tools = [definition("tool")]
        cell = await session.execute(ExecuteRequest("call", tools, "text(1); yield_control(); await tools.tool()"))
        await cell.initial_response()
        await session.wait(WaitRequest(cell.cell_id, 60_000))
        other = await session.execute(ExecuteRequest("call", tools, "notify('x'); await tools.tool(); while (1) {}", 1))
        await other.initial_response()
        await session.terminate(other.cell_id)
        await session.run("text(1)")


async def _tool(invocation: ToolInvocation) -> Raw:
    await anyio.lowlevel.checkpoint()
    return invocation.input


async def _try(provider: CodeModeProvider, step: int) -> bool:
    """Cancel a session's life at one step. False when it has fewer steps."""
    recorder = Recorder(tool=_tool)
    cancelled = await cancel_at_step(step, _life(provider, recorder))
    # A session that was opened for nobody has just been asked to shut down: what is asked now is answered after that.
    async with provider.session(Recorder()) as session:
        await session.run("text(1)")
    assert provider.open_count == 0, "sessions, requests or calls are left"
    assert provider.counters.cells_live == 0
    assert recorder.errors == []
    assert {invocation.cell_id for invocation in recorder.calls} <= set(recorder.closed)
    return cancelled


async def test_cancelling_at_any_step_leaves_nothing_behind(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider:
        # The first time the cancellation may come before there is a host.
        step = 1
        while await _try(provider, step):
            step += 1
    assert step > 5  # how many there are depends on what arrives together


async def test_cancelling_the_provider_at_any_step_leaves_nothing_behind(host_command: list[str]) -> None:
    """The provider's own entering and leaving included; processes and descriptors are looked for after the test."""

    async def live() -> None:
        try:
            async with CodeModeProvider(host_command) as provider:
                await _life(provider, recorder)
        except CodeModeError as error:
            raise AssertionError("nothing but the cancellation ends it") from error

    step = 0
    cancelled = True
    while cancelled:
        step += 1
        recorder = Recorder(tool=_tool)
        cancelled = await cancel_at_step(step, live())
        assert recorder.errors == []
        assert {invocation.cell_id for invocation in recorder.calls} <= set(recorder.closed)
    assert step > 5  # how many there are depends on what arrives together
