"""The conversation with one host: many requests and delegate calls over one pair of pipes.

`ClientConnection` keeps the rules and the state of the conversation; this module routes messages. An answer goes from
the pipe to its caller in one synchronous step, and a frame to the pipe in one system call while the pipe takes it.
Writing never waits, so that no reader of answers ever waits for a writer. New work waits for `room` before it starts:
that is the back-pressure.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from codemode_client._loops.interface import Closable, Loop, protect_from_interrupt
from codemode_client._loops.slots import Slot
from codemode_client._session.cells import Execution, Operation
from codemode_client._session.delegate_calls import DelegateCalls
from codemode_client._session.host_session import HostSession
from codemode_client.counters import Tally
from codemode_protocol.connection import ClientConnection
from codemode_protocol.errors import MessageTooLargeError, RemoteProtocolError, RequestTooLargeError
from codemode_protocol.limits import FRAME_LIMIT
from codemode_protocol.messages import (
    CellClosed,
    ClientMessage,
    DelegateCancel,
    DelegateRequest,
    DelegateResponse,
    Execute,
    HostMessage,
    InitialResponse,
    InvokeTool,
    MissingRequiredCapability,
    NoCompatibleVersion,
    OperationCancel,
    OperationRequest,
    OperationResponse,
    Ready,
    Rejected,
    Request,
    Wait,
)
from codemode_protocol.state import RequestState
from codemode_protocol.values import ExecuteRequest, WaitRequest, observation_ms

QUEUE_LIMIT_BYTES = 8 * 1024 * 1024
"""From this many queued bytes on, `room` waits. The connection's own small messages may exceed it."""

_BUFFERS_PER_WRITE = 256
_SMALL_READ = 64 * 1024
_LARGE_READ = 1024 * 1024

BROKEN_PIPE_SECONDS = 1.0
"""Grace period for a host that has stopped reading to say why on its output."""


MAX_LOOK_SECONDS = 5.0
"""Overdue answers are looked for this often, or ten times within the stall timeout."""

MAX_LATE_SECONDS = 1.0
"""If the look is later than this, the time does not count."""


class Owner(Protocol):
    """The part of a `Driver` that its multiplexer uses."""

    loop: Loop
    tally: Tally

    def host_ready(self) -> None: ...

    def fail(self, cause: str, error: BaseException | None = None, *, way: str | None = None) -> None: ...


