"""A client and a host connection joined by a link that cuts, delays and interleaves bytes at will."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from codemode_protocol import messages as m
from codemode_protocol.errors import LocalProtocolError, RemoteProtocolError
from codemode_protocol.framing import encode_frame
from codemode_protocol.state import ConnectionState, RequestState, SessionState
from tests.protocol.conversations import Conversation


class Link(RuleBasedStateMachine):
    """What one says the other hears, in order; both agree; nothing is kept of what is over."""

    @initialize()
    def greet(self) -> None:
        self.talk = Conversation()
        self.talk.greet()

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
    def client_uses_an_id_again(self, data: st.DataObject) -> None:
        used = [message for message in self.talk.client_said if not isinstance(message, m.OperationCancel)]
        if used:
            with pytest.raises(LocalProtocolError):
                self.talk.client.send(data.draw(st.sampled_from(used)))

    @rule(data=st.data())
    def host_uses_an_id_again(self, data: st.DataObject) -> None:
        if self.talk.host_said:
            with pytest.raises(LocalProtocolError):
                self.talk.host.send(data.draw(st.sampled_from(self.talk.host_said)))

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
        assert is_part_of(talk.client_heard, talk.host_said)
        assert is_part_of(talk.host_heard, talk.client_said)
        crossing = (m.OperationCancel, m.DelegateResponse, m.DelegateCancel)
        assert starts_with(talk.host_said, talk.client_heard, crossing)
        assert starts_with(talk.client_said, talk.host_heard, crossing)

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


def is_part_of(heard: list[Any], said: list[Any]) -> bool:
    """Whether `heard` is `said` with some left out."""
    rest = iter(said)
    return all(any(message == other for other in rest) for message in heard)


def starts_with(said: list[Any], heard: list[Any], crossing: tuple[type, ...]) -> bool:
    """Whether nothing was left out but messages that cross with what ends them."""
    said = [message for message in said if not isinstance(message, crossing)]
    heard = [message for message in heard if not isinstance(message, crossing)]
    return said[: len(heard)] == heard


TestLink = Link.TestCase
TestLink.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@pytest.mark.fuzz
class TestLinkForLong(Link.TestCase):  # type: ignore[valid-type,misc]
    settings = settings(max_examples=3_000, stateful_step_count=150, deadline=None)


@pytest.mark.parametrize("seed", range(20))
def test_after_a_violation_nothing_more_is_said_or_heard(seed: int) -> None:
    chance = random.Random(seed)
    talk = Conversation()
    talk.greet()
    for _ in range(80):
        chance.choice([talk.client_acts, talk.host_acts])(chance.choice)
        talk.settle()
    ends: list[tuple[Any, m.Message]] = [
        (talk.host, m.OperationRequest(1, m.OpenSession("x"))),
        (talk.client, m.CellClosed("nobody", "1")),
    ]
    end, bad = chance.choice(ends)
    with pytest.raises(RemoteProtocolError) as first:
        end.receive_data(encode_frame(bad))

    assert end.state is ConnectionState.FAILED
    size = end.size()
    for message in [*talk.client_said, *talk.host_said]:
        with pytest.raises(LocalProtocolError):
            end.send(message)
        with pytest.raises(RemoteProtocolError) as again:
            end.receive_data(encode_frame(message))
        assert again.value is first.value
    assert end.size() == size
