"""The books of one connection: what is open between a client and a host, checked message by message.

Both sides keep the same books by the same code; only the tables differ by role (`state.py`). Each method takes one
message, checks it against everything that is open, and only then changes anything: a message that raises
`Violation` leaves the books as they were. It does not matter here whether the message is sent or received; the
connection knows whose fault a violation is.

What is kept is what is live, and the sets of used ids, which are intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from msgspec import UNSET

from codemode_protocol.ids import IdSet, NameSet, ScatteredIdsError, parse_cell_id
from codemode_protocol.messages import (
    CellClosed,
    DelegateCancel,
    DelegateRequest,
    DelegateResponse,
    Execute,
    ExecutionStarted,
    Failure,
    InitialResponse,
    InvokeTool,
    OpenSession,
    OperationCancel,
    OperationRequest,
    OperationResponse,
    SessionClosed,
    SessionReady,
    ShutdownSession,
    Terminate,
    ToolResult,
    Wait,
    WaitCompleted,
)
from codemode_protocol.state import (
    CALL,
    CELL,
    REQUEST,
    SESSION,
    CallEvent,
    CallState,
    CellEvent,
    CellState,
    Machine,
    RequestEvent,
    RequestState,
    Role,
    SessionEvent,
    SessionState,
)
from codemode_protocol.values import ResponseEnvelope

INVALID_TOOL_RESULT = "code-mode client returned an invalid tool result"
INVALID_NOTIFICATION_RESULT = "code-mode client returned an invalid notification result"
"""What a call fails with when it is answered in the other kind's way; the reference host's words."""


class Violation(Exception):
    """A message that the tables do not have, or that fits nothing that is open. Nothing was changed."""


class _Cell:
    __slots__ = ("calls", "observed", "state")

    def __init__(self, state: CellState) -> None:
        self.state = state
        self.observed = True  # by the execute that started it, until its initial response
        self.calls: dict[int, None] = {}  # pending ones, in order


class _Session:
    __slots__ = ("cell_ids", "cells", "closer", "opener", "state")

    def __init__(self, state: SessionState, opener: int) -> None:
        self.state = state
        self.opener = opener  # the request that opens it; others for the same id can only fail
        self.closer: int | None = None  # likewise
        self.cells: dict[str, _Cell] = {}
        self.cell_ids = IdSet()


class _Request:
    __slots__ = ("cell_id", "id", "kind", "session_id", "state")

    def __init__(self, id: int, kind: Machine, session_id: str, cell_id: str) -> None:
        self.id = id
        self.kind = kind
        self.state = RequestState.PENDING
        self.session_id = session_id
        self.cell_id = cell_id  # what a wait or a terminate is about; of an execute, the cell that it started

    def __str__(self) -> str:
        return f"{self.id} ({self.kind.value})"


class _Call:
    __slots__ = ("cell", "kind")

    def __init__(self, kind: Machine, cell: _Cell) -> None:
        self.kind = kind
        self.cell = cell


_REQUESTS: Mapping[type, tuple[Machine, SessionEvent]] = {
    OpenSession: (Machine.OPEN, SessionEvent.OPEN),
    Execute: (Machine.EXECUTE, SessionEvent.EXECUTE),
    Wait: (Machine.WAIT, SessionEvent.OBSERVE),
    Terminate: (Machine.TERMINATE, SessionEvent.OBSERVE),
    ShutdownSession: (Machine.SHUTDOWN, SessionEvent.SHUTDOWN),
}

_ANSWERS: Mapping[type, RequestEvent] = {
    SessionReady: RequestEvent.SESSION_READY,
    ExecutionStarted: RequestEvent.EXECUTION_STARTED,
    WaitCompleted: RequestEvent.WAIT_COMPLETED,
    SessionClosed: RequestEvent.SESSION_CLOSED,
}

_State = TypeVar("_State")
_Event = TypeVar("_Event")


def _next(
    table: Mapping[_State, Mapping[_Event, _State]], state: _State, event: _Event, noun: str, name: object
) -> _State:
    """Return the state that follows.

    `noun` and `name` say what it is the state of: text is made of them for a violation alone.

    Raises:
        Violation: The table has no such step.
    """
    following = table[state].get(event)
    if following is None:
        # Both are members of enumerations of `state.py`.
        said, is_now = getattr(event, "value", event), getattr(state, "value", state)
        raise Violation(f"{said!r} is not allowed for {noun} {name}: it is {is_now}")
    return following


class Conversation:
    """What is open on one connection, as `role` sees it."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._session_table = SESSION[role]
        self._cell_table = CELL[role]
        self._request_tables = REQUEST[role]
        self._call_tables = CALL[role]
        self._sessions: dict[str, _Session] = {}
        self._requests: dict[int, _Request] = {}
        self._terminates: dict[tuple[str, str], int] = {}  # how many of them are for this session's cell of that name
        self._calls: dict[int, _Call] = {}
        self._used_requests = IdSet()
        self._used_calls = IdSet()
        self._used_names = NameSet()

    # ------------------------------------------------------------------------------------------------ what others see

    def session_state(self, session_id: str) -> SessionState:
        session = self._sessions.get(session_id)
        if session is not None:
            return session.state
        return SessionState.CLOSED if session_id in self._used_names else SessionState.UNKNOWN

    def refusal_to_open(self, request_id: int) -> str | None:
        """Why an open request for a session cannot be granted, None if it can.

        The first two texts are the reference host's. An id is remembered for as long as the connection lasts.
        """
        session_id = self._open_request(request_id).session_id
        session = self._sessions.get(session_id)
        if session is not None and session.opener == request_id:
            if not self._used_names.has_room_for(session_id):
                return "too many unordered code-mode session IDs were used on this connection: start another host"
            return None
        if session is None or session.state is SessionState.CLOSING:
            return f"code-mode session ID `{session_id}` was reused"
        return f"code-mode session ID `{session_id}` is already open"

    def cell_state(self, session_id: str, cell_id: str) -> CellState | None:
        """None for a cell that is not there, whether it never was or is closed."""
        session = self._sessions.get(session_id)
        cell = None if session is None else session.cells.get(cell_id)
        return None if cell is None else cell.state

    def live_cells(self, session_id: str) -> tuple[str, ...]:
        """Return the ids of a session's started cells that are not closed yet, in the order in which they started."""
        session = self._sessions.get(session_id)
        return () if session is None else tuple(session.cells)

    def pending_calls(self, session_id: str, cell_id: str) -> tuple[int, ...]:
        """Return the ids of a cell's calls that are neither answered nor cancelled, oldest first."""
        session = self._sessions.get(session_id)
        cell = None if session is None else session.cells.get(cell_id)
        return () if cell is None else tuple(cell.calls)

    def call_is_pending(self, call_id: int) -> bool:
        return call_id in self._calls

    def request_state(self, request_id: int) -> RequestState:
        request = self._requests.get(request_id)
        if request is not None:
            return request.state
        return RequestState.ANSWERED if request_id in self._used_requests else RequestState.NEW

    def call_state(self, call_id: int) -> CallState:
        """Of a call that is over it is not known how: it counts as answered."""
        if call_id in self._calls:
            return CallState.PENDING
        return CallState.ANSWERED if call_id in self._used_calls else CallState.NEW

    def size(self) -> int:
        """How many things are kept: sessions, cells, requests, calls, intervals of used ids, and indexes of them."""
        return (
            len(self._requests)
            + len(self._terminates)
            + 2 * len(self._calls)
            + sum(1 + len(session.cells) + session.cell_ids.runs for session in self._sessions.values())
            + self._used_requests.runs
            + self._used_calls.runs
            + len(self._used_names)
        )

    # -------------------------------------------------------------------------------------------------- client to host

    def request(self, message: OperationRequest) -> OperationRequest:
        request = message.request
        session_id = request.session_id
        kind, event = _REQUESTS[type(request)]
        session = self._sessions.get(session_id)
        state = self.session_state(session_id) if session is None else session.state
        following = _next(self._session_table, state, event, "session", session_id)
        cell_id = ""
        if isinstance(request, Wait):
            cell_id = request.request.cell_id
        elif isinstance(request, Terminate):
            cell_id = request.cell_id
        elif self._role is Role.CLIENT and isinstance(request, OpenSession) and not session_id.strip():
            raise Violation("a session id must not be blank")
        if not _add(self._used_requests, message.id):
            raise Violation(f"duplicate code-mode request id {message.id}")

        # Nothing below raises.
        self._requests[message.id] = _Request(message.id, kind, session_id, cell_id)
        if kind is Machine.TERMINATE:
            self._terminates[session_id, cell_id] = self._terminates.get((session_id, cell_id), 0) + 1
        if session is None:
            if following is SessionState.OPENING:
                self._sessions[session_id] = _Session(following, message.id)
            return message
        if kind is Machine.SHUTDOWN and following is not state:
            session.closer = message.id
        session.state = following
        if kind is Machine.TERMINATE and (cell := session.cells.get(cell_id)) is not None:
            cell.state = self._cell_table[cell.state][CellEvent.TERMINATE]
        return message

    def cancel(self, message: OperationCancel) -> OperationCancel | None:
        """None when it comes to nothing."""
        request = self._requests.get(message.id)
        if request is None:
            # Which kind it was is not kept; for a cancel the kinds do not differ.
            table = self._request_tables[Machine.WAIT]
            _next(table, self.request_state(message.id), RequestEvent.CANCEL, "request", message.id)
            return None
        table = self._request_tables[request.kind]
        request.state = _next(table, request.state, RequestEvent.CANCEL, "request", message.id)
        return message

    def answer_call(self, message: DelegateResponse) -> DelegateResponse | None:
        """None when no request waits for it. One of the wrong kind, where that is no violation, gives a failure."""
        result = message.result
        if isinstance(result, Failure):
            event = CallEvent.FAILED
        elif isinstance(result.value, ToolResult):
            event = CallEvent.TOOL_RESULT
        else:
            event = CallEvent.DELIVERED
        call = self._calls.get(message.id)
        if call is None:
            # Which kind it was is not kept; for calls that are new or over the kinds do not differ.
            table = self._call_tables[Machine.TOOL_CALL]
            _next(table, self.call_state(message.id), event, "delegate call", message.id)
            return None
        _next(self._call_tables[call.kind], CallState.PENDING, event, "delegate call", message.id)

        del self._calls[message.id], call.cell.calls[message.id]
        if call.kind is Machine.TOOL_CALL and event is CallEvent.DELIVERED:
            return DelegateResponse(message.id, Failure(INVALID_TOOL_RESULT))
        if call.kind is Machine.NOTIFICATION and event is CallEvent.TOOL_RESULT:
            return DelegateResponse(message.id, Failure(INVALID_NOTIFICATION_RESULT))
        return message

    # -------------------------------------------------------------------------------------------------- host to client

    def respond(self, message: OperationResponse) -> OperationResponse:
        request = self._open_request(message.id)
        result = message.result
        value = None if isinstance(result, Failure) else result.value
        event = RequestEvent.FAILED if value is None else _ANSWERS[type(value)]
        following = _next(self._request_tables[request.kind], request.state, event, "request", request)
        match value:
            case None:
                self._failed(request)
            case WaitCompleted():
                self._observed(request, value)
            case ExecutionStarted():
                self._started(request, value.cell_id)
            case SessionReady():
                self._opened(request, value.session_id)
            case _:
                self._closed(request, value.session_id)
        if following is RequestState.ANSWERED:
            del self._requests[message.id]
            if request.kind is Machine.TERMINATE:
                self._forget_terminate(request.session_id, request.cell_id)
        else:
            request.state = following
        return message

    def initial_response(self, message: InitialResponse) -> InitialResponse:
        request = self._open_request(message.id)
        table = self._request_tables[request.kind]
        _next(table, request.state, RequestEvent.INITIAL_RESPONSE, "request", request)
        # A cell is not closed before its initial response, nor a session before its cells.
        cell = self._sessions[request.session_id].cells[request.cell_id]
        if not isinstance(message.result, Failure):
            cell.state = self._told(message.result.value, request, cell)
        cell.observed = False
        del self._requests[message.id]
        return message

    def call(self, message: DelegateRequest) -> DelegateRequest:
        request = message.request
        if isinstance(request, InvokeTool):
            kind, cell_id = Machine.TOOL_CALL, request.invocation.cell_id
        else:
            kind, cell_id = Machine.NOTIFICATION, request.cell_id
        cell = self._live_cell(message.session_id, cell_id, "delegate call", message.id)
        following = _next(self._cell_table, cell.state, CellEvent.CALL, "cell", cell_id)
        if not _add(self._used_calls, message.id):
            raise Violation(f"duplicate delegate call id {message.id}")

        cell.state = following
        cell.calls[message.id] = None
        self._calls[message.id] = _Call(kind, cell)
        return message

    def cancel_call(self, message: DelegateCancel) -> DelegateCancel | None:
        """None when it crossed with the answer."""
        call = self._calls.get(message.id)
        kind = Machine.TOOL_CALL if call is None else call.kind
        _next(self._call_tables[kind], self.call_state(message.id), CallEvent.CANCEL, "delegate call", message.id)
        if call is None:
            return None
        del self._calls[message.id], call.cell.calls[message.id]
        return message

    def close_cell(self, message: CellClosed) -> CellClosed:
        session_id, cell_id = message.session_id, message.cell_id
        cell = self._live_cell(session_id, cell_id, "the end of cell", cell_id)
        _next(self._cell_table, cell.state, CellEvent.CLOSED, "cell", cell_id)
        if cell.observed:
            raise Violation(f"cell {cell_id} of session {session_id} closes before its initial response")
        if cell.calls:
            raise Violation(
                f"cell {cell_id} of session {session_id} closes while delegate call {next(iter(cell.calls))} is pending"
            )

        del self._sessions[session_id].cells[cell_id]
        return message

    # ------------------------------------------------------------------------------------------------- parts of these

    def _open_request(self, request_id: int) -> _Request:
        request = self._requests.get(request_id)
        if request is None:
            raise Violation(f"request {request_id} is not open: it is {self.request_state(request_id).value}")
        return request

    def _live_cell(self, session_id: str, cell_id: str, noun: str, name: object) -> _Cell:
        session = self._sessions.get(session_id)
        if session is None:
            raise Violation(f"{noun} {name} names session {session_id}: it is {self.session_state(session_id).value}")
        _next(self._session_table, session.state, SessionEvent.CELL, "session", session_id)
        cell = session.cells.get(cell_id)
        if cell is None:
            raise Violation(f"{noun} {name} names cell {cell_id} of session {session_id}, which is not live")
        return cell

    def _failed(self, request: _Request) -> None:
        session = self._sessions.get(request.session_id)
        if session is None:
            return
        if session.opener == request.id:
            # Only while it opens: the request that opens a session is answered once.
            assert self._session_table[session.state][SessionEvent.REFUSED] is SessionState.UNKNOWN
            del self._sessions[request.session_id]
        elif session.closer == request.id:
            session.state = self._session_table[session.state][SessionEvent.KEPT]
            session.closer = None

    def _forget_terminate(self, session_id: str, cell_id: str) -> None:
        self._terminates[session_id, cell_id] -= 1
        if self._terminates[session_id, cell_id] == 0:
            del self._terminates[session_id, cell_id]

    def _opened(self, request: _Request, session_id: str) -> None:
        _same("session", session_id, request.session_id, request)
        session = self._sessions.get(session_id)
        if session is None or session.opener != request.id:
            raise Violation(
                f"request {request} cannot open session {session_id}: it is {self.session_state(session_id).value}"
            )
        following = _next(self._session_table, session.state, SessionEvent.READY, "session", session_id)
        _add(self._used_names, session_id)
        session.state = following

    def _started(self, request: _Request, cell_id: str) -> None:
        session = self._sessions.get(request.session_id)
        if session is None:
            state = self.session_state(request.session_id)
            raise Violation(f"request {request} starts a cell in session {request.session_id}: it is {state.value}")
        _next(self._session_table, session.state, SessionEvent.CELL, "session", request.session_id)
        number = parse_cell_id(cell_id)
        if number is None:
            raise Violation(
                f"request {request} starts cell {cell_id!r}: a cell id is a decimal number from 1 to 2**53 - 1"
            )
        if not _add(session.cell_ids, number):
            raise Violation(f"request {request} starts cell {cell_id} of session {request.session_id} a second time")
        following = self._cell_table[CellState.STARTING][CellEvent.STARTED]
        if (request.session_id, cell_id) in self._terminates:
            # The client guessed the id and asked before it knew: the two messages may have crossed.
            following = self._cell_table[following][CellEvent.TERMINATE]
        session.cells[cell_id] = _Cell(following)
        request.cell_id = cell_id

    def _observed(self, request: _Request, value: WaitCompleted) -> None:
        outcome = value.outcome
        if outcome.live_cell is UNSET:
            assert outcome.missing_cell is not UNSET
            _same("cell", outcome.missing_cell.response.cell_id, request.cell_id, request)
            return
        cell = self._live_cell(request.session_id, request.cell_id, "request", request)
        cell.state = self._told(outcome.live_cell, request, cell)

    def _told(self, envelope: ResponseEnvelope, request: _Request, cell: _Cell) -> CellState:
        """Return the state of a cell once this has been said about it."""
        response = envelope.response
        _same("cell", response.cell_id, request.cell_id, request)
        event = CellEvent.ENDED if envelope.yielded is UNSET else CellEvent.YIELDED
        return _next(self._cell_table, cell.state, event, "cell", request.cell_id)

    def _closed(self, request: _Request, session_id: str) -> None:
        _same("session", session_id, request.session_id, request)
        session = self._sessions.get(session_id)
        if session is None or session.closer != request.id:
            raise Violation(
                f"request {request} cannot close session {session_id}: it is {self.session_state(session_id).value}"
            )
        _next(self._session_table, session.state, SessionEvent.CLOSED, "session", session_id)
        if session.cells:
            raise Violation(
                f"request {request} closes session {session_id} while its cell {next(iter(session.cells))} is live"
            )
        del self._sessions[session_id]


def _add(used: IdSet | NameSet, entry: int | str) -> bool:
    try:
        return used.add(entry)  # type: ignore[arg-type]
    except ScatteredIdsError as error:
        raise Violation(str(error)) from None


def _same(noun: str, answered: str, asked: str, request: _Request) -> None:
    if answered != asked:
        raise Violation(f"request {request} is about {noun} {asked}, but the answer names {answered}")
