"""How a connection begins: hello, and what may be answered to it."""

from __future__ import annotations

import pytest

from codemode_protocol import messages as m
from codemode_protocol.connection import ClientConnection, HostConnection
from codemode_protocol.errors import LocalProtocolError
from codemode_protocol.framing import encode_frame
from codemode_protocol.state import ConnectionState
from tests.protocol import wire
from tests.protocol.connections import (
    expect_client_refuses,
    expect_host_refuses,
    start_client,
    start_host,
)


def test_the_handshake_makes_both_sides_ready() -> None:
    near, far = ClientConnection(optional_capabilities={"b", "a"}), HostConnection(capabilities={"a", "c"})
    (hello,) = far.receive_data(near.hello())
    assert hello == m.Hello([1], [], ["a", "b"])
    assert not far.ready
    assert near.receive_data(far.negotiate(hello)) == [m.Ready(1, ["a"])]
    assert near.ready
    assert far.ready


def test_a_client_need_not_wait_for_the_answer_to_its_hello() -> None:
    far = HostConnection()
    first, second = far.receive_data(encode_frame(m.Hello([1], [], [])) + encode_frame(wire.open_session()[0]))
    assert far.negotiate(first)
    assert second == wire.open_session()[0]
    assert far.send(wire.failed(1))


def test_a_host_says_nothing_before_it_has_answered_the_hello() -> None:
    far = HostConnection()
    far.receive_data(encode_frame(m.Hello([1], [], [])) + encode_frame(wire.open_session()[0]))
    with pytest.raises(LocalProtocolError, match="the connection is negotiating"):
        far.send(wire.failed(1))


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (m.Hello([2], [], []), b'{"type":"noCompatibleVersion","supportedVersions":[1]}'),
        (m.Hello([1], ["x"], []), b'{"type":"missingRequiredCapability","capability":"x"}'),
        (
            wire.open_session()[0],
            b'{"type":"invalidHello","message":"first message must be connection/hello"}',
        ),
    ],
)
def test_a_first_message_that_does_not_do_is_rejected_and_nothing_after_it_counts(
    hello: m.ClientMessage, reason: bytes
) -> None:
    far = HostConnection()
    first, *_ = far.receive_data(encode_frame(hello) + encode_frame(wire.open_session()[0]))
    assert far.negotiate(first)[4:] == b'{"type":"connection/rejected","reason":' + reason + b"}"
    assert far.state is ConnectionState.CLOSED
    assert far.receive_data(b"\xff\xff\xff\xff") == []
    far.receive_eof()
    assert far.failure is None


def test_a_rejected_client_hears_the_reason_and_nothing_after_it() -> None:
    near = ClientConnection()
    near.hello()
    rejected = m.Rejected(m.InvalidHello("no"))
    assert near.receive_data(encode_frame(rejected) + b"\xff\xff\xff\xff") == [rejected]
    assert near.state is ConnectionState.CLOSED


def test_a_second_hello_ends_the_connection() -> None:
    expect_host_refuses(start_host(), m.Hello([1], [], []), "received a second code-mode client hello")


def test_an_answer_that_does_not_fit_the_hello_ends_the_connection() -> None:
    near = ClientConnection()
    near.hello()
    expect_client_refuses(near, m.Ready(2, []), "selects version 2")


def test_hello_and_ready_are_not_sent_as_messages() -> None:
    with pytest.raises(LocalProtocolError, match="connection/hello cannot be sent"):
        start_client().send(m.Hello([1], [], []))
    with pytest.raises(LocalProtocolError, match="connection/ready cannot be sent"):
        start_host().send(m.Ready(1, []))
