"""Every pair of state and event: those that the tables have do as they say, all others are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from codemode_protocol import messages as m
from codemode_protocol import values as v
from codemode_protocol.connection import ClientConnection, HostConnection
from codemode_protocol.errors import LocalProtocolError, RemoteProtocolError
from codemode_protocol.framing import encode_frame
from codemode_protocol.state import (
    CALL,
    REQUEST,
    TRANSITIONS,
    CallEvent,
    CallState,
    CellEvent,
    CellState,
    ConnectionEvent,
    ConnectionState,
    Event,
    Machine,
    RequestEvent,
    RequestState,
    Role,
    SessionEvent,
    SessionState,
    State,
)
from tests.protocol import wire
from tests.protocol.wire import Connection, sends, snapshot, talk, tell

EVENTS: dict[Machine, type[Event]] = {
    Machine.CONNECTION: ConnectionEvent,
    Machine.SESSION: SessionEvent,
    Machine.CELL: CellEvent,
    **dict.fromkeys(REQUEST[Role.CLIENT], RequestEvent),
    **dict.fromkeys(CALL[Role.CLIENT], CallEvent),
}

# How to bring a connection, its handshake done, into each state of one machine: a session "s", its cell "1", request 7
# or delegate call 9. An execute (3) and a wait (4) stand by to be answered.

_OPEN = [*wire.open_session(), wire.execute()]
SESSION: dict[SessionState, list[m.Message]] = {
    SessionState.UNKNOWN: [],
    SessionState.OPENING: wire.open_session()[:1],
    SessionState.OPEN: _OPEN,
    SessionState.CLOSING: [*_OPEN, wire.shutdown(2)],
    SessionState.CLOSED: [*_OPEN, wire.shutdown(2), wire.closed(2)],
}
SESSION_EVENTS: dict[SessionEvent, m.Message] = {
    SessionEvent.OPEN: m.OperationRequest(50, m.OpenSession("s")),
    SessionEvent.READY: m.OperationResponse(1, m.Success(m.SessionReady("s"))),
    SessionEvent.REFUSED: wire.failed(1),
    SessionEvent.EXECUTE: wire.execute(50),
    SessionEvent.OBSERVE: wire.wait(50),
    SessionEvent.CELL: wire.started(3),
    SessionEvent.SHUTDOWN: wire.shutdown(50),
    SessionEvent.KEPT: wire.failed(2),
    SessionEvent.CLOSED: wire.closed(2),
}

_STARTING = [*_OPEN, wire.wait(4)]
_LIVE = [*_STARTING, wire.started(), m.InitialResponse(3, m.Failure("too large"))]
_ENDED = [*_STARTING, wire.started(), wire.initial(3, v.Result("1", []))]
CELL: dict[CellState, list[m.Message]] = {
    CellState.STARTING: _STARTING,
    CellState.LIVE: _LIVE,
    CellState.YIELDED: [*_STARTING, wire.started(), wire.initial(3, v.Yielded("1", []))],
    CellState.TERMINATING: [*_LIVE, wire.terminate(5)],
    CellState.COMPLETED: _ENDED,
    CellState.CLOSED: [*_ENDED, m.CellClosed("s", "1")],
}
CELL_EVENTS: dict[CellEvent, m.Message] = {
    CellEvent.STARTED: wire.started(3),
    CellEvent.REFUSED: wire.failed(3),
    CellEvent.CALL: wire.tool_call(9),
    CellEvent.YIELDED: wire.live(4, v.Yielded("1", [])),
    CellEvent.ENDED: wire.live(4, v.Terminated("1", [])),
    CellEvent.TERMINATE: wire.terminate(50),
    CellEvent.CLOSED: m.CellClosed("s", "1"),
}

REQUESTS: dict[Machine, m.OperationRequest] = {
    Machine.OPEN: m.OperationRequest(7, m.OpenSession("t")),
    Machine.EXECUTE: wire.execute(7),
    Machine.WAIT: wire.wait(7),
    Machine.TERMINATE: wire.terminate(7),
    Machine.SHUTDOWN: wire.shutdown(7),
}


def request_recipe(machine: Machine, state: State) -> list[m.Message]:
    request = REQUESTS[machine]
    following: dict[State, list[m.Message]] = {
        RequestState.NEW: [],
        RequestState.PENDING: [request],
        RequestState.CANCELLED: [request, m.OperationCancel(7)],
        RequestState.STARTED: [request, wire.started(7)],
        RequestState.ANSWERED: [request, wire.failed(7)],
    }
    return [*wire.open_session(), *following[state]]


REQUEST_EVENTS: dict[RequestEvent, m.Message] = {
    RequestEvent.CANCEL: m.OperationCancel(7),
    RequestEvent.SESSION_READY: m.OperationResponse(7, m.Success(m.SessionReady("t"))),
    RequestEvent.EXECUTION_STARTED: wire.started(7),
    RequestEvent.WAIT_COMPLETED: wire.missing(7),
    RequestEvent.SESSION_CLOSED: wire.closed(7),
    RequestEvent.FAILED: wire.failed(7),
    RequestEvent.INITIAL_RESPONSE: wire.initial(7, v.Result("1", [])),
}


def call_recipe(machine: Machine, state: State) -> list[m.Message]:
    call, answer = CALLS[machine]
    following: dict[State, list[m.Message]] = {
        CallState.NEW: [],
        CallState.PENDING: [call],
        CallState.CANCELLED: [call, m.DelegateCancel(9)],
        CallState.ANSWERED: [call, answer],
    }
    return [*wire.open_session(), wire.execute(), wire.started(), *following[state]]


CALLS: dict[Machine, tuple[m.Message, m.Message]] = {
    Machine.TOOL_CALL: (wire.tool_call(9), wire.tool_result(9)),
    Machine.NOTIFICATION: (wire.notification(9), wire.delivered(9)),
}
CALL_EVENTS: dict[CallEvent, m.Message] = {
    CallEvent.CANCEL: m.DelegateCancel(9),
    CallEvent.TOOL_RESULT: wire.tool_result(9),
    CallEvent.DELIVERED: wire.delivered(9),
    CallEvent.FAILED: wire.call_failed(9),
}


def situation(role: Role, machine: Machine, state: State, event: Event) -> tuple[Connection, m.Message]:
    """A connection in a state, and the message that is the event there."""
    connection = ClientConnection() if role is Role.CLIENT else HostConnection()
    match state, event:
        case SessionState(), SessionEvent():
            return talk(connection, *SESSION[state]), SESSION_EVENTS[event]
        case CellState(), CellEvent():
            return talk(connection, *CELL[state]), CELL_EVENTS[event]
        case RequestState(), RequestEvent():
            message = REQUESTS[machine] if event is RequestEvent.REQUEST else REQUEST_EVENTS[event]
            return talk(connection, *request_recipe(machine, state)), message
        case CallState(), CallEvent():
            message = CALLS[machine][0] if event is CallEvent.REQUEST else CALL_EVENTS[event]
            return talk(connection, *call_recipe(machine, state)), message
    raise AssertionError(state)


def state_of(connection: Connection, machine: Machine) -> State | None:
    match machine:
        case Machine.SESSION:
            return connection.session_state("s")
        case Machine.CELL:
            return connection.cell_state("s", "1")
        case Machine.TOOL_CALL | Machine.NOTIFICATION:
            return connection.call_state(9)
        case _:
            return connection.request_state(7)


# What is over, or not there yet, is not stored: these states look the same from outside.
SHOWN: dict[State, State | None] = {
    CellState.STARTING: None,
    CellState.CLOSED: None,
    CallState.CANCELLED: CallState.ANSWERED,
}


def pairs(*, present: bool) -> list[object]:
    return list(_pairs(present=present))


def _pairs(*, present: bool) -> Iterator[object]:
    for role, machines in TRANSITIONS.items():
        for machine, table in machines.items():
            if machine is Machine.CONNECTION:
                continue
            for state, row in table.items():
                for event in EVENTS[machine]:
                    if (event in row) is present:
                        name = f"{role.value}-{machine.value}-{state.value}-{event.value}".replace(" ", "_")
                        yield pytest.param(role, machine, state, event, id=name)


@pytest.mark.parametrize(("role", "machine", "state", "event"), pairs(present=True))
def test_an_event_that_the_table_has_leads_where_the_table_says(
    role: Role, machine: Machine, state: State, event: Event
) -> None:
    connection, message = situation(role, machine, state, event)
    assert state_of(connection, machine) == SHOWN.get(state, state)

    tell(connection, message)

    following = TRANSITIONS[role][machine][state][event]  # type: ignore[index]
    assert state_of(connection, machine) == SHOWN.get(following, following)
    assert connection.failure is None


@pytest.mark.parametrize(("role", "machine", "state", "event"), pairs(present=False))
def test_an_event_that_the_table_does_not_have_is_refused(
    role: Role, machine: Machine, state: State, event: Event
) -> None:
    connection, message = situation(role, machine, state, event)
    before = snapshot(connection)

    if sends(connection, message):
        with pytest.raises(LocalProtocolError):
            tell(connection, message)
        assert snapshot(connection) == before
    else:
        with pytest.raises(RemoteProtocolError) as caught:
            tell(connection, message)
        assert connection.state is ConnectionState.FAILED
        assert connection.failure is caught.value
        assert state_of(connection, machine) == SHOWN.get(state, state)


# The connection as a whole, some of whose events are no messages.


def fail(connection: Connection) -> None:
    with pytest.raises(RemoteProtocolError):
        connection.receive_data(b"\xff\xff\xff\xff")


def connection_in(role: Role, state: ConnectionState) -> Connection:
    connection = ClientConnection() if role is Role.CLIENT else HostConnection()
    match state:
        case ConnectionState.IDLE:
            pass
        case ConnectionState.NEGOTIATING:
            tell(connection, m.Hello([1], [], []))
        case ConnectionState.READY:
            talk(connection, wire.open_session()[0])
        case ConnectionState.CLOSING:
            talk(connection, wire.open_session()[0])
            (connection.close if role is Role.CLIENT else connection.receive_eof)()
        case ConnectionState.CLOSED:
            talk(connection)
            connection.receive_eof()
            connection.close()
        case ConnectionState.FAILED:
            talk(connection)
            fail(connection)
    assert connection.state is state
    return connection


CONNECTION_EVENTS: dict[ConnectionEvent, Callable[[Connection], None]] = {
    ConnectionEvent.HELLO: lambda connection: tell(connection, m.Hello([1], [], [])),
    ConnectionEvent.READY: lambda connection: tell(connection, m.Ready(1, [])),
    ConnectionEvent.REJECTED: lambda connection: tell(connection, wire.HOST_WIRE[1][0]),
    ConnectionEvent.CLIENT_MESSAGE: lambda connection: tell(connection, wire.open_session(8, "t")[0]),
    ConnectionEvent.HOST_MESSAGE: lambda connection: tell(connection, wire.open_session()[1]),
    ConnectionEvent.CLOSE: lambda connection: connection.close(),
    ConnectionEvent.EOF: lambda connection: connection.receive_eof(),
    ConnectionEvent.VIOLATION: fail,
}
SAID = {
    Role.CLIENT: {ConnectionEvent.HELLO, ConnectionEvent.CLIENT_MESSAGE},
    Role.HOST: {ConnectionEvent.READY, ConnectionEvent.REJECTED, ConnectionEvent.HOST_MESSAGE},
}


def connection_pairs(*, present: bool) -> list[object]:
    return list(_connection_pairs(present=present))


def _connection_pairs(*, present: bool) -> Iterator[object]:
    for role in Role:
        for state, row in TRANSITIONS[role][Machine.CONNECTION].items():
            for event in ConnectionEvent:
                if (event in row) is present:
                    name = f"{role.value}-{state.value}-{event.value}".replace(" ", "_")
                    yield pytest.param(role, state, event, id=name)


@pytest.mark.parametrize(("role", "state", "event"), connection_pairs(present=True))
def test_a_connection_goes_where_its_table_says(role: Role, state: ConnectionState, event: ConnectionEvent) -> None:
    connection = connection_in(role, state)

    CONNECTION_EVENTS[event](connection)

    assert connection.state is TRANSITIONS[role][Machine.CONNECTION][state][event]  # type: ignore[index]


@pytest.mark.parametrize(("role", "state", "event"), connection_pairs(present=False))
def test_a_connection_refuses_what_its_table_does_not_have(
    role: Role, state: ConnectionState, event: ConnectionEvent
) -> None:
    connection = connection_in(role, state)
    before = snapshot(connection)
    first_cause = connection.failure

    if event is ConnectionEvent.CLOSE:
        connection.close()  # again: there is nothing to say any more
        assert snapshot(connection) == before
    elif event in SAID[role]:
        with pytest.raises(LocalProtocolError):
            CONNECTION_EVENTS[event](connection)
        assert snapshot(connection) == before
    elif state is ConnectionState.FAILED:
        with pytest.raises(RemoteProtocolError) as caught:
            (connection.receive_eof if event is ConnectionEvent.EOF else lambda: connection.receive_data(b"x"))()
        assert caught.value is first_cause
        assert snapshot(connection) == before
    elif event is ConnectionEvent.EOF:
        connection.receive_eof()  # again
        assert snapshot(connection) == before
    elif state is ConnectionState.CLOSED or (state is ConnectionState.CLOSING and role is Role.HOST):
        with pytest.raises(LocalProtocolError):
            connection.receive_data(b"x")  # the input was at its end
        assert snapshot(connection) == before
    else:
        with pytest.raises(RemoteProtocolError):
            CONNECTION_EVENTS[event](connection)
        assert connection.state is ConnectionState.FAILED


@pytest.mark.parametrize("role", Role)
def test_every_state_of_every_machine_has_a_row(role: Role) -> None:
    for machine, table in TRANSITIONS[role].items():
        states = set(type(next(iter(table))))
        if machine in REQUEST[role] and machine is not Machine.EXECUTE:
            states -= {RequestState.STARTED}
        assert set(table) == states


@pytest.mark.parametrize("role", Role)
def test_final_states_are_never_left(role: Role) -> None:
    final = {
        ConnectionState.CLOSED,
        ConnectionState.FAILED,
        SessionState.CLOSED,
        CellState.CLOSED,
        RequestState.ANSWERED,
        CallState.ANSWERED,
        CallState.CANCELLED,
    }
    for table in TRANSITIONS[role].values():
        for state, row in table.items():
            assert (state in final) is (set(row.values()) <= {state})


@pytest.mark.parametrize("role", Role)
def test_what_is_not_stored_is_the_same_for_every_kind(role: Role) -> None:
    for state in (RequestState.NEW, RequestState.ANSWERED):
        cancels = [table[state].get(RequestEvent.CANCEL) for table in REQUEST[role].values()]
        assert len(set(cancels)) == 1
    for call_state in (CallState.NEW, CallState.CANCELLED, CallState.ANSWERED):
        tool, notification = (table[call_state] for table in CALL[role].values())
        assert tool == notification
    # A call that is over is told apart by nothing: cancelled and answered ones are treated alike.
    for table in CALL[role].values():
        assert table[CallState.CANCELLED].keys() == table[CallState.ANSWERED].keys()


def test_a_message_after_the_violation_is_neither_heard_nor_said() -> None:
    host = talk(HostConnection(), *wire.open_session())
    bad = encode_frame(wire.open_session()[0])
    good = encode_frame(wire.shutdown(2))

    assert host.receive_data(good + bad + encode_frame(wire.shutdown(3))) == [wire.shutdown(2)]

    with pytest.raises(RemoteProtocolError, match="duplicate code-mode request id 1"):
        host.raise_for_violation()
    assert "duplicate code-mode request id 1" in str(host.failure)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="duplicate"):
            host.receive_data(good)
        with pytest.raises(LocalProtocolError):
            tell(host, wire.closed(2))
