"""A host played by the test: each answer comes when the test sends it, in the order that the test wants.

The client starts a real process that hands its input and output on to the test over a socket.
"""

from __future__ import annotations

import itertools
import os
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from codemode_protocol.connection import HostConnection
from codemode_protocol.messages import (
    CellClosed,
    ClientMessage,
    DelegateRequest,
    Execute,
    ExecutionStarted,
    Failure,
    Hello,
    InitialResponse,
    InvokeTool,
    OpenSession,
    OperationRequest,
    OperationResponse,
    OperationValue,
    Request,
    SessionClosed,
    SessionReady,
    ShutdownSession,
    Success,
    Terminate,
    Wait,
    WaitCompleted,
)
from codemode_protocol.values import (
    InputText,
    LiveCell,
    MissingCell,
    Outcome,
    OutcomeEnvelope,
    ResponseEnvelope,
    Result,
    RuntimeResponse,
    Terminated,
    ToolInvocation,
    ToolKind,
    ToolName,
    Yielded,
)

RELAY = Path(__file__).parent / "hosts" / "relay.py"
_names = itertools.count()


def text(*texts: str) -> list[InputText]:
    return [InputText(one) for one in texts]


def yielded(cell_id: str, *texts: str) -> RuntimeResponse:
    return Yielded(cell_id, [*text(*texts)])


def result(cell_id: str, *texts: str, error: str | None = None) -> RuntimeResponse:
    return Result(cell_id, [*text(*texts)], error)


def terminated(cell_id: str, *texts: str) -> RuntimeResponse:
    return Terminated(cell_id, [*text(*texts)])


def missing(cell_id: str) -> Outcome:
    return MissingCell(Result(cell_id, [], f"exec cell {cell_id} not found"))


class Stream:
    """A socket to a host process's relay. Works on every loop."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection

    async def receive_some(self, size: int = 65536) -> bytes:
        while True:
            await anyio.wait_readable(self._socket)
            try:
                return self._socket.recv(size)
            except BlockingIOError:
                continue
            except ConnectionError:
                raise EOFError from None

    async def send_all(self, data: bytes | bytearray) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)

    def close(self) -> None:
        self._socket.close()


class Puppet:
    """One host process that the client has started."""

    def __init__(self, stream: Stream, pid: int) -> None:
        self.pid = pid
        self.stream = stream
        self.connection = HostConnection()
        self._received: deque[ClientMessage] = deque()

    async def receive(self) -> ClientMessage:
        """The client's next message. EOFError when there is none."""
        while not self._received:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError
            self._received += self.connection.receive_data(data)
        return self._received.popleft()

    async def request(self, kind: type[Request]) -> OperationRequest:
        """The client's next message, which must be a request of one kind."""
        message = await self.receive()
        assert isinstance(message, OperationRequest), message
        assert isinstance(message.request, kind), message
        return message

    async def handshake(self) -> None:
        hello = await self.receive()
        assert isinstance(hello, Hello)
        await self.stream.send_all(self.connection.negotiate(hello))

    async def respond(self, request: OperationRequest, value: OperationValue) -> None:
        await self.stream.send_all(self.connection.send(OperationResponse(request.id, Success(value))))

    async def refuse(self, request: OperationRequest, message: str) -> None:
        await self.stream.send_all(self.connection.send(OperationResponse(request.id, Failure(message))))

    async def initial(self, request: OperationRequest, response: RuntimeResponse) -> None:
        message = InitialResponse(request.id, Success(ResponseEnvelope.of(response)))
        await self.stream.send_all(self.connection.send(message))

    async def initial_failure(self, request: OperationRequest, message: str) -> None:
        await self.stream.send_all(self.connection.send(InitialResponse(request.id, Failure(message))))

    async def outcome(self, request: OperationRequest, outcome: Outcome | RuntimeResponse) -> None:
        if not isinstance(outcome, LiveCell | MissingCell):
            outcome = LiveCell(outcome)
        await self.respond(request, WaitCompleted(OutcomeEnvelope.of(outcome)))

    async def cell_closed(self, cell_id: str, session_id: str = "s") -> None:
        await self.stream.send_all(self.connection.send(CellClosed(session_id, cell_id)))

    async def call_tool(self, cell_id: str, name: str = "tool", session_id: str = "s") -> int:
        """Call a tool for a cell; gives the call's id."""
        number = self.connection.next_delegate_id()
        invocation = ToolInvocation(cell_id, f"tool-{number}", ToolName(name), ToolKind.FUNCTION)
        message = DelegateRequest(number, session_id, InvokeTool(invocation))
        await self.stream.send_all(self.connection.send(message))
        return number

    # Whole exchanges

    async def open_session(self) -> None:
        """The handshake if it is due, and the opening of a session."""
        if not self.connection.ready:
            await self.handshake()
        request = await self.request(OpenSession)
        await self.respond(request, SessionReady(request.request.session_id))

    async def start_cell(self, cell_id: str) -> OperationRequest:
        """Take an execute and start its cell; the initial response is left to be sent."""
        request = await self.request(Execute)
        await self.respond(request, ExecutionStarted(cell_id))
        return request

    async def run_cell(self, cell_id: str, *texts: str) -> None:
        """Take an execute and run its cell to the end."""
        request = await self.start_cell(cell_id)
        await self.initial(request, result(cell_id, *texts))
        await self.cell_closed(cell_id, request.request.session_id)

    async def expect_wait(self, cell_id: str) -> OperationRequest:
        request = await self.request(Wait)
        assert isinstance(request.request, Wait)
        assert request.request.request.cell_id == cell_id
        return request

    async def expect_terminate(self, cell_id: str) -> OperationRequest:
        request = await self.request(Terminate)
        assert isinstance(request.request, Terminate)
        assert request.request.cell_id == cell_id
        return request

    async def close_session(self) -> str:
        """Take a shutdown and answer it; gives the session's id."""
        request = await self.request(ShutdownSession)
        session_id = request.request.session_id
        await self.respond(request, SessionClosed(session_id))
        return session_id

    async def nothing_more(self) -> None:
        """The client says nothing more before it closes the connection."""
        try:
            message = await self.receive()
        except EOFError:
            return
        raise AssertionError(f"unexpected: {message}")

    async def leave(self) -> None:
        """The host ends, with status 0."""
        self.stream.close()


class Puppets:
    """The hosts of one provider, in the order in which it starts them."""

    def __init__(self) -> None:
        self._name = f"codemode-test-{os.getpid()}-{next(_names)}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.setblocking(False)
        self.command = [sys.executable, "-I", "-S", str(RELAY), self._name]
        self.started: list[Puppet] = []

    async def next(self) -> Puppet:
        """The next host that the client starts."""
        await anyio.wait_readable(self._listener)
        connection, _ = self._listener.accept()
        stream = Stream(connection)
        pid = bytearray()
        while len(pid) < 4:
            pid += await stream.receive_some(4 - len(pid))
        puppet = Puppet(stream, int.from_bytes(pid, "little"))
        self.started.append(puppet)
        return puppet


@asynccontextmanager
async def open_puppets() -> AsyncIterator[Puppets]:
    hosts = Puppets()
    hosts._listener.bind("\0" + hosts._name)
    hosts._listener.listen()
    try:
        yield hosts
    finally:
        hosts._listener.close()
        for puppet in hosts.started:
            puppet.stream.close()
