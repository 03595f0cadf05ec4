"""A session's states on one host: every event in every state does what the table has, or is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import copy_context

import pytest

from codemode_client._loops.interface import Loop
from codemode_client._loops.slots import Slot
from codemode_client._session.cells import Answer, Operation
from codemode_client._session.host_session import TRANSITIONS, HostSession, HostSessionState
from codemode_client.counters import Tally
from codemode_protocol.errors import CodeModeError, HostLostError, RequestFailedError
from codemode_protocol.messages import (
    Failure,
    OpenSession,
    Request,
    SessionClosed,
    SessionReady,
    ShutdownSession,
    Success,
)
from tests.client.loops import enter_loop
from tests.client.recorder import Recorder

pytestmark = pytest.mark.loops("asyncio")  # the states are the same on each; what is of the loop, test_loops has

S = HostSessionState
REFUSED = None
"""The event cannot come in that state: it is a fault of the client's own."""


class Host:
    """A host that answers when the test says so, and remembers what it was asked."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.tally = Tally()
        self.shutdown_timeout = 3600.0
        self.gone: Slot[None] = Slot(loop)
        self.outlet = self
        self.pid = 4711
        self.lost = False
        self.closing = False
        self.full = False
        self.requests: list[Request] = []
        self.operations: list[Operation] = []
        self.unbound = 0
        self.failures: list[str] = []

    def request(self, request: Request, operation: Operation) -> int:
        self.requests.append(request)
        self.operations.append(operation)
        return len(self.requests)

    def cancel(self, request_id: int) -> None:
        raise AssertionError

    def cell_is_live(self, session_id: str, host_id: str) -> bool:
        raise AssertionError

    async def room(self, *, ahead: bool = False) -> None:
        raise AssertionError

    def error(self) -> CodeModeError:
        return HostLostError("of this host")

    def unbind(self, session: HostSession) -> None:
        self.unbound += 1

    def fail(self, cause: str, *, way: str | None = None) -> None:
        self.failures.append(cause)


def answer(session: HostSession, kind: type[Request], result: Answer) -> None:
    """Answer the request of that kind, whether it has been answered before or not."""
    host = session.host
    assert isinstance(host, Host)
    asked = [one for request, one in zip(host.requests, host.operations, strict=True) if isinstance(request, kind)]
    assert len(asked) == 1, "what was not asked for is not answered"
    asked[0].answer(result)


def answer_opening(session: HostSession) -> None:
    answer(session, OpenSession, Success(SessionReady("s")))


def refuse_opening(session: HostSession) -> None:
    answer(session, OpenSession, Failure("no"))


def answer_shutdown(session: HostSession) -> None:
    answer(session, ShutdownSession, Success(SessionClosed("s")))


def refuse_shutdown(session: HostSession) -> None:
    answer(session, ShutdownSession, Failure("no"))


Event = Callable[[HostSession], None]

WAYS: dict[HostSessionState, list[Event]] = {
    S.OPENING: [],
    S.UNWANTED: [HostSession.shut_down],
    S.OPEN: [answer_opening],
    S.CLOSING: [answer_opening, HostSession.shut_down],
    S.CLOSED: [answer_opening, HostSession.shut_down, answer_shutdown],
    S.REFUSED: [refuse_opening],
    S.LOST: [answer_opening, HostSession.shut_down, HostSession.lose_host],
    S.REAPED: [answer_opening, HostSession.shut_down, HostSession.lose_host, HostSession.reap_host],
}
"""How a session comes into each state, after it was asked to open."""

EVENTS: Mapping[Event, Mapping[HostSessionState, HostSessionState]] = {
    answer_opening: {S.OPENING: S.OPEN, S.UNWANTED: S.CLOSING},
    refuse_opening: {S.OPENING: S.REFUSED, S.UNWANTED: S.REFUSED},
    HostSession.shut_down: {
        **{state: state for state in S},  # asked for once, it is asked for no more
        S.OPENING: S.UNWANTED,
        S.OPEN: S.CLOSING,
    },
    # An answer that comes when the host is lost says nothing any more.
    answer_shutdown: {S.CLOSING: S.CLOSED, **{state: state for state in (S.CLOSED, S.LOST, S.REAPED)}},
    refuse_shutdown: {S.CLOSING: S.CLOSED, **{state: state for state in (S.CLOSED, S.LOST, S.REAPED)}},
    HostSession.lose_host: {S.OPENING: S.LOST, S.UNWANTED: S.LOST, S.OPEN: S.LOST, S.CLOSING: S.LOST},
    HostSession.reap_host: {S.LOST: S.REAPED},
}
"""Where each event leads; a state that is not there is one in which it cannot come."""


@asynccontextmanager
async def open_session(state: HostSessionState) -> AsyncIterator[tuple[HostSession, Host]]:
    async with enter_loop() as loop:
        host = Host(loop)
        session = HostSession(host, "s", Recorder(), 1, copy_context())
        session.open()
        for event in WAYS[state]:
            event(session)
        assert session.state is state
        yield session, host
        for operation in host.operations:
            operation.lose()  # a shutdown's time is not waited for


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
@pytest.mark.parametrize("state", S, ids=lambda state: state.value)
async def test_every_event_in_every_state_leads_where_the_table_says_or_is_refused(
    state: HostSessionState, event: Event
) -> None:
    expected = EVENTS[event].get(state, REFUSED)
    async with open_session(state) as (session, _):
        if expected is REFUSED:
            with pytest.raises(AssertionError):
                event(session)
            expected = state
        else:
            event(session)
        assert session.state is expected
        assert expected is state or expected in TRANSITIONS[state]


def test_every_transition_of_the_table_is_one_that_an_event_makes() -> None:
    made = {(state, after) for after_by_state in EVENTS.values() for state, after in after_by_state.items()}
    in_table = {(state, after) for state, successors in TRANSITIONS.items() for after in successors}
    assert {(state, after) for state, after in made if state is not after} == in_table
    assert set(TRANSITIONS) == set(S)


@pytest.mark.parametrize("state", S, ids=lambda state: state.value)
async def test_a_state_says_whether_the_session_can_be_used(state: HostSessionState) -> None:
    async with open_session(state) as (session, host):
        assert session.over == (TRANSITIONS[state] == frozenset())
        assert session.lost == (session.over or state is S.LOST)
        assert session.closed.done == session.over
        assert session.opened.done == (state not in (S.OPENING, S.UNWANTED))
        assert host.unbound == (state in (S.CLOSED, S.REFUSED))
        assert [type(request) for request in host.requests] == [OpenSession] + [ShutdownSession] * (
            state in (S.CLOSING, S.CLOSED, S.LOST, S.REAPED)
        )


@pytest.mark.parametrize("event", [refuse_opening, refuse_shutdown])
async def test_a_refusal_is_the_error_of_what_was_asked(event: Event) -> None:
    async with open_session(S.OPENING if event is refuse_opening else S.CLOSING) as (session, _):
        event(session)
        with pytest.raises(RequestFailedError, match="no"):
            await (session.opened if event is refuse_opening else session.closed).get()


async def test_a_shutdown_that_is_not_answered_in_its_time_is_a_fault_of_the_host() -> None:
    async with open_session(S.OPEN) as (session, host):
        host.shutdown_timeout = 0.001
        session.shut_down()
        await Slot[None](host.loop).wait(0.05)
        assert host.failures == ["the host did not shut session s down within 0.001 s"]
