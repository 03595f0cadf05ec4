"""A host that reads the answers to its calls slowly has them wait, and no call is answered twice or too late."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import copy_context

import anyio
from msgspec import Raw

from codemode_client._loops.interface import Loop
from codemode_client._session.cells import Cell
from codemode_client._session.delegate_calls import DelegateCalls
from codemode_client._session.host_session import HostSession
from codemode_protocol.errors import MessageTooLargeError
from codemode_protocol.limits import FRAME_LIMIT
from codemode_protocol.messages import (
    DelegateRequest,
    DelegateResponse,
    Failure,
    InvokeTool,
    NotificationDelivered,
    SendNotification,
    Success,
    ToolResult,
)
from codemode_protocol.values import ToolInvocation, ToolKind, ToolName
from tests.client.loops import enter_loop
from tests.client.recorder import Recorder
from tests.client.test_host_session_states import Host


class SlowHost(Host):
    """Takes answers when the test says that it has room."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.room_made = anyio.Event()
        self.waiting = anyio.Event()
        self.answers: list[DelegateResponse] = []
        self.largest: int | None = None
        self.crowded = False
        self.waited_ahead: list[bool] = []

    async def room(self, *, ahead: bool = False) -> None:
        self.waited_ahead.append(ahead)
        self.waiting.set()
        await self.room_made.wait()

    def answer(self, message: DelegateResponse) -> None:
        if self.largest is not None and isinstance(message.result, Success):
            raise MessageTooLargeError(99, self.largest)
        self.answers.append(message)


@asynccontextmanager
async def open_calls(recorder: Recorder) -> AsyncIterator[tuple[SlowHost, DelegateCalls, Cell]]:
    async with enter_loop() as loop:
        host = SlowHost(loop)
        session = HostSession(host, "s", recorder, 1, copy_context())
        calls = DelegateCalls(host)
        cell = Cell(session, "1")
        yield host, calls, cell
        await calls.ended()
    assert calls.running == 0


def call(number: int) -> DelegateRequest:
    invocation = ToolInvocation("1", f"tool-{number}", ToolName("tool"), ToolKind.FUNCTION)
    return DelegateRequest(number, "s", InvokeTool(invocation))


async def one(_: ToolInvocation) -> Raw:
    return Raw(b"1")


async def test_an_answer_waits_while_the_host_has_no_room() -> None:
    async with open_calls(Recorder(tool=one)) as (host, delegate_calls, cell):
        host.full = True
        delegate_calls.start(call(1), cell)
        await host.waiting.wait()
        assert host.answers == []
        assert (delegate_calls.running, host.waited_ahead) == (1, [True])
        host.room_made.set()
        await delegate_calls.ended()
        assert host.answers == [DelegateResponse(1, Success(ToolResult(Raw(b"1"))))]
        assert cell.calls == set()


async def test_a_call_is_not_begun_while_too_many_answers_wait() -> None:
    recorder = Recorder(tool=one)
    async with open_calls(recorder) as (host, delegate_calls, cell):
        host.crowded = True
        delegate_calls.start(call(1), cell)
        delegate_calls.start(call(2), cell)
        await host.waiting.wait()
        await anyio.wait_all_tasks_blocked()
        assert host.tally.tool_calls == 0
        delegate_calls.cancel(2)
        host.room_made.set()
        await delegate_calls.ended()
        assert [answer.id for answer in host.answers] == [1]
        assert host.tally.tool_calls == 1
        assert host.waited_ahead == [False, False]


async def test_a_call_that_is_cancelled_while_its_answer_waits_is_not_answered() -> None:
    async with open_calls(Recorder(tool=one)) as (host, delegate_calls, cell):
        host.full = True
        delegate_calls.start(call(1), cell)
        await host.waiting.wait()
        delegate_calls.cancel(1)
        delegate_calls.cancel(1)
        await delegate_calls.ended()
        assert host.answers == []


async def test_an_answer_that_does_not_fit_in_a_frame_is_an_error_that_says_so() -> None:
    async with open_calls(Recorder(tool=one)) as (host, delegate_calls, cell):
        host.largest = 10
        delegate_calls.start(call(1), cell)
        await delegate_calls.ended()
        (answer,) = host.answers
        assert isinstance(answer.result, Failure)
        assert answer.result.message.startswith("the tool's answer is too large: ")
        assert host.tally.limits_met == {FRAME_LIMIT: 1}


async def test_what_was_called_is_counted_by_how_it_ended() -> None:
    async def failing(_: ToolInvocation) -> Raw:
        raise ValueError("no")

    recorder = Recorder(tool=one, broken=failing)
    async with open_calls(recorder) as (host, delegate_calls, cell):
        delegate_calls.start(call(1), cell)
        invocation = ToolInvocation("1", "tool-2", ToolName("broken"), ToolKind.FUNCTION)
        delegate_calls.start(DelegateRequest(2, "s", InvokeTool(invocation)), cell)
        delegate_calls.start(DelegateRequest(3, "s", SendNotification("call", "1", "words")), cell)
        await delegate_calls.ended()
        tally = host.tally
        assert (tally.tool_calls, tally.tool_calls_succeeded, tally.tool_calls_failed) == (2, 1, 1)
        assert (tally.tool_calls_cancelled, tally.notifications) == (0, 1)
        answers = {answer.id: answer.result for answer in host.answers}
        assert answers[1] == Success(ToolResult(Raw(b"1")))
        assert isinstance(answers[2], Failure)
        assert answers[3] == Success(NotificationDelivered())
