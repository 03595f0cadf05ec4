"""A state machine that drives one end of a connection against its rules.

The end under test and one of ours at the other side talk at random, joined by a link that cuts, delays and interleaves
bytes at will. What one says the other hears, in order; with nothing under way both know the same; nothing is kept of
what is over; and what is against the rules is refused.
"""

from __future__ import annotations

from codemode_protocol.testing import _hypothesis  # noqa: F401 - first, to say which extra is missing

# isort: split
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from codemode_protocol import messages as m
from codemode_protocol.connection import ClientConnection, HostConnection
from codemode_protocol.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from codemode_protocol.framing import encode_frame
from codemode_protocol.state import ConnectionState, RequestState, Role, SessionState
from codemode_protocol.testing.exchange import Exchange


class ConnectionMachine(RuleBasedStateMachine):
    """Drives a connection. A subclass says of which role it is, and may make another one than ours."""

    role: ClassVar[Role]
    """Which of the two ends is under test."""

    def make_client(self) -> ClientConnection:
        """Return a client's connection that has said nothing yet."""
        return ClientConnection()

    def make_host(self) -> HostConnection:
        """Return a host's connection that has heard nothing yet."""
        return HostConnection()

    @initialize(ending=st.sampled_from(["this end says no more", "the peer says no more", "the peer breaks a rule"]))
    def greet(self, ending: str) -> None:
        """Do the handshake; how the conversation ends is settled, too."""
        self._ending = ending
        self.talk: Exchange = Exchange(self.make_client(), self.make_host())
        self.talk.greet()

    def teardown(self) -> None:
        """End the conversation in the middle of it."""
        if self._ending is not None:
            self.talk.settle()
            if self._ending == "this end says no more":
                self._say_no_more()
            elif self._ending == "the peer says no more":
                self._hear_no_more()
            else:
                self._hear_what_breaks_a_rule()

    _ending: str | None = None

    @property
    def _tested(self) -> Any:
        return self.talk.client if self.role is Role.CLIENT else self.talk.host

    @property
    def _said(self) -> list[Any]:
        """What the end under test has said that it may not say again."""
        if self.role is Role.HOST:
            return self.talk.host_said
        return [message for message in self.talk.client_said if not isinstance(message, m.OperationCancel)]

    @rule(data=st.data())
    def client_acts(self, data: st.DataObject) -> None:
        self.talk.client_acts(lambda choices: data.draw(st.sampled_from(choices)))

    @rule(data=st.data())
    def host_acts(self, data: st.DataObject) -> None:
        self.talk.host_acts(lambda choices: data.draw(st.sampled_from(choices)))

    @rule(size=st.integers(0, 300))
    def link_carries_to_the_host(self, size: int) -> None:
        self.talk.carry_to_host(size)

    @rule(size=st.integers(0, 300))
    def link_carries_to_the_client(self, size: int) -> None:
        self.talk.carry_to_client(size)

    @rule(data=st.data())
    def an_id_is_used_again(self, data: st.DataObject) -> None:
        """Nothing is sent, and nothing has changed."""
        if self._said:
            message = data.draw(st.sampled_from(self._said))
            size = self._tested.size()
            refuses(LocalProtocolError, lambda: self._tested.send(message))
            assert self._tested.size() == size

    @rule()
    def everything_arrives(self) -> None:
        """With nothing under way both sides know the same."""
        talk = self.talk
        talk.settle()
        for session in talk.sessions:
            assert talk.client.session_state(session) is talk.host.session_state(session)
            assert talk.client.live_cells(session) == talk.host.live_cells(session)
            for cell in talk.host.live_cells(session):
                assert talk.client.cell_state(session, cell) is talk.host.cell_state(session, cell)
                assert talk.client.pending_calls(session, cell) == talk.host.pending_calls(session, cell)
        for id in talk.requests:
            assert talk.client.request_state(id) is talk.host.request_state(id)
        assert talk.client.size() == talk.host.size()

    @invariant()
    def what_one_says_the_other_hears_in_order(self) -> None:
        talk = self.talk
        assert _is_part_of(talk.client_heard, talk.host_said)
        assert _is_part_of(talk.host_heard, talk.client_said)
        crossing = (m.OperationCancel, m.DelegateResponse, m.DelegateCancel)
        assert _starts_with(talk.host_said, talk.client_heard, crossing)
        assert _starts_with(talk.client_said, talk.host_heard, crossing)

    @invariant()
    def nobody_broke_a_rule(self) -> None:
        assert self.talk.client.ready
        assert self.talk.host.ready

    @invariant()
    def memory_follows_what_is_live(self) -> None:
        talk = self.talk
        for end in (talk.client, talk.host):
            live = 0
            for session in talk.sessions:
                cells = end.live_cells(session)
                live += end.session_state(session) not in (SessionState.UNKNOWN, SessionState.CLOSED)
                live += len(cells) + sum(len(end.pending_calls(session, cell)) for cell in cells)
            over = (RequestState.NEW, RequestState.ANSWERED)
            open_requests = sum(end.request_state(id) not in over for id in talk.requests)
            # Per live thing a few entries; and the intervals of ids, which close as what is under way arrives.
            under_way = len(talk.client_said) - len(talk.host_heard) + len(talk.host_said) - len(talk.client_heard)
            assert end.size() <= 3 * (live + open_requests) + under_way + len(talk.sessions) // 2 + 6

    def _say_no_more(self) -> None:
        """Refuse what this end would say after its last word."""
        self._tested.close()
        self._refuses_to_say_anything()

    def _hear_no_more(self) -> None:
        """Tell the end of input, which may be told twice; nothing can come after it."""
        self._tested.receive_eof()
        self._tested.receive_eof()
        assert self._tested.state in (ConnectionState.CLOSED, ConnectionState.CLOSING)
        refuses(LocalProtocolError, lambda: self._tested.receive_data(b"x"))

    def _hear_what_breaks_a_rule(self) -> None:
        """Nothing more is said or heard, and the first cause stays."""
        end = self._tested
        bad = m.CellClosed("nobody", "1") if self.role is Role.CLIENT else m.Hello([1], [], [])
        first = refuses(RemoteProtocolError, lambda: end.receive_data(encode_frame(bad)))
        assert end.state is ConnectionState.FAILED
        size = end.size()
        self._refuses_to_say_anything()
        for message in [bad, *self.talk.client_said, *self.talk.host_said]:
            data = encode_frame(message)
            assert refuses(RemoteProtocolError, partial(end.receive_data, data)) is first
        assert end.size() == size

    def _refuses_to_say_anything(self) -> None:
        for message in [*self.talk.client_said, *self.talk.host_said]:
            refuses(LocalProtocolError, partial(self._tested.send, message))


def refuses(kind: type[ProtocolError], function: Callable[[], object]) -> ProtocolError:
    """Return the error with which a call is refused.

    Raises:
        AssertionError: It is not.
    """
    try:
        done = function()
    except kind as error:
        return error
    raise AssertionError(f"it should have raised {kind.__name__}, but returned {done!r}")


def _is_part_of(heard: list[Any], said: list[Any]) -> bool:
    """Return whether `heard` is `said` with some left out."""
    rest = iter(said)
    return all(any(message == other for other in rest) for message in heard)


def _starts_with(said: list[Any], heard: list[Any], crossing: tuple[type, ...]) -> bool:
    """Return whether nothing was left out but messages that cross with what ends them."""
    said = [message for message in said if not isinstance(message, crossing)]
    heard = [message for message in heard if not isinstance(message, crossing)]
    return said[: len(heard)] == heard
