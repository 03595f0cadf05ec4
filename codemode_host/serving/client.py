"""The client of a host: its two descriptors, what it asks, and what it is told.

One task of the host reads; the others are the cells'. What the client asks goes to sessions and cells, and what those
say goes back as frames. The reader never waits for a writer: what one turn of a task has to say is written together,
straight to the descriptor, and what that does not take is written by a task of its own.
"""

from __future__ import annotations

import errno
import logging
import os
import select
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import trio

from codemode_host.cells.answers import CellRequestError
from codemode_host.cells.calls import Call
from codemode_host.cells.owner import SessionOwner
from codemode_host.cells.session import Cell, CellSession
from codemode_host.runtimes.host_side.runtimes import PoolClosedError
from codemode_host.serving.recorder import Recorder
from codemode_host.supervision import HostFailure, HostStopped
from codemode_protocol.connection import HostConnection
from codemode_protocol.errors import MessageTooLargeError
from codemode_protocol.exit_status import HostExitStatus
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
    Hello,
    HostMessage,
    InitialResponse,
    InvokeTool,
    OpenSession,
    OperationCancel,
    OperationRequest,
    OperationResponse,
    OperationValue,
    SendNotification,
    SessionClosed,
    SessionReady,
    ShutdownSession,
    Success,
    Terminate,
    ToolResult,
    Wait,
    WaitCompleted,
)
from codemode_protocol.state import ConnectionState
from codemode_protocol.values import (
    Outcome,
    OutcomeEnvelope,
    ResponseEnvelope,
    RuntimeResponse,
    ToolInvocation,
)

logger: logging.Logger = logging.getLogger("codemode_host")

SMALL_READ, LARGE_READ = 1 << 16, 1 << 20
"""How much to read at once: little, because the buffer for much costs more than a message; much while there is much."""
_PIECES = 512  # of one write; the kernel takes 1024


class Channel:
    """Bytes from and to the client. Raises HostStopped once the client is lost."""

    def __init__(self, read_fd: int, write_fd: int, limits: Limits, recorder: Recorder | None = None) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._limits = limits
        self._recorder = recorder
        self._queue: deque[bytes | bytearray | memoryview] = deque()
        self._queued = 0
        self._writing = False
        self._read_size = SMALL_READ
        self._room = trio.Event()

    async def read(self) -> bytes:
        """Bytes from a pipe, a terminal, a socket or a file; empty at its end."""
        try:
            await trio.lowlevel.wait_readable(self._read_fd)
        except OSError as error:
            if error.errno != errno.EPERM:  # regular files cannot be waited for, and need not be
                raise
            await trio.lowlevel.checkpoint()
        try:
            data = os.read(self._read_fd, self._read_size)
        except OSError as error:
            raise _lost(f"cannot read from it: {error.strerror}") from error
        self._read_size = LARGE_READ if len(data) == self._read_size else SMALL_READ
        if self._recorder is not None:
            self._recorder.heard(data)
        return data

    async def watch(self) -> None:
        """Notice that the client has closed its end, even while there is nothing to write."""
        with select.epoll() as watch:
            try:
                watch.register(self._write_fd, 0)  # which leaves errors alone
            except OSError:
                return  # a regular file
            await trio.lowlevel.wait_readable(watch.fileno())
        raise _lost("it closed its end of the output")

    def queue(self, frame: bytes | bytearray) -> None:
        """Have a frame written with the next `flush`."""
        self._queue.append(frame)
        self._queued += len(frame)
        if self._queued > self._limits.unread_bytes:
            raise _lost(f"it leaves {self._queued} bytes unread")

    def flush(self, start_soon: Callable[..., None]) -> None:
        """Write what is queued; what the descriptor does not take now a task writes."""
        if self._queue and not self._writing and not self.write_now():
            self._writing = True
            start_soon(self._write)

    async def room(self) -> None:
        """Wait while too much is queued."""
        while self._queued > self._limits.queued_bytes:
            self._room = trio.Event() if self._room.is_set() else self._room
            await self._room.wait()

    async def drained(self) -> None:
        """Wait until everything is written."""
        while not self.write_now():
            await trio.lowlevel.wait_writable(self._write_fd)

    def write_now(self) -> bool:
        """Write as much as can be written without waiting; whether that was all."""
        queue = self._queue
        while queue:
            try:
                if len(queue) == 1:
                    written = os.write(self._write_fd, queue[0])
                else:
                    written = os.writev(self._write_fd, [queue[at] for at in range(min(len(queue), _PIECES))])
            except BlockingIOError:
                return False
            except OSError as error:
                queue.clear()
                self._queued = 0
                raise _lost(f"cannot write to it: {error.strerror}") from error
            self._queued -= written
            self._forget(written)
            if self._queued <= self._limits.queued_bytes:
                self._room.set()
        return True

    def _forget(self, written: int) -> None:
        queue, recorder = self._queue, self._recorder
        while written:
            piece = queue[0]
            size = len(piece)
            if recorder is not None:
                recorder.said(memoryview(piece)[:written])
            if size > written:
                queue[0] = memoryview(piece)[written:]
                return
            queue.popleft()
            written -= size

    async def _write(self) -> None:
        await self.drained()
        self._writing = False


