"""A whole life of a session, cancelled at each of its steps in turn: nothing is left, and what comes after works."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio.lowlevel
import pytest
from msgspec import Raw

from codemode_client import CodeModeProvider
from codemode_protocol.errors import CodeModeError
from codemode_protocol.values import ExecuteRequest, ToolInvocation, WaitRequest
from tests.client.recorder import Recorder, define_tool
from tests.client.steps import cancel_at_step, cancel_task_at_step
from tests.processes import list_children, list_descriptors

Canceller = Callable[[int, Coroutine[Any, Any, object]], Awaitable[bool]]
"""Cancels a coroutine just before its Nth step, and says whether that came."""


async def _life(provider: CodeModeProvider, recorder: Recorder) -> None:
    async with provider.session(recorder) as session:
        tools = [define_tool("tool")]
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


async def _try(provider: CodeModeProvider, cancel_at: Canceller, step: int) -> bool:
    """Cancel a session's life at one step. False when it has fewer steps."""
    recorder = Recorder(tool=_tool)
    cancelled = await cancel_at(step, _life(provider, recorder))
    # A session that was opened for nobody has just been asked to shut down: what is asked now is answered after that.
    async with provider.session(Recorder()) as session:
        assert (await session.run("text(1)")).text == "1"
    assert provider.open_count == 0, "sessions, requests or calls are left"
    assert provider.counters.cells_live == 0
    assert recorder.errors == []
    assert set(recorder.running.values()) <= {0}
    assert {invocation.cell_id for invocation in recorder.calls} <= set(recorder.closed)
    return cancelled


async def _cancel_sessions(command: list[str], cancel_at: Canceller) -> None:
    """Cancel a session's life at each of its steps in turn, on one host."""
    async with CodeModeProvider(command) as provider:
        # The first time the cancellation may come before there is a host.
        step = 1
        while await _try(provider, cancel_at, step):
            step += 1
        assert provider.counters.hosts_started == 1
    assert step > 5  # how many there are depends on what arrives together


async def _cancel_providers(command: list[str], cancel_at: Canceller) -> None:
    """Cancel a provider's life at each of its steps in turn, the entering and leaving included."""

    async def live() -> None:
        try:
            async with CodeModeProvider(command) as provider:
                await _life(provider, recorder)
        except CodeModeError as error:
            raise AssertionError("nothing but the cancellation ends it") from error

    children, descriptors = list_children(os.getpid()), list_descriptors()
    step = 0
    cancelled = True
    while cancelled:
        step += 1
        recorder = Recorder(tool=_tool)
        cancelled = await cancel_at(step, live())
        assert recorder.errors == []
        assert {invocation.cell_id for invocation in recorder.calls} <= set(recorder.closed)
        assert list_children(os.getpid()) == children, step
        assert list_descriptors() == descriptors, step
    assert step > 5  # how many there are depends on what arrives together


async def test_cancelling_at_any_step_leaves_nothing_behind(host_command: list[str]) -> None:
    await _cancel_sessions(host_command, cancel_at_step)


async def test_cancelling_the_provider_at_any_step_leaves_nothing_behind(host_command: list[str]) -> None:
    await _cancel_providers(host_command, cancel_at_step)


@pytest.mark.loops("asyncio")
async def test_a_plain_cancel_at_any_step_leaves_nothing_behind(host_command: list[str]) -> None:
    await _cancel_sessions(host_command, cancel_task_at_step)


@pytest.mark.loops("asyncio")
async def test_a_plain_cancel_of_the_provider_at_any_step_leaves_nothing_behind(host_command: list[str]) -> None:
    await _cancel_providers(host_command, cancel_task_at_step)