class Multiplexer:
    """The pipes to one host, and the operations that wait for answers. Owns both descriptors and closes them."""

    def __init__(
        self, owner: Owner, stdin_fd: int, stdout_fd: int, max_payload: int, stall_timeout: float = 60.0
    ) -> None:
        self.loop = owner.loop
        self.tally = owner.tally
        self.fail = owner.fail
        self._owner = owner
        self._connection = ClientConnection(max_payload=max_payload)
        self._operations: dict[int, Operation] = {}
        self._stall_timeout = stall_timeout
        self._deadlines: dict[int, float] = {}
        """By request: when the host counts as stalled, by `time.monotonic`."""
        self._next_look = 0.0
        self._look_timer: Closable | None = None
        """While a request is under way."""
        self._sessions: dict[str, HostSession] = {}
        self._stopped = False
        """Nothing more is sent, and input is ignored."""
        self.proved = False
        """The host has answered a request."""
        self.calls = DelegateCalls(self)
        self._handlers: dict[type[HostMessage], Callable[[Any], None]] = {
            Ready: self._on_ready,
            Rejected: self._on_rejected,
            OperationResponse: self._on_operation_response,
            InitialResponse: self._on_initial_response,
            DelegateRequest: self._on_delegate_request,
            DelegateCancel: self._on_delegate_cancel,
            CellClosed: self._on_cell_closed,
        }
        self._read_size = _SMALL_READ
        self._stdout_fd = stdout_fd
        self._reader: Closable | None = self.loop.when_readable(stdout_fd, self._read)
        self._writer = PipeWriter(self.loop, stdin_fd, self._on_broken_pipe)
        self._timer: Closable | None = None
        self._writer.write(self._connection.hello())

    # ------------------------------------------------------------------------------------------------ for its users

    @property
    def open_count(self) -> int:
        """The number of open sessions, requests and delegate calls."""
        return len(self._sessions) + len(self._operations) + self.calls.running

    @property
    def full(self) -> bool:
        """Whether so much is queued for the host that no more work should be started."""
        return self._writer.full

    @property
    def crowded(self) -> bool:
        """Whether `room` waits for those that are not `ahead`: it is `full`, or others wait."""
        return self._writer.crowded

    async def room(self, *, ahead: bool = False) -> None:
        """Wait while it is `full`, and for those that wait already, unless `ahead` of them."""
        await self._writer.room(ahead=ahead)

    def bind(self, session: HostSession) -> None:
        """Register a session and open it."""
        self._sessions[session.session_id] = session
        session.open()

    def unbind(self, session: HostSession) -> None:
        """Forget a session that has ended on this host."""
        if self._sessions.get(session.session_id) is session:
            del self._sessions[session.session_id]

    def request(self, request: Request, operation: Operation) -> int:
        """Send a request whose answer goes to `operation`, and return its id.

        Raises:
            RequestTooLargeError: It does not fit in a frame. Nothing was sent.
        """
        request_id = self._connection.next_request_id()
        try:
            self._send(OperationRequest(request_id, request))
        except MessageTooLargeError as error:
            self.tally.count_limit(FRAME_LIMIT)
            raise RequestTooLargeError(error.size, error.limit) from None
        self._operations[request_id] = operation
        self._deadlines[request_id] = time.monotonic() + _observed_seconds(request) + self._stall_timeout
        if self._look_timer is None:
            self._look_later()
        return request_id

    def cancel(self, request_id: int) -> None:
        """Ask the host to cancel a request. It still answers."""
        # A caller can be cancelled after the connection has received its answer and before it is handled.
        if self._connection.request_state(request_id) is RequestState.PENDING:
            self._send(OperationCancel(request_id))

    def answer(self, message: DelegateResponse) -> None:
        """Answer a delegate call, unless the host has cancelled it."""
        if self._connection.call_is_pending(message.id):
            self._send(message)

    def cell_is_live(self, session_id: str, host_id: str) -> bool:
        """Return whether the host has not closed a cell yet, nor in messages received but not handled."""
        return self._connection.cell_state(session_id, host_id) is not None

    def _send(self, message: ClientMessage) -> None:
        # The connection may have failed just before the cause is handled.
        if not self._stopped and self._connection.ready:
            self._writer.write(self._connection.send(message))

    # -------------------------------------------------------------------------------------------------- what came in

    def _read(self) -> None:
        try:
            data = os.read(self._stdout_fd, self._read_size)
        except BlockingIOError:
            return
        if data:
            self._read_size = _LARGE_READ if len(data) == self._read_size else _SMALL_READ
            if not self._stopped:
                self._receive(data)
            return
        self._close_reader()
        if not self._stopped:
            self._receive_eof()
            self.fail("the host closed its standard output")

    def _receive(self, data: bytes) -> None:
        try:
            for message in self._connection.receive_data(data):
                self._handlers[type(message)](message)
                if self._stopped:
                    return
            self._connection.raise_for_violation()
        except RemoteProtocolError as error:
            self.fail(f"the host broke the protocol: {error}", error, way="protocol_violation")
        except Exception as error:  # noqa: BLE001 - a bug here must not leave callers waiting
            self.fail("the connection's own tasks failed", error, way="client_fault")

    def _receive_eof(self) -> None:
        try:
            self._connection.receive_eof()
        except RemoteProtocolError as error:
            self.fail(f"the host broke the protocol: {error}", error, way="protocol_violation")

    def _on_ready(self, message: Ready) -> None:
        self._owner.host_ready()

    def _on_rejected(self, message: Rejected) -> None:
        match message.reason:
            case NoCompatibleVersion(supported_versions=versions):
                why = f"it speaks protocol version {', '.join(map(str, versions)) or '(none)'}"
            case MissingRequiredCapability(capability=capability):
                why = f"it lacks the capability {capability!r}"
            case reason:
                why = reason.message
        self.fail(f"the host rejected the connection: {why}", way="rejected")

    def _on_operation_response(self, message: OperationResponse) -> None:
        self.proved = True
        operation = self._operations[message.id]
        operation.answer(message.result)
        if not operation.answered_twice:
            self._operations.pop(message.id, None)
            self._deadlines.pop(message.id, None)

    def _on_initial_response(self, message: InitialResponse) -> None:
        execution = self._operations.pop(message.id)
        self._deadlines.pop(message.id, None)
        assert isinstance(execution, Execution)
        execution.answer_again(message)

    def _on_delegate_request(self, message: DelegateRequest) -> None:
        call = message.request
        cell_id = call.invocation.cell_id if isinstance(call, InvokeTool) else call.cell_id
        self.calls.start(message, self._sessions[message.session_id].cells[cell_id])

    def _on_delegate_cancel(self, message: DelegateCancel) -> None:
        self.calls.cancel(message.id)

    def _on_cell_closed(self, message: CellClosed) -> None:
        self._sessions[message.session_id].cells[message.cell_id].close()

    def _on_broken_pipe(self) -> None:
        if not self._stopped:
            self._timer = self.loop.call_later(
                BROKEN_PIPE_SECONDS, lambda: self.fail("the host closed its standard input")
            )

    # ------------------------------------------------------------------------------------------------------- stalls

    def _look_later(self) -> None:
        seconds = min(self._stall_timeout / 10, MAX_LOOK_SECONDS)
        self._next_look = time.monotonic() + seconds
        self._look_timer = self.loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """Give up a host that does not answer: it is stopped, swapped out, or no network leads to it any more."""
        self._look_timer = None
        if self._stopped or not self._deadlines:
            return
        now = time.monotonic()
        if (late := now - self._next_look) > MAX_LATE_SECONDS:  # this program itself stood still, and the host with it
            self._deadlines = {request_id: deadline + late for request_id, deadline in self._deadlines.items()}
        if min(self._deadlines.values()) < now:
            cause = f"the host did not answer a request within {self._stall_timeout:g} s of the time that it had"
            self.fail(cause, way="stall_timeout")
        else:
            self._look_later()

    # ------------------------------------------------------------------------------------------------------- the end

    def stop(self, *, drain: bool) -> None:
        """Stop sending and handling messages, close the host's input, and mark its sessions lost.

        Args:
            drain: Keep reading and drop the data, so that a host that ends in order is not blocked.
        """
        self._stopped = True
        self._connection.close()
        for timer in (self._timer, self._look_timer):
            if timer is not None:
                timer.close()
        self._writer.close()
        if not drain:
            self._close_reader()
        for session in list(self._sessions.values()):
            session.lose_host()

    def settle(self) -> None:
        """Fail every open request and close both pipes. Idempotent."""
        self._writer.close_now()
        self._close_reader()
        operations, self._operations = self._operations, {}
        for operation in operations.values():
            operation.lose()
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.reap_host()

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
            os.close(self._stdout_fd)