def _lost(how: str) -> HostStopped:
    return HostStopped(HostFailure(HostExitStatus.CLIENT_LOST, "lost its client", how))


class Client:
    """Serves what one client asks, through its `Channel`."""

    def __init__(self, connection: HostConnection, channel: Channel, owner: SessionOwner) -> None:
        self.connection = connection
        self.sessions: dict[str, CellSession] = {}
        """The open ones."""
        self.calls: dict[int, Call] = {}
        """What it was asked to do and has not answered, by delegate request id."""
        self._channel = channel
        self._owner = owner
        self._waits: dict[int, Cell] = {}

    async def serve(self) -> None:
        """Serve until the end of input, or of the conversation. Raises HostStopped, RemoteProtocolError."""
        while True:
            data = await self._channel.read()
            if not data:
                self.connection.receive_eof()
                return
            for message in self.connection.receive_data(data):
                if self.connection.state is ConnectionState.NEGOTIATING:
                    self._channel.queue(self.connection.negotiate(message))
                else:
                    self._dispatch(message)
            self.flush()
            self.connection.raise_for_violation()
            if self.connection.state is ConnectionState.CLOSED:
                await self._channel.drained()
                return

    def say(self, message: HostMessage) -> None:
        """Queue a message. It is written with the next `flush`."""
        self._channel.queue(self.connection.send(message))

    def flush(self) -> None:
        """Write what was said: that is all for now."""
        self._channel.flush(self._owner.nursery.start_soon)

    async def room(self) -> None:
        """Wait while too much is queued for the client."""
        await self._channel.room()

    # ----------------------------------------------------------------------------------------------------- dispatch

    def _dispatch(self, message: ClientMessage) -> None:
        match message:
            case OperationRequest(request_id, request):
                match request:
                    case Execute():
                        self._execute(request_id, request)
                    case Wait():
                        self._wait(request_id, request)
                    case Terminate():
                        self._terminate(request_id, request)
                    case OpenSession(session_id):
                        self._open(request_id, session_id)
                    case ShutdownSession(session_id):
                        self._shutdown(request_id, session_id)
            case DelegateResponse():
                self._answered(message)
            case OperationCancel(request_id):
                self._cancel(request_id)
            case Hello():
                raise AssertionError("the connection takes one hello, and it was answered")

    def _respond(self, request_id: int, value: OperationValue) -> None:
        self.say(OperationResponse(request_id, Success(value)))

    def _refuse(self, request_id: int, message: str) -> None:
        self.say(OperationResponse(request_id, Failure(message)))

    def _session(self, request_id: int, session_id: str) -> CellSession | None:
        session = self.sessions.get(session_id)
        if session is None:
            self._refuse(request_id, f"unknown code-mode session {session_id}")
        return session

    def _open(self, request_id: int, session_id: str) -> None:
        refusal = self.connection.refusal_to_open(request_id)
        if refusal is not None:
            self._refuse(request_id, refusal)
        else:
            self.sessions[session_id] = CellSession(session_id, self._owner, SessionOutlet(self, session_id))
            self._respond(request_id, SessionReady(session_id))

    def _execute(self, request_id: int, message: Execute) -> None:
        session = self._session(request_id, message.session_id)
        if session is None:
            return
        request = message.request
        if request.max_output_tokens is not None and request.max_output_tokens < 0:
            self._refuse(
                request_id, "invalid code-mode execute request: out of range integral type conversion attempted"
            )
            return

        def started(cell_id: str) -> None:
            self._respond(request_id, ExecutionStarted(cell_id))

        def answer(response: RuntimeResponse) -> None:
            self.say(InitialResponse(request_id, Success(ResponseEnvelope.of(response))))

        try:
            session.execute(request, started, answer)
        except PoolClosedError:
            pass  # the host is about to stop, and the loss of it is the answer
        except CellRequestError as error:
            self._refuse(request_id, str(error))

    def _wait(self, request_id: int, message: Wait) -> None:
        session = self._session(request_id, message.session_id)
        if session is None:
            return
        try:
            cell = session.wait(
                message.request.cell_id, message.request.yield_time_ms, self._outcome_answer(request_id)
            )
        except CellRequestError as error:
            self._refuse(request_id, str(error))
            return
        if cell is not None and cell.observed:
            self._waits[request_id] = cell

    def _terminate(self, request_id: int, message: Terminate) -> None:
        session = self._session(request_id, message.session_id)
        if session is None:
            return
        try:
            session.terminate(message.cell_id, self._outcome_answer(request_id))
        except CellRequestError as error:
            self._refuse(request_id, str(error))

    def _outcome_answer(self, request_id: int) -> Callable[[Outcome], None]:
        def answer(outcome: Outcome) -> None:
            self._waits.pop(request_id, None)
            self._respond(request_id, WaitCompleted(OutcomeEnvelope.of(outcome)))

        return answer

    def _shutdown(self, request_id: int, session_id: str) -> None:
        session = self._session(request_id, session_id)
        if session is None:
            return
        del self.sessions[session_id]
        session.shutdown(lambda: self._respond(request_id, SessionClosed(session_id)))

    def _cancel(self, request_id: int) -> None:
        """Only a wait can be called off; everything else answers as usual."""
        cell = self._waits.pop(request_id, None)
        if cell is not None:
            cell.forget_observer()
            self._refuse(request_id, "code-mode request cancelled")

    def _answered(self, message: DelegateResponse) -> None:
        call = self.calls.pop(message.id, None)
        if call is None:
            return
        match message.result:
            case _ if call.sequence is None:
                call.delivered()
            case Success(ToolResult(result)):
                call.resolve(result)
            case Success(value):
                raise AssertionError(f"the connection lets no {value} through for a tool call")
            case Failure(text):
                call.reject(text)


