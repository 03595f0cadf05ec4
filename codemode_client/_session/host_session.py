"""A logical session's life on one host: its opening, its cells, its shutdown.

A session is opened once on a host; when the host is lost, it continues in a `HostSession` on the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Context
from enum import Enum
from functools import partial
from typing import Protocol

from msgspec import Struct

from codemode_client._loops.interface import Closable, Loop
from codemode_client._loops.slots import Slot
from codemode_client._observability import events
from codemode_client._session.cells import Answer, Cell, Outlet
from codemode_client.counters import CellEnd, Tally
from codemode_protocol.errors import CodeModeError, RequestFailedError, SessionClosedError
from codemode_protocol.messages import Failure, OpenSession, ShutdownSession
from codemode_protocol.session import Delegate


class HostSessionState(Enum):
    """The states of a session on its host."""

    OPENING = "opening"
    UNWANTED = "unwanted"
    """It is being opened, and will be shut down as soon as it is open."""
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    REFUSED = "refused"
    LOST = "lost"
    """The host is lost; its process may still exist."""
    REAPED = "reaped"
    """The host is lost and reaped."""


_S = HostSessionState
TRANSITIONS: Mapping[HostSessionState, frozenset[HostSessionState]] = {
    _S.OPENING: frozenset({_S.OPEN, _S.UNWANTED, _S.REFUSED, _S.LOST}),
    _S.UNWANTED: frozenset({_S.CLOSING, _S.REFUSED, _S.LOST}),
    _S.OPEN: frozenset({_S.CLOSING, _S.LOST}),
    _S.CLOSING: frozenset({_S.CLOSED, _S.LOST}),
    _S.LOST: frozenset({_S.REAPED}),
    _S.CLOSED: frozenset(),
    _S.REFUSED: frozenset(),
    _S.REAPED: frozenset(),
}
"""Which state may follow which. What has no successor is final."""

_OVER = frozenset({_S.CLOSED, _S.REFUSED, _S.REAPED})


class SessionHost(Protocol):
    """The part of a `Driver` that its sessions use."""

    loop: Loop
    tally: Tally
    shutdown_timeout: float
    gone: Slot[None]

    @property
    def outlet(self) -> Outlet: ...

    @property
    def pid(self) -> int | None: ...

    @property
    def lost(self) -> bool: ...

    @property
    def closing(self) -> bool: ...

    def error(self) -> CodeModeError: ...

    def unbind(self, session: HostSession) -> None: ...

    def fail(self, cause: str, *, way: str | None = None) -> None: ...


class HostSession:
    """A session on one host. Call `open` once."""

    def __init__(
        self, host: SessionHost, session_id: str, delegate: Delegate, generation: int, context: Context
    ) -> None:
        self.host = host
        self.loop = host.loop
        self.outlet = host.outlet
        self.tally = host.tally
        self.session_id = session_id
        self.delegate = delegate
        self.generation = generation
        self.context = context
        """The context of the code that opened the logical session; the delegate is called in it."""
        self.labels = events.SessionLabels(session_id, generation, host.pid)
        self.state = HostSessionState.OPENING
        self.opened: Slot[None] = Slot(self.loop)
        self.closed: Slot[None] = Slot(self.loop)
        """The session has ended here, all of its cells were reported, and a lost host is reaped."""
        self.cells: dict[str, Cell] = {}
        """By the host's id: live cells, and closed ones with kept answers."""
        self.unreported = 0
        """The number of cells not reported closed."""
        self.running_calls = 0
        """The number of delegate calls, those included that were revoked and clean up."""
        self.over = False
        """The session has ended here; reports of its cells may be outstanding."""

    def _become(self, state: HostSessionState) -> None:
        assert state in TRANSITIONS[self.state], (self.state, state)
        self.state = state
        self.over = state in _OVER

    @property
    def lost(self) -> bool:
        """Whether the session has ended here or the host is lost: requests need another `HostSession`."""
        return self.over or self.state is HostSessionState.LOST

    @property
    def end_of_unfinished_cells(self) -> CellEnd:
        """The end to report for cells that closed without an answer about their end."""
        return "lost" if self.host.lost and not self.host.closing else "terminated"

    def error(self) -> CodeModeError:
        """Return the error for requests that were under way when the session ended. Complete after `settled`."""
        if not self.host.lost or self.host.closing:
            return SessionClosedError(self.session_id)
        return self.host.error()

    async def settled(self) -> None:
        """Wait until a lost host is reaped, so that `error` is complete."""
        if self.host.lost:
            await self.host.gone.get()

    # opening and closing

    def open(self) -> None:
        """Request that the host opens the session; `opened` is set when it has."""
        self.outlet.request(OpenSession(self.session_id), _Reply(self._open_answered, self._open_lost))

    def _open_lost(self) -> None:
        self.opened.fail(self.error)

    def _open_answered(self, result: Answer) -> None:
        if isinstance(result, Failure):
            message = result.message
            self._become(HostSessionState.REFUSED)
            self.host.unbind(self)
            self.opened.fail(lambda: RequestFailedError(message))
            self.close_if_reported()
            events.session_refused(self.labels, message)
            return
        if self.generation == 1:
            self.tally.sessions_opened += 1
        else:
            self.tally.sessions_rebound += 1
        events.session_bound(self.labels)
        self.opened.resolve(None)
        if self.state is HostSessionState.UNWANTED:
            self._request_shutdown()
        else:
            self._become(HostSessionState.OPEN)

    def shut_down(self) -> None:
        """Request the session's end; `closed` is set when it has come. Idempotent."""
        if self.state is HostSessionState.OPENING:
            self._become(HostSessionState.UNWANTED)
        elif self.state is HostSessionState.OPEN:
            self._request_shutdown()

    def _request_shutdown(self) -> None:
        self._become(HostSessionState.CLOSING)
        seconds = self.host.shutdown_timeout
        cause = f"the host did not shut session {self.session_id} down within {seconds:g} s"
        limit = self.loop.call_later(seconds, partial(self.host.fail, cause, way="shutdown_timeout"))
        self.outlet.request(
            ShutdownSession(self.session_id), _Reply(partial(self._shutdown_answered, limit), limit.close)
        )

    def _shutdown_answered(self, limit: Closable, result: Answer) -> None:
        limit.close()
        if self.state is not HostSessionState.CLOSING:
            return
        self._become(HostSessionState.CLOSED)
        self.host.unbind(self)
        if isinstance(result, Failure):
            message = result.message
            self.closed.fail(lambda: RequestFailedError(message))
        self._close_cells()
        self.close_if_reported()
        events.session_closed(self.labels)

    # the loss of the host

    def lose_host(self) -> None:
        """Note that the host is lost: close every cell."""
        self._become(HostSessionState.LOST)
        self._close_cells()

    def reap_host(self) -> None:
        """Note that the lost host is reaped and every request has failed."""
        self._become(HostSessionState.REAPED)
        self.cells.clear()
        self.close_if_reported()

    def _close_cells(self) -> None:
        for cell in list(self.cells.values()):
            cell.close()

    def close_if_reported(self) -> None:
        """Set `closed` once all of the session's cells were reported."""
        if not self.unreported:
            self.closed.resolve(None)


class _Reply(Struct, eq=False):
    """An `Operation` that hands its answer, or its loss, to a function."""

    answer: Callable[[Answer], None]
    lose: Callable[[], None]
    answered_twice: bool = False
