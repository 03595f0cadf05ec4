"""One connection to one host process: what is sent, what comes back, and the end of both.

The rules of the conversation and what is open in it are the business of `ClientConnection`; here are the
waiting callers, the pipes and the process. Every state change is a synchronous function called from the
reader or from a caller; an answer goes from the reader to its caller in one step, and a frame to the pipe
in one system call while the pipe takes it.

Failure stops everything: the first cause is kept, no more is read, the process is stopped and reaped, and
then every open request fails with the cause, the exit status and the last lines of standard error.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

import trio

from codemode_client._loops.slots import Slot
from codemode_client._observability.observer import Observer, way_of_ending
from codemode_client._process.child import Child, HostOptions
from codemode_client._process.pipes import PipeWriter
from codemode_client._session.cells import Observation
from codemode_client._session.delegate_calls import Delegation
from codemode_client._session.host_session import Binding
from codemode_protocol.connection import ClientConnection
from codemode_protocol.errors import (
    HostError,
    HostLostError,
    HostStartError,
    MessageTooLargeError,
    ProviderClosedError,
    RemoteProtocolError,
    RequestTooLargeError,
)
from codemode_protocol.messages import (
    CellClosed,
    ClientMessage,
    DelegateCancel,
    DelegateRequest,
    DelegateResponse,
    Failure,
    HostMessage,
    InitialResponse,
    InvokeTool,
    MissingRequiredCapability,
    NoCompatibleVersion,
    OperationCancel,
    OperationRequest,
    OperationResponse,
    OperationValue,
    Ready,
    Rejected,
    Request,
    Success,
)
from codemode_protocol.session import Delegate
from codemode_protocol.state import RequestState

_SMALL_READ = 64 * 1024
_LARGE_READ = 1024 * 1024

BROKEN_PIPE_SECONDS = 1.0
"""A host that does not read any more is heard out for this long: why it ended is in what it still says."""

EXITED_SECONDS = 0.25
"""How long the output of an ended process is still read; something else may hold its other end open."""

LOST_SECONDS = 0.5
"""How long a host that was lost may take to end by itself, with an exit status of its own."""


class Operation(Protocol):
    """A request that waits for its response."""

    def answered(self, result: Success[OperationValue] | Failure) -> None: ...

    def lost(self) -> None:
        """The connection ended; `Driver.error` says why."""
        ...


class Driver:
    """The owner of one host process and of the connection to it."""

    def __init__(self, options: HostOptions, start_after: float, observer: Observer) -> None:
        self._options = options
        self.observer = observer
        self._start_after = start_after
        self._connection = ClientConnection(max_payload=options.max_payload)
        self._operations: dict[int, Operation] = {}
        self._initial: dict[int, Observation] = {}
        self._bindings: dict[str, Binding] = {}
        self._child: Child | None = None
        self._writer: PipeWriter | None = None
        self._nursery: trio.Nursery | None = None
        self._handshake_over = trio.Event()
        self._output_ended = trio.Event()
        self._ending = trio.Event()
        self._cause: str | None = None
        self._cause_error: BaseException | None = None
        self._way: str | None = None
        self._start_error: HostStartError | None = None
        self._closing = False
        self._handlers: dict[type[HostMessage], Callable[[Any], None]] = {
            Ready: self._on_ready,
            Rejected: self._on_rejected,
            OperationResponse: self._on_operation_response,
            InitialResponse: self._on_initial_response,
            DelegateRequest: self._on_delegate_request,
            DelegateCancel: self._on_delegate_cancel,
            CellClosed: self._on_cell_closed,
        }
        self.delegation = Delegation(self)
        self.ready: Slot[None] = Slot()
        """The handshake is over."""
        self.proved = False
        """The host has opened a session: it works."""
        self.gone = trio.Event()
        """The process is reaped and every request has its answer."""
        self.gone_at = 0.0
        """When that was, on trio's clock."""
        self.finished = trio.Event()
        """And every call of a delegate has ended."""

    # for its owners

    @property
    def usable(self) -> bool:
        """Sessions can be opened on it."""
        return self._handshake_over.is_set() and not self._ending.is_set()

    @property
    def full(self) -> bool:
        """So much is queued for the host that no more work should be started; `room` waits for the end of that."""
        return self._writer is not None and self._writer.full

    @property
    def lost(self) -> bool:
        """It is over with this host, or is being brought to an end."""
        return self._ending.is_set()

    @property
    def pid(self) -> int | None:
        """The host process's id, once there is one."""
        return self._child.pid if self._child is not None else None

    @property
    def closing(self) -> bool:
        """It ends because its owner wants it to."""
        return self._closing

    def error(self) -> HostError | ProviderClosedError:
        """Why requests fail, with what the host left behind. Complete once `gone`."""
        if self._start_error is not None:
            return HostStartError(str(self._start_error))
        if self._cause is None:
            return ProviderClosedError()
        status = self._child.exit_status if self._child is not None else None
        stderr = self._child.stderr_tail if self._child is not None else ""
        kind = HostLostError if self._handshake_over.is_set() else HostStartError
        error = kind(self._cause, exit_status=status, stderr=stderr)
        error.__cause__ = self._cause_error
        return error

    async def room(self) -> None:
        """Wait while the connection is `full`."""
        if self._writer is not None and self._writer.full:
            await self._writer.room()

    def bind(self, session_id: str, delegate: Delegate, generation: int) -> Binding:
        """Open a session on this host."""
        binding = Binding(self, session_id, delegate, generation)
        binding.open()
        self._bindings[session_id] = binding
        return binding

    def unbind(self, binding: Binding) -> None:
        """The session is not on this host, or not any more."""
        if self._bindings.get(binding.session_id) is binding:
            del self._bindings[binding.session_id]

    def request(self, request: Request, operation: Operation) -> int:
        """Send a request; its answer goes to `operation`. Raises `RequestTooLargeError`, and then nothing was sent."""
        request_id = self._connection.next_request_id()
        try:
            self.send(OperationRequest(request_id, request))
        except MessageTooLargeError as error:
            self.observer.request_too_large()
            raise RequestTooLargeError(error.size, error.limit) from None
        self._operations[request_id] = operation
        return request_id

    def cancel(self, request_id: int) -> None:
        """Ask the host to give up a request. Whatever it does, it answers."""
        # A caller can be cancelled while its answer, already booked by the connection, is next in line to be handled.
        if self._connection.request_state(request_id) is RequestState.PENDING:
            self.send(OperationCancel(request_id))

    def send(self, message: ClientMessage) -> None:
        """Send a message, unless the connection is at its end; it may have failed just before the cause is handled."""
        if self.lost or not self._connection.ready:
            return
        assert self._writer is not None
        self._writer.write(self._connection.send(message))

    def cell_is_live(self, session_id: str, host_id: str) -> bool:
        """Whether the host has not closed a cell yet, not even in what is next in line to be handled."""
        return self._connection.cell_state(session_id, host_id) is not None

    def answer(self, message: DelegateResponse) -> None:
        """Answer a delegate call, unless the host has taken it back."""
        if self._connection.call_is_pending(message.id):
            self.send(message)

    def expect_initial_response(self, request_id: int, observation: Observation) -> None:
        self._initial[request_id] = observation

    def expect_shutdown(self, session_id: str, over: trio.Event) -> None:
        """A host that does not end a session in time is not worth waiting for."""
        assert self._nursery is not None
        self._nursery.start_soon(self._limit_shutdown, session_id, over)

    def close(self) -> None:
        """Bring the host to an end, in order. `gone` tells when it has come. Idempotent."""
        if not self._ending.is_set():
            self._closing = True
            self._end()

    # its tasks

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """The host's whole life. Shielded: it ends through `close` or through a failure, and then in bounded time."""
        with trio.CancelScope(shield=True):
            try:
                await self._start()
                if self._child is not None:
                    await self._live(self._child)
            finally:
                if self._child is not None:
                    self._child.ensure_reaped()
                self.fail(
                    "the connection's own tasks failed", way="client_fault"
                )  # unless it has come to its end as it should
                self._settle_everything()
                self.finished.set()

    async def _start(self) -> None:
        with trio.move_on_at(self._start_after):
            await self._ending.wait()
        if self._ending.is_set():
            return
        options = self._options
        self.observer.host_starts()
        try:
            self._child = Child.spawn(
                options.command, env=options.env, cwd=options.cwd, on_stderr_line=self.observer.host_said
            )
        except HostStartError as error:
            self._start_error = error
            self._end()
            return
        self.observer.host_started(self._child.pid, options.command[0])

    async def _live(self, child: Child) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self.delegation.attach(nursery)
            self._writer = PipeWriter(child.stdin_fd)
            async with trio.open_nursery() as processes:
                processes.start_soon(self._write, self._writer)
                processes.start_soon(self._read, child.stdout_fd)
                processes.start_soon(child.run)
                processes.start_soon(self._watch, child)
                processes.start_soon(self._limit_handshake)
                self._writer.write(self._connection.hello())
                await self._ending.wait()
                self._writer.close()
                await child.stop(self._options.close_timeout if self._closing else LOST_SECONDS)
                processes.cancel_scope.cancel()
            self._settle_everything()

    async def _read(self, fd: int) -> None:
        size = _SMALL_READ
        try:
            while True:
                await trio.lowlevel.wait_readable(fd)
                try:
                    data = os.read(fd, size)
                except BlockingIOError:
                    continue
                if not data:
                    break
                if not self.lost:
                    self._receive(data)
                elif not self._closing:
                    return
                size = _LARGE_READ if len(data) == size else _SMALL_READ
            self._output_ended.set()
            if not self.lost:
                self._receive_eof()
                self.fail("the host closed its standard output")
        finally:
            os.close(fd)

    async def _write(self, writer: PipeWriter) -> None:
        await writer.run()
        if not self.lost:
            with trio.move_on_after(BROKEN_PIPE_SECONDS):
                await self._ending.wait()
            self.fail("the host closed its standard input")

    async def _watch(self, child: Child) -> None:
        await child.exited.wait()
        with trio.move_on_after(EXITED_SECONDS):
            await self._output_ended.wait()
        self.fail("the host ended")

    async def _limit_handshake(self) -> None:
        seconds = self._options.handshake_timeout
        with trio.move_on_after(seconds):
            await self._handshake_over.wait()
        if not self._handshake_over.is_set():
            self.fail(f"the host did not answer the handshake within {seconds:g} s", way="handshake_timeout")

    async def _limit_shutdown(self, session_id: str, over: trio.Event) -> None:
        seconds = self._options.shutdown_timeout
        with trio.move_on_after(seconds):
            await over.wait()
        if not over.is_set():
            self.fail(f"the host did not shut session {session_id} down within {seconds:g} s", way="shutdown_timeout")

    # what came in

    def _receive(self, data: bytes) -> None:
        try:
            for message in self._connection.receive_data(data):
                self._handlers[type(message)](message)
                if self.lost:
                    return
            self._connection.raise_for_violation()
        except RemoteProtocolError as error:
            self.fail(f"the host broke the protocol: {error}", error, way="protocol_violation")

    def _receive_eof(self) -> None:
        try:
            self._connection.receive_eof()
        except RemoteProtocolError as error:
            self.fail(f"the host broke the protocol: {error}", error, way="protocol_violation")

    def _on_ready(self, message: Ready) -> None:
        self._handshake_over.set()
        self.ready.resolve(None)
        assert self._child is not None
        self.observer.host_ready(self._child.pid)

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
        self._operations.pop(message.id).answered(message.result)

    def _on_initial_response(self, message: InitialResponse) -> None:
        self._initial.pop(message.id).first_answered(message)

    def _on_delegate_request(self, message: DelegateRequest) -> None:
        call = message.request
        cell_id = call.invocation.cell_id if isinstance(call, InvokeTool) else call.cell_id
        self.delegation.requested(message, self._bindings[message.session_id].cells[cell_id])

    def _on_delegate_cancel(self, message: DelegateCancel) -> None:
        self.delegation.cancelled(message.id)

    def _on_cell_closed(self, message: CellClosed) -> None:
        record = self._bindings[message.session_id].cells[message.cell_id]
        self.delegation.cell_over(record)
        record.binding.forget_if_over(record)

    # the end

    def fail(self, cause: str, error: BaseException | None = None, *, way: str | None = None) -> None:
        """Something is wrong with the host: bring the connection to its end. The first cause counts.

        `way` names it for the counters; None where the host's exit status does.
        """
        if not self._ending.is_set():
            self._cause = cause
            self._cause_error = error
            self._way = way
            self._end()

    def _end(self) -> None:
        """From here on nothing is sent and nothing that comes in counts."""
        self._ending.set()
        self._connection.close()
        for binding in list(self._bindings.values()):
            binding.host_lost()

    def _settle_everything(self) -> None:
        """Give every open request the reason for the end. The first time counts."""
        if self.gone.is_set():
            return
        self.gone.set()
        self.gone_at = trio.current_time()
        self.ready.fail(self.error)
        operations, self._operations = self._operations, {}
        for operation in operations.values():
            operation.lost()
        observations, self._initial = self._initial, {}
        for observation in observations.values():
            observation.lost()
        bindings, self._bindings = self._bindings, {}
        for binding in bindings.values():
            binding.host_reaped()
        self._tell_end()

    def _tell_end(self) -> None:
        child, observer = self._child, self.observer
        if child is not None:
            way = "closed" if self._closing else self._way or way_of_ending(child.exit_status)
            observer.host_ended(child.pid, way, self._cause, child.exit_status, child.stderr_tail)
        elif self._start_error is not None:
            observer.host_ended(None, "not_spawned", str(self._start_error), None, "")
