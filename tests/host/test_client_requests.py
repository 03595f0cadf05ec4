"""What a host makes of each request of its client, with runtimes that the test plays."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing
from msgspec import Raw

from codemode_host.options import Options
from codemode_host.runtimes import link
from codemode_host.serving.client import Channel
from codemode_host.serving.host import Host
from codemode_protocol.connection import ClientConnection, HostConnection
from codemode_protocol.limits import Limits
from codemode_protocol.messages import (
    CellClosed,
    ClientMessage,
    DelegateCancel,
    DelegateRequest,
    DelegateResponse,
    Execute,
    ExecutionStarted,
    Failure,
    HostMessage,
    InitialResponse,
    NotificationDelivered,
    OpenSession,
    OperationCancel,
    OperationRequest,
    OperationResponse,
    OperationValue,
    Request,
    SessionClosed,
    ShutdownSession,
    Success,
    Terminate,
    ToolResult,
    Wait,
    WaitCompleted,
)
from codemode_protocol.values import ExecuteRequest, MissingCell, Result, Terminated, WaitRequest, Yielded
from tests.host.program import define_tool
from tests.runtimes.lying import Liar, LyingZygote

DONE = b'{"error":null,"stored":{}}'


class Conversation:
    """A host in this process, and its client."""

    def __init__(self, zygote: LyingZygote) -> None:
        self.zygote = zygote
        self.host_reads, self.to_host = os.pipe()
        self.from_host, self.host_writes = os.pipe()
        for fd in (self.host_reads, self.host_writes, self.from_host):
            os.set_blocking(fd, False)
        limits = Limits(spare_runtimes=0)
        channel = Channel(self.host_reads, self.host_writes, limits)
        self.host = Host(HostConnection(), zygote.handed_over, channel, Options(limits, control="off"))
        self.client = ClientConnection()

    async def say(self, message: ClientMessage) -> list[HostMessage]:
        """Say something, and hear what comes of it."""
        os.write(self.to_host, self.client.send(message))
        return await self.hear()

    async def hear(self) -> list[HostMessage]:
        await trio.testing.wait_all_tasks_blocked()
        try:
            return self.client.receive_data(os.read(self.from_host, 1 << 20))
        except BlockingIOError:
            return []

    async def request(self, request: Request) -> tuple[int, list[HostMessage]]:
        number = self.client.next_request_id()
        return number, await self.say(OperationRequest(number, request))

    async def ask(self, request: Request) -> OperationValue:
        """The value of the answer that comes at once."""
        number, messages = await self.request(request)
        (answer,) = (one for one in messages if isinstance(one, OperationResponse))
        assert answer.id == number
        assert isinstance(answer.result, Success), answer
        return answer.result.value

    async def refused(self, request: Request) -> str:
        """The reason why a request is refused, which is all that is said."""
        number, messages = await self.request(request)
        (answer,) = messages
        assert isinstance(answer, OperationResponse)
        assert answer.id == number
        assert isinstance(answer.result, Failure)
        return answer.result.message

    async def start(self, yield_time_ms: int | None = 0, tools: int = 1) -> tuple[str, Liar]:
        """A cell, and its runtime."""
        definitions = [define_tool(f"tool{number}") for number in range(tools)]
        value = await self.ask(Execute("s", ExecuteRequest("call", definitions, "1", yield_time_ms)))
        assert isinstance(value, ExecutionStarted)
        self.zygote.listen()
        return value.cell_id, self.zygote.liars[max(self.zygote.liars)]

    def close(self) -> None:
        for fd in (self.host_reads, self.to_host, self.from_host, self.host_writes):
            if fd >= 0:
                os.close(fd)


@asynccontextmanager
async def converse() -> AsyncIterator[Conversation]:
    zygote = LyingZygote()
    talk = Conversation(zygote)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk.host.serve)
            os.write(talk.to_host, talk.client.hello())
            await talk.hear()
            assert talk.client.ready
            await talk.ask(OpenSession("s"))
            yield talk
            os.close(talk.to_host)
            talk.to_host = -1
        assert zygote.ended_by is not None
    finally:
        talk.close()
        zygote.close()


async def test_whatever_is_asked_of_a_session_that_is_being_shut_down_is_refused() -> None:
    async with converse() as talk:
        cell, _ = await talk.start()
        _, messages = await talk.request(ShutdownSession("s"))
        assert messages == []
        requests: list[Request] = [Wait("s", WaitRequest(cell, 0)), Terminate("s", cell)]
        for request in requests:
            assert await talk.refused(request) == "unknown code-mode session s"
        assert talk.host.cells == 1


async def test_a_cell_that_is_not_there_is_missing_and_nothing_waits_for_it() -> None:
    async with converse() as talk:
        for request in (Wait("s", WaitRequest("9", 60_000)), Terminate("s", "9")):
            value = await talk.ask(request)
            assert isinstance(value, WaitCompleted)
            assert isinstance(value.outcome.outcome, MissingCell)


async def test_a_negative_budget_is_refused_and_no_cell_begins() -> None:
    async with converse() as talk:
        execute = ExecuteRequest("call", [], "1", max_output_tokens=-1)
        assert "out of range" in await talk.refused(Execute("s", execute))
        assert talk.host.cells == 0
        value = await talk.ask(Execute("s", ExecuteRequest("call", [], "1", max_output_tokens=0)))
        assert isinstance(value, ExecutionStarted)


async def test_tools_of_one_name_are_refused_and_the_host_goes_on() -> None:
    async with converse() as talk:
        tools = [define_tool("a-b"), define_tool("a_b")]
        assert "a_b" in await talk.refused(Execute("s", ExecuteRequest("call", tools, "1")))
        assert (await talk.start())[0] == "1"


async def test_a_second_wait_is_refused_and_the_first_one_answered() -> None:
    async with converse() as talk:
        cell, liar = await talk.start()
        first, messages = await talk.request(Wait("s", WaitRequest(cell, 60_000)))
        assert messages == []
        assert await talk.refused(Wait("s", WaitRequest(cell, 0))) == f"exec cell {cell} already has an active observer"
        liar.say(link.YIELD)
        (answer,) = await talk.hear()
        assert isinstance(answer, OperationResponse)
        assert answer.id == first


async def test_a_wait_that_is_cancelled_is_over_and_the_next_gets_what_it_would_have_got() -> None:
    async with converse() as talk:
        cell, liar = await talk.start()
        number, _ = await talk.request(Wait("s", WaitRequest(cell, 60_000)))
        (answer,) = await talk.say(OperationCancel(number))
        assert answer == OperationResponse(number, Failure("code-mode request cancelled"))
        liar.say(link.YIELD, b"", liar.writer.text("kept"))
        assert await talk.hear() == []
        value = await talk.ask(Wait("s", WaitRequest(cell, 0)))
        assert isinstance(value, WaitCompleted)
        response = value.outcome.outcome.response
        assert isinstance(response, Yielded)
        assert response.text == "kept"


async def test_what_cannot_be_called_off_answers_as_usual() -> None:
    async with converse() as talk:
        cell, liar = await talk.start()
        number, messages = await talk.request(Terminate("s", cell))
        assert messages == []
        assert await talk.say(OperationCancel(number)) == []
        liar.end(9, asked=True)
        messages = await talk.hear()
        assert [type(message) for message in messages] == [OperationResponse, CellClosed]


async def test_a_cell_is_terminated_once() -> None:
    async with converse() as talk:
        cell, liar = await talk.start(None)
        number, _ = await talk.request(Terminate("s", cell))
        assert await talk.refused(Terminate("s", cell)) == f"exec cell {cell} is already terminating"
        liar.end(9, asked=True)
        answer, initial, closed = await talk.hear()
        assert isinstance(answer, OperationResponse)
        assert answer.id == number
        assert isinstance(initial, InitialResponse)
        assert isinstance(initial.result, Success)
        assert isinstance(initial.result.value.response, Terminated)
        assert closed == CellClosed("s", cell)


async def test_calls_are_answered_by_their_kind_and_what_nobody_waits_for_is_dropped() -> None:
    async with converse() as talk:
        cell, liar = await talk.start()
        liar.hear()
        for number in (1, 2, 3):
            liar.say(link.CALL, b"%d 0 {}" % number)
        liar.say(link.NOTIFY, b"n")
        calls = [message for message in await talk.hear() if isinstance(message, DelegateRequest)]
        assert len(calls) == len(talk.host.client.calls) == 4
        await talk.say(DelegateResponse(calls[0].id, Success(ToolResult(Raw(b"[1]")))))
        await talk.say(DelegateResponse(calls[1].id, Failure("no")))
        await talk.say(DelegateResponse(calls[3].id, Success(NotificationDelivered())))
        assert liar.hear() == [(link.SETTLE, b"[[1,true,[1]]]"), (link.SETTLE, b'[[2,false,"no"]]')]
        liar.say(link.DONE, DONE)
        messages = await talk.hear()
        assert messages == [DelegateCancel(calls[2].id)]
        assert talk.host.client.calls == {}
        value = await talk.ask(Wait("s", WaitRequest(cell, 0)))
        assert isinstance(value, WaitCompleted)
        assert isinstance(value.outcome.outcome.response, Result)


async def test_a_session_is_shut_down_when_its_cells_are_and_its_name_is_free_at_once() -> None:
    async with converse() as talk:
        cell, liar = await talk.start()
        number, messages = await talk.request(ShutdownSession("s"))
        assert messages == []
        assert await talk.refused(Wait("s", WaitRequest(cell, 0))) == "unknown code-mode session s"
        liar.end(9, asked=True)
        closed, answer = await talk.hear()
        assert closed == CellClosed("s", cell)
        assert answer == OperationResponse(number, Success(SessionClosed("s")))
        assert talk.host.sessions == {}
