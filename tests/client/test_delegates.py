"""What a host asks of a session's delegate, and what it is told."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from msgspec import Raw

from codemode_client import CodeModeProvider, Session
from codemode_client._session import delegate_calls
from codemode_protocol.errors import ToolError
from codemode_protocol.messages import (
    DelegateCancel,
    DelegateRequest,
    DelegateResponse,
    Failure,
    InvokeTool,
    NotificationDelivered,
    SendNotification,
    Success,
    ToolResult,
)
from codemode_protocol.values import ExecuteRequest, ToolInvocation, ToolKind, ToolName
from tests.client.puppet import Puppet, open_puppets, yielded
from tests.client.recorder import Recorder, forever

CELL = ExecuteRequest("call", [], "")


@asynccontextmanager
async def cell(recorder: Recorder, **options: int) -> AsyncIterator[tuple[Session, Puppet]]:
    """A live cell "1" that has yielded."""
    async with open_puppets() as hosts, CodeModeProvider(hosts.command, **options) as provider:  # type: ignore[arg-type]
        sessions: list[Session] = []
        async with anyio.create_task_group() as nursery:

            async def begin() -> None:
                sessions.append(await provider.open_session(recorder, "s"))
                await sessions[0].execute(CELL)

            nursery.start_soon(begin)
            host = await hosts.next()
            await host.open_session()
            request = await host.start_cell("1")
            await host.initial(request, yielded("1"))
        yield sessions[0], host
    assert recorder.errors == []
    assert recorder.closed == ["1"]


async def answer(host: Puppet) -> DelegateResponse:
    message = await host.receive()
    assert isinstance(message, DelegateResponse)
    return message


def failing(error: Exception) -> Recorder:
    async def fail(_: ToolInvocation) -> Raw:
        raise error

    return Recorder(tool=fail)


async def test_calls_run_at_the_same_time_and_are_answered_as_they_end() -> None:
    release = {f"tool-{number}": anyio.Event() for number in (1, 2, 3)}

    async def tool(invocation: ToolInvocation) -> Raw:
        await release[invocation.runtime_tool_call_id].wait()
        return Raw(b'"%s"' % invocation.runtime_tool_call_id.encode())

    recorder = Recorder(tool=tool)
    async with cell(recorder) as (_, host):
        calls = [await host.call_tool("1") for _ in range(3)]
        await recorder.until(lambda: len(recorder.calls) == 3)
        for number in (2, 3, 1):
            release[f"tool-{number}"].set()
            response = await answer(host)
            assert response == DelegateResponse(calls[number - 1], Success(ToolResult(Raw(b'"tool-%d"' % number))))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ToolError("just this"), "just this"),
        (ValueError("bad value"), "ValueError: bad value"),
        (KeyError(), "KeyError"),
        (ToolError("half a pair: \ud800"), "half a pair: ?"),
        (ExceptionGroup("several", [ValueError("one")]), "ValueError: one"),
    ],
)
async def test_an_exception_is_that_calls_error(error: Exception, message: str) -> None:
    async with cell(failing(error)) as (_, host):
        call = await host.call_tool("1")
        assert await answer(host) == DelegateResponse(call, Failure(message))
        assert await _works(host)


async def _works(host: Puppet) -> bool:
    """The connection lives: another call is answered."""
    call = await host.call_tool("1", "echo")
    return (await answer(host)).id == call


@pytest.mark.parametrize("value", [b"{", b"", b"1 2", b'"\xff"', "text", None])
async def test_an_answer_that_is_no_json_is_that_calls_error(value: object) -> None:
    async def tool(_: ToolInvocation) -> Raw:
        return Raw(value) if isinstance(value, bytes) else value  # type: ignore[return-value]

    async with cell(Recorder(tool=tool)) as (_, host):
        await host.call_tool("1")
        assert isinstance((await answer(host)).result, Failure)
        assert await _works(host)


async def test_an_answer_that_does_not_fit_in_a_frame_is_that_calls_error() -> None:
    async def tool(_: ToolInvocation) -> Raw:
        return Raw(b'"%s"' % (b"x" * 1000))

    async with cell(Recorder(tool=tool), max_frame_bytes=1000) as (_, host):
        await host.call_tool("1")
        response = await answer(host)
        assert isinstance(response.result, Failure)
        assert "the tool's answer is too large" in response.result.message
        assert await _works(host)


async def test_a_call_that_the_host_takes_back_is_cancelled_and_not_answered() -> None:
    recorder = Recorder(tool=forever)
    async with cell(recorder) as (_, host):
        call = await host.call_tool("1")
        await recorder.until(lambda: recorder.calls)
        await host.stream.send_all(host.connection.send(DelegateCancel(call)))
        await recorder.until(lambda: recorder.cancelled)
        assert await _works(host)


async def test_a_call_and_its_cancel_in_one_piece_come_to_nothing() -> None:
    recorder = Recorder(tool=forever)
    async with cell(recorder) as (_, host):
        calls = b""
        for number in range(1, 4):
            assert host.connection.next_delegate_id() == number
            invocation = ToolInvocation("1", "tool-1", ToolName("tool"), ToolKind.FUNCTION)
            calls += host.connection.send(DelegateRequest(number, "s", InvokeTool(invocation)))
            calls += host.connection.send(DelegateCancel(number))
        await host.stream.send_all(calls)
        assert await _works(host)
        await recorder.until(lambda: not recorder.running["1"])


async def test_a_cell_is_reported_closed_once_after_its_last_call_has_cleaned_up() -> None:
    cleaning = anyio.Event()
    clean = anyio.Event()

    async def tool(_: ToolInvocation) -> Raw:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                cleaning.set()
                await clean.wait()
        raise AssertionError

    recorder = Recorder(tool=tool)
    async with cell(recorder) as (_, host):
        calls = [await host.call_tool("1") for _ in range(2)]
        await recorder.until(lambda: len(recorder.calls) == 2)
        for call in calls:
            await host.stream.send_all(host.connection.send(DelegateCancel(call)))
        await host.cell_closed("1")
        await cleaning.wait()
        await anyio.wait_all_tasks_blocked()
        assert recorder.closed == []
        clean.set()
        await recorder.until(lambda: recorder.closed == ["1"])


async def test_the_loss_of_the_host_cancels_calls_and_then_reports_the_cell() -> None:
    recorder = Recorder(tool=forever)
    async with cell(recorder) as (_, host):
        await host.call_tool("1")
        await recorder.until(lambda: recorder.calls)
        os.kill(host.pid, signal.SIGKILL)
        await recorder.until(lambda: recorder.closed == ["1"])
        assert len(recorder.cancelled) == 1


async def test_a_call_that_cancels_itself_disturbs_nobody() -> None:
    async def tool(_: ToolInvocation) -> Raw:
        with anyio.move_on_after(0):
            await anyio.sleep_forever()
        return Raw(b"1")

    async with cell(Recorder(tool=tool)) as (_, host):
        call = await host.call_tool("1")
        assert await answer(host) == DelegateResponse(call, Success(ToolResult(Raw(b"1"))))


async def test_a_notification_is_delivered_and_then_acknowledged() -> None:
    recorder = Recorder()
    async with cell(recorder) as (_, host):
        number = host.connection.next_delegate_id()
        notification = SendNotification("call", "1", "hello")
        await host.stream.send_all(host.connection.send(DelegateRequest(number, "s", notification)))
        assert await answer(host) == DelegateResponse(number, Success(NotificationDelivered()))
        assert recorder.notifications == [("call", "1", "hello")]


async def test_an_exception_in_cell_closed_is_logged_and_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Recorder):
        def cell_closed(self, cell_id: str) -> None:
            super().cell_closed(cell_id)
            raise ValueError("mine")

    recorder = Failing()
    async with cell(recorder) as (session, host):
        await host.cell_closed("1")
        await recorder.until(lambda: recorder.closed)
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(session.shutdown)
            await host.close_session()
    assert "cell_closed failed for cell 1" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


async def test_a_tool_may_use_the_session_that_calls_it() -> None:
    sessions: list[Session] = []

    async def tool(_: ToolInvocation) -> Raw:
        inner = await sessions[0].execute(CELL)
        await inner.initial_response()
        return Raw(b'"%s"' % inner.cell_id.encode())

    recorder = Recorder(tool=tool)
    async with cell(recorder) as (session, host):
        sessions.append(session)
        call = await host.call_tool("1")
        await host.run_cell("2")
        assert await answer(host) == DelegateResponse(call, Success(ToolResult(Raw(b'"2"'))))
        await recorder.until(lambda: recorder.closed == ["2"])
        recorder.closed.clear()


async def test_one_call_too_many_in_flight_is_an_error_of_that_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delegate_calls, "MAX_DELEGATE_CALLS", 3)
    recorder = Recorder(tool=forever)
    async with cell(recorder) as (_, host):
        calls = [await host.call_tool("1") for _ in range(4)]
        response = await answer(host)
        assert response == DelegateResponse(calls[3], Failure("more than 3 tool calls of the session are in flight"))


async def test_a_session_with_as_many_calls_as_it_may_have_takes_none_from_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delegate_calls, "MAX_DELEGATE_CALLS", 3)
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        recorders = {name: Recorder(tool=forever) for name in ("greedy", "modest")}
        async with anyio.create_task_group() as group:

            async def begin(name: str) -> None:
                session = await provider.open_session(recorders[name], name)
                await session.execute(CELL)

            group.start_soon(begin, "greedy")
            host = await hosts.next()
            for name, count in (("greedy", 3), ("modest", 2)):
                if name == "modest":
                    group.start_soon(begin, name)
                await host.open_session()
                await host.initial(await host.start_cell("1"), yielded("1"))
                for _ in range(count):
                    await host.call_tool("1", session_id=name)
        await recorders["modest"].until(lambda: len(recorders["modest"].calls) == 2)
        assert len(recorders["greedy"].calls) == 3
        refused = await host.call_tool("1", session_id="greedy")
        assert (await answer(host)).id == refused
