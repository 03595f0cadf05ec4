"""One connection: what the client asks goes to sessions and cells, and what those say goes back as frames.

Two tasks belong to the connection, a reader and (only while the pipe is full) a writer; the others are the cells'. The
reader never waits for the writer. What one turn of any task has to say is written together, straight to the descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections import deque
from collections.abc import Callable

import trio

from codemode_protocol.connection import HostConnection
from codemode_protocol.errors import MessageTooLargeError
from codemode_protocol.messages import (
    CellClosed,
    ClientMessage,
    DelegateCancel,
    DelegateRequest,
    DelegateResponse,
    Execute,
    ExecutionStarted,
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
from codemode_protocol.messages import (
    Failure as FailureResult,
)
from codemode_protocol.state import ConnectionState
from codemode_protocol.values import (
    Outcome,
    OutcomeEnvelope,
    ResponseEnvelope,
    RuntimeResponse,
    ToolInvocation,
)

from .cell import Call, Cell, CellRequestError
from .limits import Limits
from .recorder import Recorder
from .runtimes.pool import RuntimeExit, RuntimePool
from .runtimes.spawn import ZygoteProcess
from .session import CellSession, observation_time
from .supervision import ExitStatus, Failure, describe_ending, limit_met

logger = logging.getLogger("codemode_host")

READ_BYTES = 1 << 18


class HostStopped(Exception):
    """The host has to stop, now; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.cause)
        self.failure = failure


class _SessionOutlet:
    """A session's way out: calls become delegate requests of the connection."""

    def __init__(self, host: Host, session_id: str) -> None:
        self._host = host
        self._session_id = session_id

    def invoke_tool(self, call: Call, invocation: ToolInvocation) -> None:
        self._request(call, InvokeTool(invocation))

    def notify(self, call: Call, call_id: str, text: str) -> None:
        self._request(call, SendNotification(call_id, call.cell.id, text))

    def _request(self, call: Call, request: InvokeTool | SendNotification) -> None:
        host = self._host
        call.handle = host.connection.next_delegate_id()
        try:
            host.say(DelegateRequest(call.handle, self._session_id, request))
        except MessageTooLargeError as error:
            logger.warning("session %s cell %s: a call was dropped: %s", self._session_id, call.cell.id, error)
            call.reject(str(error))
        else:
            host.calls[call.handle] = call

    def cancel(self, call: Call) -> None:
        if self._host.calls.pop(call.handle, None) is not None:
            self._host.say(DelegateCancel(call.handle))

    def cell_closed(self, cell_id: str) -> None:
        self._host.say(CellClosed(self._session_id, cell_id))


