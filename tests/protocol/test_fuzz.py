"""Whatever bytes come: the outcome is messages, or one RemoteProtocolError that stays the first."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codemode_protocol import messages as m
from codemode_protocol.connection import ClientConnection, HostConnection
from codemode_protocol.errors import LocalProtocolError, RemoteProtocolError
from codemode_protocol.framing import encode_frame, encode_line
from codemode_protocol.recording import RecordingError, decode_recording, transcript
from codemode_protocol.source import SourceError, parse_source
from codemode_protocol.testing.exchange import Exchange
from codemode_protocol.testing.strategies import client_messages, cuts, host_messages
from tests.protocol.wire import CLIENT_WIRE, HOST_WIRE, Connection, tell

LONG = settings(max_examples=20_000)


def hear(connection: Connection, *pieces: bytes) -> None:
    """Let a connection hear bytes. Anything but messages and RemoteProtocolError gets out of here as a failure."""
    heard = 0
    first: RemoteProtocolError | None = None
    for piece in pieces:
        raised: RemoteProtocolError | None = None
        try:
            heard += len(connection.receive_data(piece))
            connection.raise_for_violation()
        except RemoteProtocolError as error:
            raised = error
        first = first or connection.failure
        assert connection.failure is first
        assert raised in (None, first)
        if first is not None:
            with pytest.raises(LocalProtocolError):
                tell(connection, HOST_WIRE[-1][0] if isinstance(connection, HostConnection) else CLIENT_WIRE[-1][0])
    # A message is at least two bytes and a header: nothing comes out of nothing.
    assert 6 * heard <= sum(map(len, pieces))


def ends() -> list[tuple[Connection, Callable[[m.Message], bytearray]]]:
    """Both ends at the start, after the handshake, and in the middle of a conversation; and how a message is framed."""

    def middle(seed: int) -> Exchange:
        chance = random.Random(seed)
        talk = Exchange()
        talk.greet()
        for _ in range(60):
            chance.choice([talk.client_acts, talk.host_acts])(chance.choice)
            talk.settle()
        return talk

    first, second = middle(0), middle(1)
    framed: list[Connection] = [
        HostConnection(),
        ClientConnection(),
        first.host,
        first.client,
        second.host,
        second.client,
    ]
    lines = HostConnection(framing="lines", max_payload=1000)
    return [*((connection, encode_frame) for connection in framed), (lines, encode_line)]


def recorded(seed: int) -> list[tuple[str, bytes]]:
    """A conversation's bytes, by direction, as they were said."""
    chance = random.Random(seed)
    talk = Exchange()
    talk.greet()
    for _ in range(60):
        chance.choice([talk.client_acts, talk.host_acts])(chance.choice)
        if chance.random() < 0.5:
            talk.settle()
    return talk.records


@st.composite
def mutated(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """The bytes of a real conversation, to the host and to the client, with a few changes."""
    sides = []
    records = recorded(draw(st.integers(0, 50)))
    for direction in ("to host", "to client"):
        data = bytearray(b"".join(piece for to, piece in records if to == direction))
        for _ in range(draw(st.integers(0, 4))):
            at = draw(st.integers(0, len(data)))
            end = draw(st.integers(at, min(len(data), at + 40)))
            change = draw(st.sampled_from(["replace", "delete", "insert", "double", "flip"]))
            if change == "replace":
                data[at:end] = draw(st.binary(min_size=end - at, max_size=end - at))
            elif change == "delete":
                del data[at:end]
            elif change == "insert":
                data[at:at] = draw(st.binary(max_size=20))
            elif change == "double":
                data[at:at] = data[at:end]
            elif at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
        sides.append(bytes(data))
    return sides[0], sides[1]


def check_random_bytes(data: st.DataObject, raw: bytes) -> None:
    for connection, _ in ends():
        hear(connection, *data.draw(cuts(raw)))


def check_legal_messages_at_random(data: st.DataObject) -> None:
    for connection, encode in ends():
        messages = data.draw(
            st.lists(client_messages if isinstance(connection, HostConnection) else host_messages, max_size=6)
        )
        stream = b"".join(encode(message) for message in messages)
        hear(connection, *data.draw(cuts(stream)))


def check_mutated_conversation(data: st.DataObject, sides: tuple[bytes, bytes]) -> None:
    to_host, to_client = sides
    host, client = HostConnection(), ClientConnection()
    hello = client.hello()
    hear(host, *data.draw(cuts(to_host)))
    hear(client, *data.draw(cuts(to_client)))
    greeted = HostConnection()
    (first,) = greeted.receive_data(hello)
    greeted.negotiate(first)
    hear(greeted, *data.draw(cuts(to_host[len(hello) :])))


def check_files(raw: bytes, text: str) -> None:
    for data in (raw, b"codemode-recording 1\n" + raw):
        with suppress(RecordingError):
            assert list(transcript(decode_recording(data)))
    with suppress(SourceError):
        assert text.endswith(parse_source(text).source)


@given(st.data(), st.binary(max_size=200))
@settings(max_examples=50)
def test_random_bytes_give_messages_or_a_violation(data: st.DataObject, raw: bytes) -> None:
    check_random_bytes(data, raw)


@given(st.data())
@settings(max_examples=40)
def test_any_messages_in_any_order_give_messages_or_a_violation(data: st.DataObject) -> None:
    check_legal_messages_at_random(data)


@given(st.data(), mutated())
@settings(max_examples=100)
def test_a_mutated_conversation_gives_messages_or_a_violation(data: st.DataObject, sides: tuple[bytes, bytes]) -> None:
    check_mutated_conversation(data, sides)


@given(st.binary(max_size=200), st.text())
def test_any_file_is_read_or_refused(raw: bytes, text: str) -> None:
    check_files(raw, text)


@pytest.mark.fuzz
@given(st.data(), st.binary(max_size=2000))
@LONG
def test_fuzz_random_bytes(data: st.DataObject, raw: bytes) -> None:
    check_random_bytes(data, raw)


@pytest.mark.fuzz
@given(st.data())
@LONG
def test_fuzz_any_messages_in_any_order(data: st.DataObject) -> None:
    check_legal_messages_at_random(data)


@pytest.mark.fuzz
@given(st.data(), mutated())
@LONG
def test_fuzz_mutated_conversations(data: st.DataObject, sides: tuple[bytes, bytes]) -> None:
    check_mutated_conversation(data, sides)


@pytest.mark.fuzz
@given(st.binary(max_size=2000), st.text())
@LONG
def test_fuzz_files(raw: bytes, text: str) -> None:
    check_files(raw, text)
