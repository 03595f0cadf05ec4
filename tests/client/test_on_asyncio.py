"""The client on asyncio and on uvloop, used and cancelled in their ways: tasks, timeouts, groups, a loop that ends."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trio
from msgspec import Raw

from codemode_client import CodeModeProvider, Session, StartedCell, Toolbox
from codemode_client._loops import on_asyncio
from codemode_protocol.errors import ProviderClosedError
from codemode_protocol.values import (
    ExecuteRequest,
    InputText,
    LiveCell,
    MissingCell,
    Result,
    RuntimeResponse,
    Terminated,
    ToolInvocation,
    WaitRequest,
    Yielded,
)
from tests.client.host_process import require_host_pid
from tests.client.recorder import Recorder, define_tool, forever

THREE_STEPS = """
text('a'); yield_control(); await tools.gate();
text('b'); await tools.gate();
text('c');
"""
pytestmark = pytest.mark.loops("asyncio", "uvloop")

place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")


class Steps(Recorder):
    """For the script `THREE_STEPS`, which goes on only when it is let."""

    def __init__(self) -> None:
        super().__init__(gate=self._gate)
        self._go = asyncio.Semaphore(0)

    async def _gate(self, invocation: ToolInvocation) -> Raw:
        await self._go.acquire()
        return invocation.input

    async def go(self) -> None:
        """Let a script come to its next gate: what it wrote before has reached the host then."""
        called = len(self.calls)
        self._go.release()
        await self.until(lambda: len(self.calls) > called)

    def go_on(self) -> None:
        """Let it come to its end."""
        self._go.release()


@asynccontextmanager
async def open_session(command: list[str], recorder: Recorder | None = None) -> AsyncIterator[Session]:
    async with CodeModeProvider(command) as provider, provider.session(recorder or Recorder(), "s") as session:
        yield session


async def start_cell(session: Session, source: str, *tools: str, yield_ms: int = 60_000) -> StartedCell:
    return await session.execute(ExecuteRequest("call", [define_tool(name) for name in tools], source, yield_ms))


def read_texts(response: RuntimeResponse) -> list[str]:
    return [item.text for item in response.content_items if isinstance(item, InputText)]


async def wait_for_output(session: Session, cell_id: str) -> tuple[type[RuntimeResponse], list[str]]:
    """Wait for a cell until there is output, or its end."""
    while True:
        outcome = await session.wait(WaitRequest(cell_id, 10))
        assert isinstance(outcome, LiveCell)
        if outcome.response.content_items or not isinstance(outcome.response, Yielded):
            return type(outcome.response), read_texts(outcome.response)


async def cancel_call(call: Coroutine[Any, Any, object], at: Awaitable[object] | None = None) -> None:
    """Start a call, let it come to wait, or wait for `at`, then cancel it."""
    task = asyncio.create_task(call)
    await (asyncio.sleep(0) if at is None else at)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancel_late(
    monkeypatch: pytest.MonkeyPatch, call: Coroutine[Any, Any, object], once_waiting: Callable[[], None] | None = None
) -> None:
    """Cancel a call's task when its answer has come, but the task has not run again.

    `once_waiting` lets the answer come; without it the answer must be one that the call itself brings.
    """

    class Late(on_asyncio.Waiter):
        def __init__(self, loop: asyncio.AbstractEventLoop, on_cancelled: Callable[[], object] | None) -> None:
            super().__init__(loop, on_cancelled)
            self.sleeper = asyncio.current_task()

        def set_result(self, value: None, /) -> None:
            super().set_result(value)
            if self.sleeper is task:
                task.cancel()

    with monkeypatch.context() as patch:
        patch.setattr(on_asyncio, "Waiter", Late)
        task = asyncio.create_task(call)
        if once_waiting is not None:
            await asyncio.sleep(0)
            once_waiting()
        with pytest.raises(asyncio.CancelledError):
            await task


# Where things run


async def test_tools_are_tasks_on_the_callers_loop_in_the_context_that_opened_the_session(
    host_command: list[str],
) -> None:
    toolbox = Toolbox()
    both = asyncio.Barrier(2)
    loops: set[asyncio.AbstractEventLoop] = set()
    tasks: set[asyncio.Task[Any] | None] = set()

    @toolbox.tool
    async def where() -> str:
        loops.add(asyncio.get_running_loop())
        tasks.add(asyncio.current_task())
        await both.wait()
        before = place.get()
        place.set("in a tool")
        return before

    @toolbox.tool
    def thread() -> list[object]:
        return [place.get(), threading.get_ident() == main]

    main = threading.get_ident()
    place.set("at the opening")
    async with CodeModeProvider(host_command) as provider:
        session = await provider.open_session(toolbox)
        place.set("later")
        done = await session.run(
            "text(await Promise.all([tools.where(), tools.where()])); text(await tools.thread())", toolbox.definitions
        )
    assert read_texts(done) == ['["at the opening","at the opening"]', '["at the opening",false]']
    assert loops == {asyncio.get_running_loop()}
    assert len(tasks) == 2
    assert place.get() == "later"


async def test_notifications_and_then_the_end_are_told_on_the_loop(host_command: list[str]) -> None:
    threads: set[int] = set()

    class Looking(Recorder):
        async def notify(self, call_id: str, cell_id: str, text: str) -> None:
            assert self.closed == []
            threads.add(threading.get_ident())
            await super().notify(call_id, cell_id, text)

        def cell_closed(self, cell_id: str) -> None:
            threads.add(threading.get_ident())
            super().cell_closed(cell_id)

    recorder = Looking()
    async with open_session(host_command, recorder) as session:
        await session.run("notify('one'); notify('two')", tool_call_id="call-7")
    assert sorted(recorder.notifications) == [("call-7", "1", "one"), ("call-7", "1", "two")]
    assert (recorder.closed, recorder.errors) == (["1"], [])
    assert threads == {threading.get_ident()}


def test_another_loop_is_refused(host_command: list[str]) -> None:
    with asyncio.Runner() as first:
        provider = CodeModeProvider(host_command)
        first.run(provider.__aenter__())
        with asyncio.Runner() as second, pytest.raises(RuntimeError, match="belongs to another event loop"):
            second.run(provider.open_session(Recorder()))
        first.run(provider.__aexit__(None, None, None))
        with pytest.raises(RuntimeError, match="entered only once"):
            first.run(provider.__aenter__())


@pytest.mark.loops("trio")
async def test_it_works_inside_a_thread_of_a_trio_program(host_command: list[str]) -> None:
    async def main() -> list[str]:
        async with open_session(host_command) as session:
            return read_texts(await session.run("text('in a thread')"))

    assert await trio.to_thread.run_sync(asyncio.run, main()) == ["in a thread"]


# Cancelled when the answer has come, and the task has not run again


async def test_a_cancelled_execute_leaves_no_cell(host_command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        await session.run("")
        await cancel_call(start_cell(session, "while (true) {}"))
        await cancel_late(monkeypatch, start_cell(session, "while (true) {}"))
        await session.run("")
        await recorder.until(lambda: len(recorder.closed) == provider.counters.cells_started)
        assert provider.counters.cells_live == 0


async def test_a_session_opened_for_nobody_is_shut_down(
    host_command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with CodeModeProvider(host_command) as provider:
        await cancel_call(provider.open_session(Recorder()))
        await cancel_late(monkeypatch, provider.open_session(Recorder()))
        async with provider.session(Recorder()) as session:
            await session.run("")
        assert provider.open_count == 0


async def test_a_cancelled_wait_loses_no_output(host_command: list[str]) -> None:
    steps = Steps()
    async with open_session(host_command, steps) as session:
        cell = await start_cell(session, THREE_STEPS, "gate")
        await cell.initial_response()
        await cancel_call(session.wait(WaitRequest(cell.cell_id, 60_000)))
        await cancel_call(session.wait(WaitRequest(cell.cell_id, 60_000)), steps.go())
        assert await wait_for_output(session, cell.cell_id) == (Yielded, ["b"])


async def test_a_wait_that_is_cancelled_with_its_answer_in_hand_gives_it_back(
    host_command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps()
    async with open_session(host_command, steps) as session:
        cell = await start_cell(session, THREE_STEPS, "gate")
        await cell.initial_response()
        await steps.go()
        await cancel_late(monkeypatch, session.wait(WaitRequest(cell.cell_id, 0)))
        await cancel_call(session.wait(WaitRequest(cell.cell_id, 0)))  # what is kept is not taken by a cancelled wait
        assert await wait_for_output(session, cell.cell_id) == (Yielded, ["b"])
        steps.go_on()
        await cancel_late(monkeypatch, session.wait(WaitRequest(cell.cell_id, 60_000)))  # the cell is over now
        await cancel_call(session.wait(WaitRequest(cell.cell_id, 0)))
        assert await wait_for_output(session, cell.cell_id) == (Result, ["c"])
        await cancel_late(monkeypatch, session.wait(WaitRequest(cell.cell_id, 0)))
        assert isinstance(await session.wait(WaitRequest(cell.cell_id, 0)), MissingCell)


async def test_a_cancelled_initial_response_is_for_whoever_asks_next(
    host_command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps()
    async with open_session(host_command, steps) as session:
        cell = await start_cell(session, "await tools.gate();" + THREE_STEPS, "gate")
        await cancel_late(monkeypatch, cell.initial_response(), steps.go_on)
        assert await wait_for_output(session, cell.cell_id) == (Yielded, ["a"])
        cell.abandon()
        await steps.until(lambda: steps.closed == ["1"])
        cell = await start_cell(session, "await tools.gate();" + THREE_STEPS, "gate")
        await cancel_late(monkeypatch, cell.initial_response(), steps.go_on)
        assert read_texts(await cell.initial_response()) == ["a"]
        await steps.go()
        assert await wait_for_output(session, cell.cell_id) == (Yielded, ["b"])


async def test_a_cancelled_terminate_goes_on_and_its_output_is_kept(
    host_command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_session(host_command) as session:
        cell = await start_cell(session, "text('a'); yield_control(); text('b'); while (true) {}")
        await cell.initial_response()
        assert await wait_for_output(session, cell.cell_id) == (Yielded, ["b"])
        await cancel_late(monkeypatch, session.terminate(cell.cell_id))
        assert await wait_for_output(session, cell.cell_id) == (Terminated, [])
        assert isinstance(await session.wait(WaitRequest(cell.cell_id, 0)), MissingCell)


# Cancelled by timeouts, groups, scopes and loops


async def test_a_timeout_and_a_task_group_end_a_run_and_its_tools(host_command: list[str]) -> None:
    recorder = Recorder(tool=forever)
    async with open_session(host_command, recorder) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:

                async def end() -> None:
                    await recorder.until(lambda: recorder.calls)
                    limit.reschedule(asyncio.get_running_loop().time())

                group.create_task(end())
                await session.run("await tools.tool()", [define_tool("tool")])
        await recorder.until(lambda: recorder.closed == ["1"])
        called = len(recorder.calls)  # none on a busy machine, where the time was over before

        async def fail() -> None:
            await recorder.until(lambda: len(recorder.calls) > called)
            raise LookupError

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                group.create_task(session.run("await tools.tool()", [define_tool("tool")], tool_call_id="second"))
        assert caught.group_contains(LookupError)
        await recorder.until(lambda: recorder.closed == ["1", "2"])


async def test_a_cancel_scope_of_anyio_ends_a_call(host_command: list[str]) -> None:
    recorder = Recorder(tool=forever)
    with anyio.CancelScope() as scope:
        async with open_session(host_command, recorder) as session:
            asyncio.get_running_loop().create_task(recorder.until(lambda: recorder.calls)).add_done_callback(
                lambda _: scope.cancel()
            )
            await session.run("await tools.tool()", [define_tool("tool")])
    assert scope.cancelled_caught
    assert (len(recorder.cancelled), recorder.closed, recorder.errors) == (1, ["1"], [])


async def test_leaving_a_provider_ends_its_host_even_when_cancelled(host_command: list[str]) -> None:
    inside = asyncio.Event()
    pids: list[int] = []

    async def use() -> None:
        async with CodeModeProvider(host_command) as provider:
            await provider.open_session(Recorder())
            pids.append(require_host_pid(provider))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    await inside.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # while it is being left
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_task_left_open_at_the_end_of_asyncio_run_closes_its_provider(host_command: list[str]) -> None:
    recorders: list[Recorder] = []

    async def use(inside: asyncio.Event) -> None:
        recorder = Recorder(tool=forever)
        recorders.append(recorder)
        async with open_session(host_command, recorder) as session:
            asyncio.get_running_loop().create_task(recorder.until(lambda: recorder.calls)).add_done_callback(
                lambda _: inside.set()
            )
            await session.run("await tools.tool()", [define_tool("tool")])

    async def main() -> None:
        inside = asyncio.Event()
        task = asyncio.create_task(use(inside))
        await inside.wait()
        assert not task.done()

    asyncio.run(main())
    (recorder,) = recorders
    assert (len(recorder.cancelled), recorder.closed, recorder.errors) == (1, ["1"], [])


async def test_a_call_while_the_provider_is_left_is_answered(host_command: list[str]) -> None:
    for turns in range(6):
        provider = CodeModeProvider(host_command)
        await provider.__aenter__()
        leaving = asyncio.create_task(provider.__aexit__(None, None, None))
        for _ in range(turns):
            await asyncio.sleep(0)
        if turns:
            with pytest.raises(ProviderClosedError):
                await provider.open_session(Recorder())
        await leaving
