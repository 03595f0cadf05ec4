"""The client as plain calls: the same rules, from any thread, whatever interrupts a call."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest
from msgspec import Raw

from codemode_client._blocking import thread as background
from codemode_client.blocking import CodeModeProvider, ModelTools, Session, StartedCell, Toolbox
from codemode_protocol.errors import HostLostError, HostStartError, ProviderClosedError, SessionClosedError
from codemode_protocol.values import (
    ExecuteRequest,
    InputText,
    LiveCell,
    MissingCell,
    Outcome,
    Result,
    RuntimeResponse,
    Terminated,
    ToolInvocation,
    WaitRequest,
    Yielded,
)
from tests.client.forks import ask_in_fork
from tests.client.host_process import kill_host
from tests.client.interrupts import Interrupted, interrupt_call
from tests.client.recorder import define_tool

TWO_STEPS = "text('a'); yield_control(); text('b'); await tools.wait(); text('c')"

place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")


class Delegate:
    """Its tool `wait` announces itself and waits; `closed` is set when a cell is over."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.go = threading.Event()
        self.closed = threading.Event()

    async def invoke_tool(self, invocation: ToolInvocation) -> Raw:
        self.called.set()
        await asyncio.to_thread(self.go.wait)
        return invocation.input

    async def notify(self, call_id: str, cell_id: str, text: str) -> None:
        pass

    def cell_closed(self, cell_id: str) -> None:
        self.go.set()  # for the thread that may have been left behind
        self.closed.set()


@contextmanager
def open_session(command: list[str], delegate: Delegate | None = None) -> Iterator[Session]:
    with CodeModeProvider(command) as provider, provider.session(delegate or Delegate(), "s") as session:
        yield session


def start_cell(session: Session, source: str, yield_ms: int = 60_000) -> StartedCell:
    return session.execute(ExecuteRequest("call", [define_tool("wait")], source, yield_ms))


def read_texts(response: RuntimeResponse) -> list[str]:
    return [item.text for item in response.content_items if isinstance(item, InputText)]


def wait_for_output(session: Session, cell_id: str) -> tuple[type[RuntimeResponse], list[str]]:
    """Wait for a cell until there is output, or its end."""
    while True:
        outcome = session.wait(WaitRequest(cell_id, 10))
        assert isinstance(outcome, LiveCell)
        if outcome.response.content_items or not isinstance(outcome.response, Yielded):
            return type(outcome.response), read_texts(outcome.response)


