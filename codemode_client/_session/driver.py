"""The life cycle of one host process: spawn, handshake, use, stop, reap.

A new program's first result waits for its first host, so this imports little: the multiplexer is imported while the
host starts.

A failure stops everything: the first cause is kept, reading stops, the process is stopped and reaped, and then every
open request fails with the cause, the exit status and the last lines of standard error.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context
from enum import Enum
from typing import TYPE_CHECKING

from codemode_client._loops.interface import Closable, Loop, protect_from_interrupt
from codemode_client._loops.slots import Slot
from codemode_client._observability import events
from codemode_client._process.child import Child
from codemode_client._session.options import ProviderOptions
from codemode_protocol.errors import HostError, HostLostError, HostStartError, ProviderClosedError
from codemode_protocol.exit_status import name_ending

if TYPE_CHECKING:
    from codemode_client._session.cells import Outlet
    from codemode_client._session.host_session import HostSession
    from codemode_client._session.multiplexer import Multiplexer
    from codemode_client.counters import Tally
    from codemode_protocol.session import Delegate

EXITED_SECONDS = 0.25
"""Grace period to drain the output of an ended process; another process may hold its other end open."""

LOST_SECONDS = 0.5
"""Grace period for a lost host to exit by itself, with its own exit status."""


class DriverState(Enum):
    """The states of a host process."""

    WAITING = "waiting"
    """Its start is delayed by back-off."""
    STARTING = "starting"
    """It was spawned and has not answered the handshake."""
    READY = "ready"
    """Sessions can be opened on it."""
    STOPPING = "stopping"
    """It is being stopped, after a failure or by its owner."""
    GONE = "gone"
    """It is reaped, and every request is answered."""
    FINISHED = "finished"
    """Also, every delegate call has ended."""


_S = DriverState
TRANSITIONS: Mapping[DriverState, frozenset[DriverState]] = {
    _S.WAITING: frozenset({_S.STARTING, _S.STOPPING}),
    _S.STARTING: frozenset({_S.READY, _S.STOPPING}),
    _S.READY: frozenset({_S.STOPPING}),
    _S.STOPPING: frozenset({_S.GONE}),
    _S.GONE: frozenset({_S.FINISHED}),
    _S.FINISHED: frozenset(),
}
"""Which state may follow which."""


class Driver:
    """The owner of one host process. Call `start`, then run `run` as a task for the host's whole life."""

    def __init__(self, options: ProviderOptions, loop: Loop, tally: Tally, start_after: float) -> None:
        self.loop = loop
        self.tally = tally
        self.shutdown_timeout = options.shutdown_timeout
        self.state = DriverState.WAITING
        self._options = options
        self._start_after = start_after
        self._child: Child | None = None
        self._multiplexer: Multiplexer | None = None
        self._timers: list[Closable] = []
        self._cause: str | None = None
        """Why the host failed; None if its owner closed it."""
        self._cause_error: BaseException | None = None
        self._way: str | None = None
        self._start_error: HostStartError | None = None
        self.ready: Slot[None] = Slot(loop)
        self.stopping: Slot[None] = Slot(loop)
        self.gone: Slot[None] = Slot(loop)
        self.finished: Slot[None] = Slot(loop)
        self.gone_at = 0.0
        """When it was gone, on the loop's clock."""

    def _become(self, state: DriverState) -> None:
        assert state in TRANSITIONS[self.state], (self.state, state)
        self.state = state

    # ----------------------------------------------------------------------------------------------- for its owners

    @property
    def usable(self) -> bool:
        """Whether sessions can be opened on it."""
        return self.state is DriverState.READY

    @property
    def lost(self) -> bool:
        """Whether it has stopped or is being stopped."""
        return self.stopping.done

    @property
    def closing(self) -> bool:
        """Whether its owner stopped it."""
        return self.lost and self._cause is None and self._start_error is None

    @property
    def proved(self) -> bool:
        """Whether the host has answered a request."""
        return self._multiplexer is not None and self._multiplexer.proved

    @property
    def pid(self) -> int | None:
        """The host's process id, once there is one."""
        return self._child.pid if self._child is not None else None

    @property
    def running_pid(self) -> int | None:
        """The host's process id until it is reaped."""
        return self._child.pid if self._child is not None and not self._child.reaped else None

    @property
    def open_count(self) -> int:
        """The number of open sessions, requests and delegate calls."""
        return self._multiplexer.open_count if self._multiplexer is not None else 0

    @property
    def outlet(self) -> Outlet:
        """The connection that sends requests; available once the host was spawned."""
        assert self._multiplexer is not None
        return self._multiplexer

    def error(self) -> HostError | ProviderClosedError:
        """Return why requests fail, with the exit status and standard error. Complete once the host is `gone`."""
        if self._start_error is not None:
            return HostStartError(str(self._start_error))
        if self._cause is None:
            return ProviderClosedError()
        status = self._child.exit_status if self._child is not None else None
        stderr = self._child.stderr_tail if self._child is not None else ""
        kind = HostLostError if self.ready.succeeded else HostStartError
        error = kind(self._cause, exit_status=status, stderr=stderr)
        error.__cause__ = self._cause_error
        return error

    def bind(self, session_id: str, delegate: Delegate, generation: int, context: Context) -> HostSession:
        """Open a session on this host, which must be `usable`."""
        from codemode_client._session.host_session import HostSession

        assert self._multiplexer is not None
        session = HostSession(self, session_id, delegate, generation, context)
        self._multiplexer.bind(session)
        return session

    def unbind(self, session: HostSession) -> None:
        """Forget a session that has ended on this host."""
        if self._multiplexer is not None:
            self._multiplexer.unbind(session)

    def close(self) -> None:
        """Stop the host in order; does not wait (see `gone`). Idempotent."""
        if not self.lost:
            self._stop()

    # ------------------------------------------------------------------------------------------------ its life

    @protect_from_interrupt
    async def run(self) -> None:
        """Run the host until `close` or a failure, then stop and reap it in bounded time."""
        try:
            if self.state is DriverState.WAITING and self._start_error is None:
                await self.stopping.wait(self._start_after - self.loop.time())
                if not self.lost:
                    self._spawn()
            if self._child is not None:
                self._greet(self._child)
            elif not self.lost:
                self._stop()
            await self.stopping.get()
            if self._child is not None:
                await self._child.stop(self._options.close_timeout if self.closing else LOST_SECONDS)
        finally:
            if self._child is not None:
                self._child.ensure_reaped()
            self.fail("the connection's own tasks failed", way="client_fault")  # no-op after an orderly stop
            self._settle()
            try:
                if self._multiplexer is not None:
                    await self._multiplexer.calls.ended()
            finally:
                self._become(DriverState.FINISHED)
                self.finished.resolve(None)

    def start(self) -> None:
        """Spawn the host, unless its start is delayed: then `run` does."""
        if self._start_after <= self.loop.time():
            self._spawn()

    def _spawn(self) -> None:
        options = self._options
        self.tally.hosts_started += 1
        try:
            self._child = child = Child.spawn(
                self.loop,
                options.host_command,
                env=options.env,
                cwd=options.cwd,
                on_stderr_line=events.host_said,
                on_exit=self._host_exited,
            )
        except HostStartError as error:
            self._start_error = error  # raised through `run`: by then the caller waits for `ready`
            return
        self._become(DriverState.STARTING)
        events.host_started(child.pid, options.host_command[0])
        self._timers.append(self.loop.call_later(options.handshake_timeout, self._handshake_timed_out))

    def _greet(self, child: Child) -> None:
        from codemode_client._session.multiplexer import Multiplexer

        options = self._options
        self._multiplexer = Multiplexer(
            self, child.stdin_fd, child.stdout_fd, options.max_frame_bytes, options.stall_timeout
        )
        if self.lost:
            self._multiplexer.stop(drain=self.closing)

    def host_ready(self) -> None:
        """Note that the handshake has succeeded."""
        assert self._child is not None
        self._become(DriverState.READY)
        self.tally.hosts_ready += 1
        events.host_ready(self._child.pid)
        self._close_timers()
        self.ready.resolve(None)

    def _handshake_timed_out(self) -> None:
        seconds = self._options.handshake_timeout
        self.fail(f"the host did not answer the handshake within {seconds:g} s", way="handshake_timeout")

    def _host_exited(self) -> None:
        if not self.lost:
            # The end of its output gives a better cause, if it comes in time.
            self._timers.append(self.loop.call_later(EXITED_SECONDS, lambda: self.fail("the host ended")))

    def fail(self, cause: str, error: BaseException | None = None, *, way: str | None = None) -> None:
        """Stop the host because of a failure. The first cause counts.

        Args:
            cause: What went wrong, for the errors of its requests.
            error: The exception behind it.
            way: The name in the counters; None to derive it from the exit status.
        """
        if not self.lost:
            self._cause = cause
            self._cause_error = error
            self._way = way
            self._stop()

    def _stop(self) -> None:
        """Stop sending, and ignore what is still received."""
        self._become(DriverState.STOPPING)
        self._close_timers()
        self.stopping.resolve(None)
        if self._multiplexer is not None:
            self._multiplexer.stop(drain=self.closing)

    def _close_timers(self) -> None:
        timers, self._timers = self._timers, []
        for timer in timers:
            timer.close()

    def _settle(self) -> None:
        """Fail every open request and count how the host ended."""
        self._become(DriverState.GONE)
        self.gone_at = self.loop.time()
        self.gone.resolve(None)
        self.ready.fail(self.error)
        if self._multiplexer is not None:
            self._multiplexer.settle()
        child = self._child
        if child is not None:
            if self.closing:
                way = "closed"
            elif self._way is not None:
                way = self._way
            else:
                way = "stopped" if child.exit_status is None else name_ending(child.exit_status)
            self.tally.count_host_end(way)
            events.host_ended(child.pid, self._cause, child.exit_status, child.stderr_tail)
        elif self._start_error is not None:
            self.tally.count_host_end("not_spawned")
            events.host_ended(None, str(self._start_error), None, "")
