"""The client on asyncio and on uvloop, used and cancelled in their ways: tasks, timeouts, groups, a loop that ends."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest
import trio
from msgspec import Raw
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from codemode_client import CodeModeProvider, ModelTools, Session, StartedCell, Toolbox
from codemode_client._loops import on_asyncio
from codemode_protocol.errors import (
    HostLostError,
    HostStartError,
    ProviderClosedError,
    SessionClosedError,
    StaleCellError,
    ToolError,
)
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
from tests.client.recorder import definition
from tests.client.steps import run_until_step

THREE_STEPS = """
text('a'); yield_control(); await tools.gate();
text('b'); await tools.gate();
text('c');
"""
pytestmark = pytest.mark.loops("asyncio", "uvloop")

place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")


class Recorder:
    """A delegate whose tools are those of `tools`, by name; it remembers what happened."""

    def __init__(self, **tools: Callable[[], Awaitable[object]]) -> None:
        self.tools = tools
        self.running = 0
        self.events: list[str] = []
        self.threads: set[int] = set()
        self._changed = asyncio.Event()

    def note(self, event: str) -> None:
        self.events.append(event)
        self.threads.add(threading.get_ident())
        self._changed.set()

    async def until(self, event: str, count: int = 1) -> None:
        while self.events.count(event) < count:
            self._changed.clear()
            await self._changed.wait()

    async def invoke_tool(self, invocation: ToolInvocation) -> Raw:
        name = invocation.tool_name.name
        self.note(f"{name} called")
        self.running += 1
        try:
            await self.tools[name]()
        finally:
            self.running -= 1
            self.note(f"{name} ended")
        return invocation.input

    async def notify(self, call_id: str, cell_id: str, text: str) -> None:
        self.note(f"{call_id} of {cell_id} says {text}")

    def cell_closed(self, cell_id: str) -> None:
        self.note(f"{cell_id} closed, {self.running} calls running")


async def forever() -> None:
    await asyncio.Event().wait()


class Steps(Recorder):
    """For the script `THREE_STEPS`, which goes on only when it is let."""

    def __init__(self) -> None:
        super().__init__(gate=self._gate)
        self._go = asyncio.Semaphore(0)

    async def _gate(self) -> None:
        await self._go.acquire()

    async def go(self) -> None:
        """Let a script come to its next gate: what it wrote before has reached the host then."""
        called = self.events.count("gate called")
        self._go.release()
        await self.until("gate called", called + 1)

    def go_on(self) -> None:
        """Let it come to its end."""
        self._go.release()


@asynccontextmanager
async def opened(command: list[str], recorder: Recorder | None = None) -> AsyncIterator[Session]:
    async with CodeModeProvider(command) as provider, provider.session(recorder or Recorder(), "s") as session:
        yield session


async def started(session: Session, source: str, *tools: str, yield_ms: int = 60_000) -> StartedCell:
    return await session.execute(ExecuteRequest("call", [definition(name) for name in tools], source, yield_ms))


def texts(response: RuntimeResponse) -> list[str]:
    return [item.text for item in response.content_items if isinstance(item, InputText)]


async def waited(session: Session, cell_id: str) -> tuple[type[RuntimeResponse], list[str]]:
    """Wait for a cell until there is output, or its end."""
    while True:
        outcome = await session.wait(WaitRequest(cell_id, 10))
        assert isinstance(outcome, LiveCell)
        if outcome.response.content_items or not isinstance(outcome.response, Yielded):
            return type(outcome.response), texts(outcome.response)


async def cancelled(call: Coroutine[Any, Any, object], at: Awaitable[object] | None = None) -> None:
    """Start a call, let it come to wait, or wait for `at`, then cancel it."""
    task = asyncio.create_task(call)
    await (asyncio.sleep(0) if at is None else at)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancelled_late(
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


# What it is for


async def test_a_cell_is_started_waited_for_and_terminated(host_command: list[str]) -> None:
    steps = Steps()
    async with opened(host_command, steps) as session:
        assert (session.session_id, session.generation) == ("s", 1)
        cell = await started(session, THREE_STEPS, "gate")
        assert texts(await cell.initial_response()) == ["a"]
        assert texts(await cell.initial_response()) == ["a"]
        await steps.go()
        assert await waited(session, cell.cell_id) == (Yielded, ["b"])
        steps.go_on()
        assert await waited(session, cell.cell_id) == (Result, ["c"])
        assert isinstance(await session.wait(WaitRequest(cell.cell_id, 0)), MissingCell)
        other = await started(session, "text('x'); while (true) {}", yield_ms=0)
        assert isinstance(await other.initial_response(), Yielded)
        stopped = await session.terminate(other.cell_id)
        assert isinstance(stopped.response, Terminated)
        steps.go_on()
        steps.go_on()
        done = await session.run(THREE_STEPS, [definition("gate")])
        assert texts(done) == ["a", "b", "c"]


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
    assert texts(done) == ['["at the opening","at the opening"]', '["at the opening",false]']
    assert loops == {asyncio.get_running_loop()}
    assert len(tasks) == 2
    assert place.get() == "later"


async def test_notifications_and_then_the_end_are_told_on_the_loop(host_command: list[str]) -> None:
    recorder = Recorder()
    async with opened(host_command, recorder) as session:
        await session.run("notify('one'); notify('two')", tool_call_id="call-7")
    assert sorted(recorder.events[:2]) == ["call-7 of 1 says one", "call-7 of 1 says two"]
    assert recorder.events[2:] == ["1 closed, 0 calls running"]
    assert recorder.threads == {threading.get_ident()}


async def test_a_thousand_calls_at_once_are_all_answered(host_command: list[str]) -> None:
    toolbox = Toolbox()

    @toolbox.tool
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    async with CodeModeProvider(host_command) as provider, provider.session(toolbox) as session:
        done = await session.run(
            "const all = await Promise.all(Array.from({length: 1000}, (_, n) => tools.double({n})));"
            "text(all.every((value, n) => value === 2 * n)); text(all.length)",
            toolbox.definitions,
        )
    assert texts(done) == ["true", "1000"]


async def test_model_tools_work_over_it(host_command: list[str]) -> None:
    async with opened(host_command) as session:
        output = await ModelTools(session, []).exec("text('for a model')")
        assert (output.status, output.text.endswith("for a model")) == ("completed", True)


async def test_spans_of_a_tool_are_below_the_calls_and_that_of_a_run_below_its_callers(host_command: list[str]) -> None:
    exporter = InMemorySpanExporter()
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = tracing.get_tracer("test")
    toolbox = Toolbox()

    @toolbox.tool
    async def tool() -> None:
        tracer.start_span("in the tool").end()

    async with (
        CodeModeProvider(host_command, tracer_provider=tracing) as provider,
        provider.session(toolbox) as session,
    ):
        with tracer.start_as_current_span("caller"):
            await session.run("await tools.tool()", toolbox.definitions)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    for inner, outer in (("in the tool", "execute_tool tool"), ("execute_tool tool", "exec"), ("exec", "caller")):
        parent, span = spans[inner].parent, spans[outer].get_span_context()
        assert parent is not None
        assert span is not None
        assert parent.span_id == span.span_id


# Errors


async def test_an_error_in_a_tool_rejects_its_promise_alone(host_command: list[str]) -> None:
    async def refuse() -> None:
        raise ToolError("not today")

    async def stop() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await forever()

    async with opened(host_command, Recorder(refuse=refuse, stop=stop)) as session:
        for name, message in (("refuse", "not today"), ("stop", "the tool was cancelled")):
            source = f"try {{ await tools.{name}() }} catch (error) {{ text(String(error)) }}"
            done = await session.run(source, [definition(name)])
            assert texts(done)[0].endswith(message)


async def test_a_lost_host_is_an_error_and_the_next_call_starts_another(host_command: list[str]) -> None:
    recorder = Recorder(tool=forever)
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        cell = await started(session, "await tools.tool()", "tool")
        await recorder.until("tool called")
        assert provider.host_pid is not None
        os.kill(provider.host_pid, signal.SIGKILL)
        with pytest.raises(HostLostError):
            await cell.initial_response()
        await recorder.until("1 closed, 0 calls running")
        with pytest.raises(StaleCellError):
            await session.wait(WaitRequest(cell.cell_id, 0))
        again = await started(session, "text('again')")
        assert again.cell_id == "g2:1"
        assert texts(await again.initial_response()) == ["again"]


async def test_a_host_that_cannot_be_started_is_an_error_of_the_call(tmp_path: os.PathLike[str]) -> None:
    async with CodeModeProvider([os.fspath(tmp_path)], first_backoff=0) as provider:
        with pytest.raises(HostStartError, match="cannot be run"):
            await provider.open_session(Recorder())


async def test_what_is_closed_says_so(host_command: list[str]) -> None:
    provider = CodeModeProvider(host_command)
    async with provider:
        session = await provider.open_session(Recorder(), "s")
        cell = await started(session, "while (true) {}")
        shut = await provider.open_session(Recorder(), "t")
        await shut.shutdown()
        with pytest.raises(SessionClosedError):
            await shut.run("")
    assert provider.closed
    await provider.aclose()
    await session.shutdown()
    cell.abandon()
    with pytest.raises(ProviderClosedError):
        await provider.open_session(Recorder())
    for call in (
        session.execute(ExecuteRequest("call", [], "")),
        session.wait(WaitRequest("1", 0)),
        session.terminate("1"),
        session.run(""),
        cell.initial_response(),
    ):
        with pytest.raises(SessionClosedError, match="session s is shut down"):
            await call


async def test_a_provider_that_was_not_entered_says_how(host_command: list[str]) -> None:
    provider = CodeModeProvider(host_command)
    with pytest.raises(RuntimeError, match=r"`async with CodeModeProvider\(\) as provider`"):
        await provider.open_session(Recorder())
    await provider.aclose()
    with pytest.raises(ProviderClosedError):
        await provider.open_session(Recorder())


def test_another_loop_is_refused(host_command: list[str]) -> None:
    with asyncio.Runner() as first:
        provider = CodeModeProvider(host_command)
        first.run(provider.__aenter__())
        with asyncio.Runner() as second, pytest.raises(RuntimeError, match="belongs to another event loop"):
            second.run(provider.open_session(Recorder()))
        first.run(provider.__aexit__(None, None, None))
        with pytest.raises(RuntimeError, match="entered only once"):
            first.run(provider.__aenter__())


# Cancellation


async def test_a_cancelled_execute_leaves_no_cell(host_command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        await session.run("")
        await cancelled(started(session, "while (true) {}"))
        await cancelled_late(monkeypatch, started(session, "while (true) {}"))
        await session.run("")
        for number in range(1, provider.counters.cells_started + 1):
            await recorder.until(f"{number} closed, 0 calls running")
        assert provider.counters.cells_live == 0


async def test_a_session_opened_for_nobody_is_shut_down(
    host_command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with CodeModeProvider(host_command) as provider:
        await cancelled(provider.open_session(Recorder()))
        await cancelled_late(monkeypatch, provider.open_session(Recorder()))
        async with provider.session(Recorder()) as session:
            await session.run("")
        assert provider.open_count == 0


async def test_a_cancelled_wait_loses_no_output(host_command: list[str]) -> None:
    steps = Steps()
    async with opened(host_command, steps) as session:
        cell = await started(session, THREE_STEPS, "gate")
        await cell.initial_response()
        await cancelled(session.wait(WaitRequest(cell.cell_id, 60_000)))
        await cancelled(session.wait(WaitRequest(cell.cell_id, 60_000)), steps.go())
        assert await waited(session, cell.cell_id) == (Yielded, ["b"])


async def test_a_wait_that_is_cancelled_with_its_answer_in_hand_gives_it_back(
    host_command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps()
    async with opened(host_command, steps) as session:
        cell = await started(session, THREE_STEPS, "gate")
        await cell.initial_response()
        await steps.go()
        await cancelled_late(monkeypatch, session.wait(WaitRequest(cell.cell_id, 0)))
        await cancelled(session.wait(WaitRequest(cell.cell_id, 0)))  # what is kept is not taken by a cancelled wait
        assert await waited(session, cell.cell_id) == (Yielded, ["b"])
        steps.go_on()
        await cancelled_late(monkeypatch, session.wait(WaitRequest(cell.cell_id, 60_000)))  # the cell is over now
        await cancelled(session.wait(WaitRequest(cell.cell_id, 0)))
        assert await waited(session, cell.cell_id) == (Result, ["c"])
        await cancelled_late(monkeypatch, session.wait(WaitRequest(cell.cell_id, 0)))
        assert isinstance(await session.wait(WaitRequest(cell.cell_id, 0)), MissingCell)


async def test_a_cancelled_initial_response_is_for_whoever_asks_next(
    host_command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps()
    async with opened(host_command, steps) as session:
        cell = await started(session, "await tools.gate();" + THREE_STEPS, "gate")
        await cancelled_late(monkeypatch, cell.initial_response(), steps.go_on)
        assert await waited(session, cell.cell_id) == (Yielded, ["a"])
        cell.abandon()
        await steps.until("1 closed, 0 calls running")
        cell = await started(session, "await tools.gate();" + THREE_STEPS, "gate")
        await cancelled_late(monkeypatch, cell.initial_response(), steps.go_on)
        assert texts(await cell.initial_response()) == ["a"]
        await steps.go()
        assert await waited(session, cell.cell_id) == (Yielded, ["b"])


async def test_a_cancelled_terminate_goes_on_and_its_output_is_kept(
    host_command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(host_command) as session:
        cell = await started(session, "text('a'); yield_control(); text('b'); while (true) {}")
        await cell.initial_response()
        assert await waited(session, cell.cell_id) == (Yielded, ["b"])
        await cancelled_late(monkeypatch, session.terminate(cell.cell_id))
        assert await waited(session, cell.cell_id) == (Terminated, [])
        assert isinstance(await session.wait(WaitRequest(cell.cell_id, 0)), MissingCell)


async def test_a_tool_is_cancelled_with_its_cell_which_is_closed_after_the_tools_end(host_command: list[str]) -> None:
    recorder: Recorder

    async def slow_to_end() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0.01)
            recorder.note("cleaned up")

    recorder = Recorder(tool=slow_to_end)
    async with opened(host_command, recorder) as session:
        cell = await started(session, "await tools.tool()", "tool")
        await recorder.until("tool called")
        await session.terminate(cell.cell_id)
        await recorder.until("1 closed, 0 calls running")
    assert recorder.events == ["tool called", "cleaned up", "tool ended", "1 closed, 0 calls running"]


async def test_a_timeout_and_a_task_group_end_a_run_and_its_tools(host_command: list[str]) -> None:
    recorder = Recorder(tool=forever)
    async with opened(host_command, recorder) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await session.run("await tools.tool()", [definition("tool")])
        await recorder.until("1 closed, 0 calls running")

        async def fail() -> None:
            await recorder.until("tool called", 2)
            raise LookupError

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                group.create_task(session.run("await tools.tool()", [definition("tool")], tool_call_id="second"))
        assert caught.group_contains(LookupError)
        await recorder.until("2 closed, 0 calls running")


async def test_a_cancel_scope_of_anyio_ends_a_call(host_command: list[str]) -> None:
    recorder = Recorder(tool=forever)
    with anyio.CancelScope() as scope:
        async with opened(host_command, recorder) as session:
            asyncio.get_running_loop().create_task(recorder.until("tool called")).add_done_callback(
                lambda _: scope.cancel()
            )
            await session.run("await tools.tool()", [definition("tool")])
    assert scope.cancelled_caught
    assert recorder.events[-1] == "1 closed, 0 calls running"


async def test_leaving_a_provider_ends_its_host_even_when_cancelled(host_command: list[str]) -> None:
    inside = asyncio.Event()
    pids: list[int] = []

    async def use() -> None:
        async with CodeModeProvider(host_command) as provider:
            await provider.open_session(Recorder())
            assert provider.host_pid is not None
            pids.append(provider.host_pid)
            inside.set()
            await forever()

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
    events: list[str] = []

    async def use(inside: asyncio.Event) -> None:
        recorder = Recorder(tool=forever)
        try:
            async with opened(host_command, recorder) as session:
                asyncio.get_running_loop().create_task(recorder.until("tool called")).add_done_callback(
                    lambda _: inside.set()
                )
                await session.run("await tools.tool()", [definition("tool")])
        finally:
            events.extend(recorder.events)

    async def main() -> None:
        inside = asyncio.Event()
        task = asyncio.create_task(use(inside))
        await inside.wait()
        assert not task.done()

    asyncio.run(main())
    assert events == ["tool called", "tool ended", "1 closed, 0 calls running"]


# Cancellation at every await


async def life(provider: CodeModeProvider, recorder: Recorder) -> None:
    async with provider.session(recorder) as session:
        cell = await started(session, "text(1); yield_control(); await tools.tool()", "tool")
        await cell.initial_response()
        await session.wait(WaitRequest(cell.cell_id, 60_000))
        other = await started(session, "notify('x'); while (true) {}", yield_ms=1)
        await other.initial_response()
        await session.terminate(other.cell_id)
        await session.run("text(1)")


async def cancelled_at(step: int, coroutine: Coroutine[Any, Any, None]) -> bool:
    """Run a coroutine and cancel its task just before one of its steps; False when it has fewer."""

    def cancel() -> None:
        task.cancel()

    task = asyncio.create_task(run_until_step(step, coroutine, cancel))
    await asyncio.wait([task])
    assert task.cancelled() or task.result() is None
    return task.cancelled()


async def test_cancelling_at_any_step_leaves_nothing_behind(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider:
        step = 0
        more = True
        while more:
            step += 1
            recorder = Recorder(tool=partial(asyncio.sleep, 0))
            more = await cancelled_at(step, life(provider, recorder))
            async with provider.session(Recorder()) as session:
                await session.run("")
            assert provider.open_count == 0
            assert recorder.running == 0
            assert provider.counters.cells_live == 0
            closed = [event for event in recorder.events if "closed" in event]
            assert len(set(closed)) == len(closed)
    assert step > 8


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


@pytest.mark.loops("trio")
async def test_it_works_inside_a_thread_of_a_trio_program(host_command: list[str]) -> None:
    async def main() -> list[str]:
        async with opened(host_command) as session:
            return texts(await session.run("text('in a thread')"))

    assert await trio.to_thread.run_sync(asyncio.run, main()) == ["in a thread"]