@contextmanager
def interrupt_late(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A call in the block is interrupted when its answer has come, but its thread has not taken it."""

    class Late(background.Call[object]):
        def wait(self) -> None:
            super().wait()
            raise Interrupted

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(background, "Call", Late)
        yield


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what the background thread is about to do."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# What it is for


def test_a_cell_is_started_waited_for_and_terminated(host_command: list[str]) -> None:
    delegate = Delegate()
    with open_session(host_command, delegate) as session:
        assert (session.session_id, session.generation) == ("s", 1)
        cell = start_cell(session, TWO_STEPS)
        assert read_texts(cell.initial_response()) == ["a"]
        assert read_texts(cell.initial_response()) == ["a"]
        assert wait_for_output(session, cell.cell_id) == (Yielded, ["b"])
        delegate.go.set()
        assert wait_for_output(session, cell.cell_id) == (Result, ["c"])
        assert isinstance(session.wait(WaitRequest(cell.cell_id, 0)), MissingCell)
        other = start_cell(session, "while (true) {}", yield_ms=0)
        assert isinstance(other.initial_response(), Yielded)
        assert isinstance(session.terminate(other.cell_id).response, Terminated)
        assert read_texts(session.run("text(1); yield_control(); text(2)")) == ["1", "2"]


def test_plain_tools_run_in_threads_and_async_ones_on_asyncio_in_the_context_of_the_opening(
    host_command: list[str],
) -> None:
    toolbox = Toolbox(on_notify=lambda text: notified.append((text, place.get())))
    notified: list[tuple[str, str]] = []
    main = threading.get_ident()

    @toolbox.tool
    def plain() -> list[object]:
        return [place.get(), threading.get_ident() == main]

    @toolbox.tool
    async def asynchronous() -> list[object]:
        async with asyncio.timeout(60):
            await asyncio.to_thread(str)
        return [place.get(), threading.get_ident() == main]

    place.set("at the opening")
    with CodeModeProvider(host_command) as provider:
        session = provider.open_session(toolbox)
        place.set("later")
        done = session.run(
            "notify('hi'); text(await Promise.all([tools.plain(), tools.asynchronous()]))", toolbox.definitions
        )
    assert read_texts(done) == ['[["at the opening",false],["at the opening",false]]']
    assert notified == [("hi", "at the opening")]


def test_many_threads_use_one_provider_at_once(host_command: list[str]) -> None:
    toolbox = Toolbox()

    @toolbox.tool
    def double(n: int) -> int:
        return 2 * n

    with CodeModeProvider(host_command) as provider, provider.session(toolbox) as shared:

        def work(n: int) -> list[str]:
            source = f"text(await tools.double({{n: {n}}}))"
            if n % 2:
                return read_texts(shared.run(source, toolbox.definitions))
            with provider.session(toolbox) as session:
                return read_texts(session.run(source, toolbox.definitions))

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(40))) == [[str(2 * n)] for n in range(40)]


def test_a_plain_tool_may_run_another_cell_and_an_async_one_is_told_that_it_may_not(host_command: list[str]) -> None:
    toolbox = Toolbox()

    @toolbox.tool
    def nested() -> list[str]:
        return read_texts(session.run("text('inner')"))

    @toolbox.tool
    async def stuck() -> list[str]:
        return read_texts(session.run("text('inner')"))

    with CodeModeProvider(host_command) as provider, provider.session(toolbox) as session:
        done = session.run(
            "text(await tools.nested()); await tools.stuck().catch((error) => text(String(error)))",
            toolbox.definitions,
        )
    assert read_texts(done)[0] == '["inner"]'
    assert "would wait for itself: make the tool a plain function" in read_texts(done)[1]


def test_model_tools_are_plain_calls(host_command: list[str]) -> None:
    with open_session(host_command) as session:
        model_tools = ModelTools(session, [])
        assert [one.name for one in model_tools.definitions] == ["exec", "wait"]
        running = model_tools.exec("text('one'); yield_control(); text('two')")
        assert running.cell_id is not None
        assert running.status == "running"
        assert model_tools.wait(running.cell_id, until="end").text.endswith("two")
        assert model_tools.call("wait", {"cell_id": "77"}).status == "refused"


# Errors


def test_a_lost_host_is_an_error_and_the_next_call_starts_another(host_command: list[str]) -> None:
    delegate = Delegate()
    with CodeModeProvider(host_command) as provider, provider.session(delegate) as session:
        cell = start_cell(session, "await tools.wait()")
        assert delegate.called.wait(30)
        kill_host(provider)
        with pytest.raises(HostLostError):
            cell.initial_response()
        assert read_texts(session.run("text('again')")) == ["again"]
        assert session.generation == 2


def test_what_is_closed_or_was_not_entered_says_so(host_command: list[str]) -> None:
    provider = CodeModeProvider(host_command)
    with pytest.raises(RuntimeError, match=r"`with CodeModeProvider\(\) as provider`"):
        provider.open_session(Delegate())
    with provider:
        session = provider.open_session(Delegate(), "s")
        cell = start_cell(session, "text(1)")
    with pytest.raises(RuntimeError, match="entered only once"):
        provider.__enter__()
    assert provider.closed
    provider.aclose()
    session.shutdown()
    cell.abandon()
    with pytest.raises(ProviderClosedError):
        provider.open_session(Delegate())
    calls: list[Callable[[], object]] = [
        partial(session.execute, ExecuteRequest("call", [], "")),
        partial(session.wait, WaitRequest("1", 0)),
        partial(session.terminate, "1"),
        partial(session.run, ""),
        cell.initial_response,
    ]
    for call in calls:
        with pytest.raises(SessionClosedError, match="session s is shut down"):
            call()


def test_closing_ends_the_calls_of_other_threads(host_command: list[str]) -> None:
    delegate = Delegate()
    with ThreadPoolExecutor(1) as pool:
        with CodeModeProvider(host_command) as provider:
            session = provider.open_session(delegate)
            waiting = pool.submit(session.run, "await tools.wait()", [define_tool("wait")])
            assert delegate.called.wait(30)
        with pytest.raises(SessionClosedError):
            waiting.result()
    assert delegate.closed.is_set()


def test_a_host_that_cannot_be_started_is_an_error_of_the_call(tmp_path: os.PathLike[str]) -> None:
    with CodeModeProvider([os.fspath(tmp_path)]) as provider, pytest.raises(HostStartError, match="cannot be run"):
        provider.open_session(Delegate())


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking with threads is the point
def test_a_fork_of_the_process_is_told_to_make_its_own(host_command: list[str]) -> None:
    with open_session(host_command) as session:
        assert "make one in each process" in ask_in_fork(partial(session.run, ""))
        assert read_texts(session.run("text('unharmed')")) == ["unharmed"]


# Interruption


def test_an_interrupted_run_ends_its_cell_and_its_tools(host_command: list[str]) -> None:
    delegate = Delegate()
    with open_session(host_command, delegate) as session:
        with interrupt_call(delegate.called):
            session.run("await tools.wait()", [define_tool("wait")])
        assert delegate.closed.wait(30)
        assert read_texts(session.run("text('goes on')")) == ["goes on"]


def test_an_interrupted_wait_loses_no_output(host_command: list[str]) -> None:
    delegate = Delegate()
    with open_session(host_command, delegate) as session:
        cell = start_cell(session, TWO_STEPS)
        cell.initial_response()
        with interrupt_call(delegate.called):
            session.wait(WaitRequest(cell.cell_id, 60_000))
        assert wait_for_output(session, cell.cell_id) == (Yielded, ["b"])
        delegate.go.set()
        assert wait_for_output(session, cell.cell_id) == (Result, ["c"])


def test_an_interrupted_opening_leaves_no_session(host_command: list[str]) -> None:
    at_once = threading.Event()
    at_once.set()
    with CodeModeProvider(host_command) as provider:
        with interrupt_call(at_once):
            provider.open_session(Delegate())
        with provider.session(Delegate()) as session:
            session.run("")
        wait_until(lambda: provider.open_count == 0)
        assert provider.counters.cells_live == 0


def test_an_answer_that_an_interruption_kept_from_its_caller_is_given_back(
    host_command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    delegate = Delegate()
    with CodeModeProvider(host_command) as provider, provider.session(delegate) as session:
        with interrupt_late(monkeypatch):
            provider.open_session(Delegate())
        with interrupt_late(monkeypatch):
            start_cell(session, "while (true) {}")
        assert delegate.closed.wait(30)
        delegate.go.clear()

        cell = start_cell(session, TWO_STEPS)
        with interrupt_late(monkeypatch):
            cell.initial_response()
        assert wait_for_output(session, cell.cell_id) == (Yielded, ["a"])
        assert delegate.called.wait(30)
        with interrupt_late(monkeypatch):
            session.wait(WaitRequest(cell.cell_id, 0))
        assert wait_for_output(session, cell.cell_id) == (Yielded, ["b"])
        delegate.go.set()
        outcomes: list[Outcome] = []
        with interrupt_late(monkeypatch):
            outcomes.append(session.wait(WaitRequest(cell.cell_id, 60_000)))
        assert outcomes == []
        assert wait_for_output(session, cell.cell_id) == (Result, ["c"])

        cell = start_cell(session, "while (true) {}", yield_ms=0)
        cell.initial_response()
        with interrupt_late(monkeypatch):
            session.terminate(cell.cell_id)
        assert wait_for_output(session, cell.cell_id) == (Terminated, [])

        delegate.closed.clear()
        with interrupt_late(monkeypatch):
            ModelTools(session, []).exec("yield_control(); while (true) {}")
        assert delegate.closed.wait(30)
        wait_until(lambda: provider.open_count == 1)
