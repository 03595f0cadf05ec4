"""One connection: what the client asks goes to sessions and cells, and what those say goes back as frames.

One task of the connection reads; the others are the cells'. The reader never waits for a writer (`channel`).
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import trio

from codemode_host.cells.answers import CellRequestError
from codemode_host.cells.calls import Call
from codemode_host.cells.cell import Cell
from codemode_host.cells.session import CellSession, SessionOwner, observation_time
from codemode_host.runtimes.host_side.pool import PoolClosedError, RuntimePool
from codemode_host.runtimes.host_side.spawn import ZygoteProcess
from codemode_host.serving.channel import Channel
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

if TYPE_CHECKING:
    from codemode_host.control.socket import ControlSocket

logger: logging.Logger = logging.getLogger("codemode_host")

ON, OFF = "on", "off"
"""The control socket is where the environment says, or nowhere."""


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
            logger.warning("session %s cell %s: a tool call was refused: %s", self._session_id, call.cell.id, error)
            call.reject(str(error))
        else:
            host.calls[call.handle] = call

    def cancel(self, call: Call) -> None:
        if self._host.calls.pop(call.handle, None) is not None:
            self._host.say(DelegateCancel(call.handle))

    def cell_closed(self, cell_id: str) -> None:
        self._host.say(CellClosed(self._session_id, cell_id))


class Host(SessionOwner):
    """Serves one client until the end of its input, or until something has to stop it.

    Its policy for failures: it stops. `failure` is the first of them.
    """

    pool: RuntimePool
    nursery: trio.Nursery

    def __init__(
        self, connection: HostConnection, zygote: ZygoteProcess, limits: Limits, channel: Channel, *, control: str = OFF
    ) -> None:
        """`control` is where the control socket is to be: ON, OFF or a folder."""
        super().__init__(limits)
        self.connection = connection
        self.calls: dict[int, Call] = {}
        self.failure: HostFailure | None = None
        self._zygote = zygote
        self._channel = channel
        self._sessions: dict[str, CellSession] = {}
        self._waits: dict[int, Cell] = {}
        self.started_ns: int = time.perf_counter_ns()
        self._control = control
        self._control_socket: ControlSocket | None = None

    @property
    def sessions(self) -> Mapping[str, CellSession]:
        """The open ones."""
        return self._sessions

    async def serve(self) -> None:
        """Returns at the end of input. Raises HostStopped or RemoteProtocolError, each in a group."""
        async with trio.open_nursery() as engines:
            self.pool = RuntimePool(
                self._zygote,
                engines,
                spares=self.limits.spare_runtimes,
                on_failure=self._zygote_failed,
                memory_limit=self.limits.memory_bytes,
            )
            engines.start_soon(self.pool.serve)
            self.pool.replenish()
            try:
                # The cells' tasks end before their runtimes do: whoever is killed at the end is nobody's panic.
                async with trio.open_nursery() as self.nursery:
                    self.nursery.start_soon(self._channel.watch)
                    if self._control != OFF:
                        self.nursery.start_soon(self._listen)
                    await self._read()
                    self.nursery.cancel_scope.cancel()
            finally:
                with contextlib.suppress(HostStopped):
                    self._channel.write_now()  # what was said before the end, as far as the client takes it
                await self.pool.aclose()
                engines.cancel_scope.cancel()
        self.pool.close()

    async def _listen(self) -> None:
        """Have a control socket: from the time on at which there may be cells, so that whoever looks at a host that has
        run one sees it as it stays."""
        from codemode_host.control.socket import ControlSocket  # while the engine is being loaded

        await self.pool.ready.wait()
        self._control_socket = ControlSocket(self, None if self._control == ON else self._control)
        await self._control_socket.serve()

    def leave(self) -> None:
        """The last step: leave nothing behind on the file system."""
        if self._control_socket is not None:
            self._control_socket.remove()

    async def _read(self) -> None:
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
            self.turn_over()
            self.connection.raise_for_violation()
            if self.connection.state is ConnectionState.CLOSED:
                await self._channel.drained()
                return

    def say(self, message: HostMessage) -> None:
        """Queue a message. It is written when the turn is over."""
        self._channel.queue(self.connection.send(message))

    def turn_over(self) -> None:
        """What had to be said for now has been said: write it."""
        self._channel.flush(self.nursery.start_soon)

    async def room_to_talk(self) -> None:
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
        except PoolClosedError:
            return  # the host is about to stop, and the loss of it is the answer
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

    def failed(self, failure: HostFailure) -> None:
        """Stop. The first failure is the one that is reported."""
        self.failure = self.failure or failure
        raise HostStopped(self.failure)

    def _zygote_failed(self, cause: str, refused: bool) -> None:
        evidence = self.pool.complaints.tail()
        if refused:
            self.failed(HostFailure(HostExitStatus.REFUSED, "refused to start", "; ".join(evidence) or cause))
        self.failed(HostFailure(HostExitStatus.ENGINE_PANIC, "engine panic", cause, evidence=evidence))