def _observed_seconds(request: Request) -> float:
    """Return for how long a request lets the host observe a cell before it answers."""
    match request:
        case (
            Execute(request=ExecuteRequest(yield_time_ms=milliseconds))
            | Wait(request=WaitRequest(yield_time_ms=milliseconds))
        ):
            return observation_ms(milliseconds) / 1000
        case _:
            return 0.0


class PipeWriter:
    """The writing end of a pipe. Owns the descriptor and closes it.

    Args:
        loop: The event loop that runs the caller.
        fd: The descriptor, prepared with `prepare_pipe`.
        on_broken: Called once if the reader has closed its end before `close`.
    """

    def __init__(self, loop: Loop, fd: int, on_broken: Callable[[], object]) -> None:
        self._loop = loop
        self._fd = fd
        self._on_broken = on_broken
        self._queue: deque[memoryview] = deque()
        self._queued = 0
        self._watch: Closable | None = None
        """Set while bytes are queued."""
        self._waiting: deque[Slot[None]] = deque()
        """Those that wait for room, some perhaps cancelled meanwhile."""
        self._closing = False
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether `QUEUE_LIMIT_BYTES` are queued."""
        return self._queued >= QUEUE_LIMIT_BYTES

    @property
    def crowded(self) -> bool:
        """Whether it is `full`, or others wait for room."""
        return self.full or bool(self._waiting)

    @protect_from_interrupt
    async def room(self, *, ahead: bool = False) -> None:
        """Wait until it is not `full`, or closed; and for those that wait already, unless `ahead` of them.

        One after the other: thousands may wait, and each may fill the queue again.
        """
        try:
            while not self._closed and (self.full if ahead else self.crowded):
                turn = Slot[None](self._loop)
                if ahead:
                    self._waiting.appendleft(turn)
                else:
                    self._waiting.append(turn)
                await turn.get()
                ahead = True  # it keeps its place
        finally:
            self._tell_room()

    def write(self, data: bytes | bytearray) -> None:
        """Write what the pipe takes now and queue the rest. Does nothing once closed or broken."""
        if self._closing:
            return
        written = 0
        if not self._queue:
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:
                pass
            except OSError:
                self._break()
                return
            if written == len(data):
                return
        self._queue.append(memoryview(data)[written:])
        self._queued += len(data) - written
        if self._watch is None:
            self._watch = self._loop.when_writable(self._fd, self._write_some)

    def close(self) -> None:
        """Close the descriptor as soon as the queue is written. Idempotent."""
        self._closing = True
        if not self._queue:
            self.close_now()

    def close_now(self) -> None:
        """Drop the queue and close the descriptor. Idempotent."""
        self._closing = True
        if self._closed:
            return
        self._closed = True
        self._queue.clear()
        self._queued = 0
        if self._watch is not None:
            self._watch.close()
        os.close(self._fd)
        self._tell_room()

    def _write_some(self) -> None:
        buffers = [self._queue[index] for index in range(min(len(self._queue), _BUFFERS_PER_WRITE))]
        try:
            written = os.writev(self._fd, buffers)
        except BlockingIOError:
            return
        except OSError:
            self._break()
            return
        self._queued -= written
        while written:
            first = self._queue.popleft()
            if written < len(first):
                self._queue.appendleft(first[written:])
                break
            written -= len(first)
        self._tell_room()
        if not self._queue:
            if self._watch is not None:
                self._watch.close()
                self._watch = None
            if self._closing:
                self.close_now()

    def _tell_room(self) -> None:
        waiting = self._waiting
        while waiting and (self._closed or not self.full):
            turn = waiting.popleft()
            if turn.has_waiters:
                turn.resolve(None)
                if not self._closed:
                    return  # it tells the next

    def _break(self) -> None:
        told = self._closing
        self.close_now()
        if not told:
            self._on_broken()