class Host:
    """Serves one client on two descriptors until the end of its input, or until something has to stop it."""

    def __init__(
        self,
        connection: HostConnection,
        zygote: ZygoteProcess,
        limits: Limits,
        *,
        read_fd: int,
        write_fd: int,
        recorder: Recorder | None = None,
    ) -> None:
        self.connection = connection
        self.limits = limits
        self.calls: dict[int, Call] = {}
        self.pool: RuntimePool
        self.nursery: trio.Nursery
        self._zygote = zygote
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._recorder = recorder
        self._sessions: dict[str, CellSession] = {}
        self._waits: dict[int, Cell] = {}
        self._queue: deque[bytes | bytearray | memoryview] = deque()
        self._queued = 0
        self._writing = False
        self._room = trio.Event()

    async def serve(self) -> None:
        """Returns at the end of input. Raises HostStopped or RemoteProtocolError."""
        async with trio.open_nursery() as engines:
            self.pool = RuntimePool(
                self._zygote, engines, spares=self.limits.spare_runtimes, on_failure=self._zygote_failed
            )
            engines.start_soon(self.pool.serve)
            self.pool.replenish()
            try:
                # The cells' tasks end before their runtimes do: whoever is killed at the end is nobody's panic.
                async with trio.open_nursery() as self.nursery:
                    await self._read()
                    self.nursery.cancel_scope.cancel()
            finally:
                with contextlib.suppress(HostStopped):
                    self._write_now()  # what was said before the end, as far as the client takes it
                await self.pool.aclose()
                engines.cancel_scope.cancel()
        self.pool.close()

    # ---------------------------------------------------------------------------------------------- bytes in and out

    async def _read(self) -> None:
        while True:
            data = await _read_some(self._read_fd)
            if self._recorder is not None:
                self._recorder.heard(data)
            if not data:
                self.connection.receive_eof()
                return
            for message in self.connection.receive_data(data):
                if self.connection.state is ConnectionState.NEGOTIATING:
                    self._queue_frame(self.connection.negotiate(message))
                else:
                    self._dispatch(message)
            self.turn_over()
            self.connection.raise_for_violation()
            if self.connection.state is ConnectionState.CLOSED:
                await self._drained()
                return

    def say(self, message: HostMessage) -> None:
        """Queue a message. It is written when the turn is over."""
        self._queue_frame(self.connection.send(message))

    def _queue_frame(self, frame: bytes | bytearray) -> None:
        self._queue.append(frame)
        self._queued += len(frame)

    def turn_over(self) -> None:
        """Write what has been said; what the descriptor does not take now, the writer task writes."""
        if self._queue and not self._writing and not self._write_now():
            self._writing = True
            self.nursery.start_soon(self._write)

    async def room_to_talk(self) -> None:
        """Wait while too much is queued for the client."""
        while self._queued > self.limits.queued_bytes:
            self._room = trio.Event() if self._room.is_set() else self._room
            await self._room.wait()

    def _write_now(self) -> bool:
        """Write as much as can be written without waiting; whether that was all."""
        while self._queue:
            data: bytes | bytearray | memoryview
            if len(self._queue) == 1:
                data = self._queue[0]
            else:
                data = b"".join(self._queue)
                self._queue.clear()
                self._queue.append(data)
            try:
                written = os.write(self._write_fd, data)
            except BlockingIOError:
                return False
            except OSError as error:
                self._queue.clear()
                raise HostStopped(
                    Failure(ExitStatus.LOST_CLIENT, "lost its client", f"cannot write to it: {error.strerror}")
                ) from error
            self._queued -= written
            if self._recorder is not None:
                self._recorder.said(memoryview(data)[:written])
            if written == len(data):
                self._queue.clear()
            else:
                self._queue[0] = memoryview(data)[written:]
            if self._queued <= self.limits.queued_bytes:
                self._room.set()
        return True

    async def _write(self) -> None:
        while not self._write_now():
            await trio.lowlevel.wait_writable(self._write_fd)
        self._writing = False

    async def _drained(self) -> None:
        while not self._write_now():
            await trio.lowlevel.wait_writable(self._write_fd)

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
        self.say(OperationResponse(request_id, FailureResult(message)))

    def _session(self, request_id: int, session_id: str) -> CellSession | None:
        session = self._sessions.get(session_id)
        if session is None:
            self._refuse(request_id, f"unknown code-mode session {session_id}")
        return session

    def _open(self, request_id: int, session_id: str) -> None:
        refusal = self.connection.refusal_to_open(request_id)
        if refusal is not None:
            self._refuse(request_id, refusal)
        else:
            self._sessions[session_id] = CellSession(session_id, self, _SessionOutlet(self, session_id))
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
        try:
            cell = session.execute(request)
        except CellRequestError as error:
            self._refuse(request_id, str(error))
            return
        self._respond(request_id, ExecutionStarted(cell.id))

        def answer(response: RuntimeResponse) -> None:
            self.say(InitialResponse(request_id, Success(ResponseEnvelope.of(response))))

        cell.observe_start(answer, observation_time(request))

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
        del self._sessions[session_id]
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
            case FailureResult(text):
                call.reject(text)

    # ------------------------------------------------------------------------------------------------------ failures

    def runtime_failed(self, session: CellSession, cell: Cell, what: str, ending: RuntimeExit | None) -> None:
        """A limit ends the cell; anything else is an engine panic and ends the host."""
        if ending is not None:
            text = limit_met(ending, self.limits, self.pool.stderr_tail)
            if text is not None:
                cell.fail(text)
                return
        evidence = () if ending is None else (describe_ending(ending),)
        raise HostStopped(
            Failure(
                ExitStatus.ENGINE_PANIC,
                "engine panic",
                f"a runtime failed: {what}",
                session.id,
                cell.id,
                evidence + tuple(self.pool.stderr_tail),
            )
        )

    def _zygote_failed(self, cause: str) -> None:
        raise HostStopped(
            Failure(ExitStatus.ENGINE_PANIC, "engine panic", cause, evidence=tuple(self.pool.stderr_tail))
        )


async def _read_some(fd: int) -> bytes:
    """Bytes from a pipe, a terminal, a socket or a file; empty at its end."""
    try:
        await trio.lowlevel.wait_readable(fd)
    except OSError as error:
        if error.errno != errno.EPERM:  # regular files cannot be waited for, and need not be
            raise
        await trio.lowlevel.checkpoint()
    return os.read(fd, READ_BYTES)
