"""A logical session's life on one host: its opening, its cells, its shutdown.

A session is never opened twice on a host; when the host is lost, the session goes on in a `HostSession` on the next
one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context
from enum import Enum
from functools import partial
from typing import Protocol

from codemode_client._loops.interface import Closable, Loop
from codemode_client._loops.slots import Slot
from codemode_client._observability import events
from codemode_client._session.cells import Answer, Cell, Outlet
from codemode_client.counters import CellEnd, Tally
from codemode_protocol.errors import CodeModeError, RequestFailedError, SessionClosedError
from codemode_protocol.messages import Failure, OpenSession, ShutdownSession
from codemode_protocol.session import Delegate


class HostSessionState(Enum):
    """Where a session stands on its host."""

    OPENING = "opening"
    UNWANTED = "unwanted"
    """It is being opened, and is to be shut down as soon as it is open."""
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    REFUSED = "refused"
    LOST = "lost"
    """The host is lost; its process may still be there."""
    REAPED = "reaped"
    """The host is lost, and its process gone."""


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
    """The host of a session, as the session sees it."""

    loop: Loop
    tally: Tally
    shutdown_timeout: float
    gone: Slot[None]

    @property
    def outlet(self) -> Outlet:
        """Where requests to the host go."""
        ...

    @property
    def pid(self) -> int | None: ...

    @property
    def lost(self) -> bool:
        """It has ended, or is being brought to an end."""
        ...

    @property
    def closing(self) -> bool:
        """It ends because its owner wants it to."""
        ...

    def error(self) -> CodeModeError:
        """Return why requests fail. Complete once it is `gone`."""
        ...

    def unbind(self, session: HostSession) -> None:
        """Forget a session that is not on this host, or not any more."""
        ...

    def fail(self, cause: str, *, way: str | None = None) -> None:
        """Bring it to an end, for a fault of its own."""
        ...


class HostSession:
    """A session on one host. `open` must be called once."""

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
        """Where the delegate is called: the context of the code that opened the logical session."""
        self.labels = events.SessionLabels(session_id, generation, host.pid)
        self.state = HostSessionState.OPENING
        self.opened: Slot[None] = Slot(self.loop)
        self.closed: Slot[None] = Slot(self.loop)
        """The session is over here, all of its cells were reported, and the host, if it was lost, is reaped."""
        self.cells: dict[str, Cell] = {}
        """By the host's id: live cells, and closed ones of which something is kept."""
        self.unreported = 0
        """How many cells have not been reported closed."""
        self.over = False
        """It has ended here, but for the reports of its cells."""

    def _become(self, state: HostSessionState) -> None:
        assert state in TRANSITIONS[self.state], (self.state, state)
        self.state = state
        self.over = state in _OVER

    @property
    def lost(self) -> bool:
        """It is over: cells and requests need another `HostSession`."""
        return self.over or self.state is HostSessionState.LOST

    @property
    def end_of_unfinished_cells(self) -> CellEnd:
        """How a cell has ended whose end was never told."""
        return "lost" if self.host.lost and not self.host.closing else "terminated"

    def error(self) -> CodeModeError:
        """Return why requests fail that were under way when the session ended here. Complete after `settled`."""
        if not self.host.lost or self.host.closing:
            return SessionClosedError(self.session_id)
        return self.host.error()

    async def settled(self) -> None:
        """Wait until the host, if it is lost, is reaped: then it is known why."""
        if self.host.lost:
            await self.host.gone.get()

    # opening and closing

    def open(self) -> None:
        """Ask the host to open the session; `opened` tells when it has."""
        self.outlet.request(OpenSession(self.session_id), _Opening(self))

    def open_answered(self, result: Answer) -> None:
        """Take the host's answer to `open`."""
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
        """Ask for the session's end, once; `closed` tells when it has come."""
        if self.state is HostSessionState.OPENING:
            self._become(HostSessionState.UNWANTED)
        elif self.state is HostSessionState.OPEN:
            self._request_shutdown()

    def _request_shutdown(self) -> None:
        self._become(HostSessionState.CLOSING)
        seconds = self.host.shutdown_timeout
        cause = f"the host did not shut session {self.session_id} down within {seconds:g} s"
        limit = self.loop.call_later(seconds, partial(self.host.fail, cause, way="shutdown_timeout"))
        self.outlet.request(ShutdownSession(self.session_id), _Shutdown(self, limit))

    def shutdown_answered(self, result: Answer) -> None:
        """Take the host's answer to the shutdown."""
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
        """Note that the host is lost: every cell is over."""
        self._become(HostSessionState.LOST)
        self._close_cells()

    def reap_host(self) -> None:
        """Note that the lost host's process is gone, and every request was answered with that."""
        self._become(HostSessionState.REAPED)
        self.cells.clear()
        self.close_if_reported()

    def _close_cells(self) -> None:
        for cell in list(self.cells.values()):
            cell.close()

    def close_if_reported(self) -> None:
        """Tell that the session is closed here, once all of its cells were reported."""
        if not self.unreported:
            self.closed.resolve(None)


class _Opening:
    """The opening of a session, under way."""

    answered_twice = False

    def __init__(self, session: HostSession) -> None:
        self._session = session

    def answer(self, result: Answer) -> None:
        self._session.open_answered(result)

    def lose(self) -> None:
        self._session.opened.fail(self._session.error)


class _Shutdown:
    """The shutdown of a session, under way for a limited time."""

    answered_twice = False

    def __init__(self, session: HostSession, limit: Closable) -> None:
        self._session = session
        self._limit = limit

    def answer(self, result: Answer) -> None:
        self._limit.close()
        self._session.shutdown_answered(result)

    def lose(self) -> None:
        self._limit.close()
