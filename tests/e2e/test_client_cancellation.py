"""A whole life of a session, cancelled at each of its steps in turn: nothing is left, and what comes after works."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import trio
from msgspec import Raw

from codemode_client import CodeModeProvider
from codemode_protocol.errors import CodeModeError
from codemode_protocol.values import ExecuteRequest, ToolInvocation, WaitRequest
from tests.client.recorder import Recorder, definition


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope when a task is about to take its Nth step."""

    def __init__(self, step: int) -> None:
        self.scope = anyio.CancelScope()
        self.task: trio.lowlevel.Task | None = None
        self._left = step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self._left -= 1
            if self._left == 0:
                self.scope.cancel()


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
    instrument = CancelAtStep(step)
    with instrument.scope:
        instrument.task = trio.lowlevel.current_task()
        trio.lowlevel.add_instrument(instrument)
        try:
            await _life(provider, recorder)
        finally:
            trio.lowlevel.remove_instrument(instrument)
    # A session that was opened for nobody has just been asked to shut down: what is asked now is answered after that.
    async with provider.session(Recorder()) as session:
        await session.run("text(1)")
    driver = provider._driver
    assert driver is not None
    assert driver._bindings == {}
    assert driver._operations == {}
    assert driver._initial == {}
    assert driver._connection.size() <= 8, "sessions, cells, requests or calls are left"
    assert recorder.errors == []
    assert {invocation.cell_id for invocation in recorder.calls} <= set(recorder.closed)
    return instrument.scope.cancelled_caught


async def test_cancelling_at_any_step_leaves_nothing_behind(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider:
        # The first time the cancellation may come before there is a host.
        step = 1
        while await _try(provider, step):
            step += 1
    assert step > 5  # how many there are depends on what arrives together


async def test_cancelling_the_provider_at_any_step_leaves_nothing_behind(host_command: list[str]) -> None:
    """The provider's own entering and leaving included; processes and descriptors are looked for after the test."""
    step = 0
    cancelled = True
    while cancelled:
        step += 1
        recorder = Recorder(tool=_tool)
        instrument = CancelAtStep(step)
        with instrument.scope:
            instrument.task = trio.lowlevel.current_task()
            trio.lowlevel.add_instrument(instrument)
            try:
                async with CodeModeProvider(host_command) as provider:
                    await _life(provider, recorder)
            except CodeModeError as error:
                raise AssertionError("nothing but the cancellation ends it") from error
            finally:
                trio.lowlevel.remove_instrument(instrument)
        assert recorder.errors == []
        assert {invocation.cell_id for invocation in recorder.calls} <= set(recorder.closed)
        cancelled = instrument.scope.cancelled_caught
    assert step > 5  # how many there are depends on what arrives together