class SessionOutlet:
    """A session's way out: calls become delegate requests of the connection."""

    def __init__(self, client: Client, session_id: str) -> None:
        self._client = client
        self._session_id = session_id
        self.flush: Callable[[], None] = client.flush
        self.room: Callable[[], Coroutine[Any, Any, None]] = client.room

    def invoke_tool(self, call: Call, invocation: ToolInvocation) -> None:
        """Ask the client to call a tool."""
        self._request(call, InvokeTool(invocation))

    def notify(self, call: Call, call_id: str, text: str) -> None:
        """Ask the client to take a notification."""
        self._request(call, SendNotification(call_id, call.cell.id, text))

    def _request(self, call: Call, request: InvokeTool | SendNotification) -> None:
        client = self._client
        call.handle = client.connection.next_delegate_id()
        try:
            client.say(DelegateRequest(call.handle, self._session_id, request))
        except MessageTooLargeError as error:
            logger.warning("session %s cell %s: a tool call was refused: %s", self._session_id, call.cell.id, error)
            call.reject(str(error))
        else:
            client.calls[call.handle] = call

    def cancel(self, call: Call) -> None:
        """Tell the client that the answer to a call is no longer wanted."""
        client = self._client
        # The answer may have come with the very request that ends the cell, and wait behind it.
        if client.calls.pop(call.handle, None) is not None and client.connection.call_is_pending(call.handle):
            client.say(DelegateCancel(call.handle))

    def cell_closed(self, cell_id: str) -> None:
        """Tell the client that a cell is closed."""
        self._client.say(CellClosed(self._session_id, cell_id))
