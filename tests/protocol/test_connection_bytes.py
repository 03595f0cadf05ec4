"""What a connection makes of bytes: frames, lines, payloads that do not decode, ends of input."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from codemode_protocol import messages as m
from codemode_protocol import values as v
from codemode_protocol.connection import ClientConnection, HostConnection
from codemode_protocol.errors import LocalProtocolError, RemoteProtocolError
from codemode_protocol.framing import FrameTooLargeError, encode_frame
from codemode_protocol.state import ConnectionState
from tests.protocol import wire
from tests.protocol.connections import (
    STARTED,
    start_client,
    start_host,
)
from tests.protocol.wire import Connection


@pytest.mark.parametrize("framing", ["length", "lines"])
def test_both_framings_carry_a_conversation_byte_by_byte(framing: Any) -> None:
    near, far = ClientConnection(framing=framing), HostConnection(framing=framing)

    def carry(data: bytearray, to: Connection) -> list[Any]:
        return [message for at in range(len(data)) for message in to.receive_data(data[at : at + 1])]

    (hello,) = carry(near.hello(), far)
    carry(far.negotiate(hello), near)
    for message in [*STARTED, wire.initial(3, v.Result("1", wire.ITEMS)), m.CellClosed("s", "1")]:
        speaker, listener = (near, far) if wire.sends(near, message) else (far, near)
        assert carry(speaker.send(message), listener) == [message]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `type`"),
        (b'{"type":"x"}', r"IPC frame \(x\): Invalid value 'x' - at `\$.type`"),
        (b"\xef\xbb\xbf{}", "invalid character"),
        (b'{"type":"operation/cancel","id":1} x', "trailing characters"),
        (
            b'{"type":"operation/cancel","id":1,"z":1}',
            r"\(operation/cancel\): Object contains unknown field `z`",
        ),
        (b'{"type":"operation/cancel","id":null}', r"\(operation/cancel\): Expected `int`, got `null` - at `\$.id`"),
        (
            b'{"type":"operation/request","id":1,"request":{"method":"session/open"}}',
            r"missing required field `sessionId` - at `\$.request`",
        ),
        (b'{"type":"operation/cancel","id":"\xff"}', "can't decode byte 0xff"),
        (b'{"type":"x\xff"}', "can't decode byte 0xff"),
        (
            b'{"type":"delegate/response","result":{"status":"ok","value":{"type":"tool/result","result":'
            + b"[" * 100_000,
            "recursion",
        ),
    ],
)
def test_what_does_not_decode_ends_the_connection_and_the_cause_says_where(payload: bytes, why: str) -> None:
    connection = start_host()
    with pytest.raises(RemoteProtocolError, match=why) as caught:
        connection.receive_data(struct.pack("<I", len(payload)) + payload)
    assert str(caught.value).startswith("failed to decode code-mode IPC frame")
    assert connection.failure is caught.value


@pytest.mark.parametrize("size", [0, 20_000])
def test_json_that_passes_through_must_be_utf_8_too(size: int) -> None:
    data = b'{"type":"delegate/response","id":1,"result":{"status":"ok","value":{"type":"tool/result","result":"%b"}}}'
    good = data % ("é".encode() + b"x" * size)
    bad = data % (b"\xff" + b"x" * size)
    connection = start_host(*STARTED, wire.tool_call(1))
    assert len(connection.receive_data(struct.pack("<I", len(good)) + good)) == 1
    with pytest.raises(RemoteProtocolError, match="can't decode byte 0xff"):
        connection.receive_data(struct.pack("<I", len(bad)) + bad)


def test_a_length_over_the_limit_ends_the_connection_before_its_payload() -> None:
    connection = start_host(max_payload=1000)
    with pytest.raises(FrameTooLargeError):
        connection.receive_data(struct.pack("<I", 1001))
    with pytest.raises(FrameTooLargeError):
        connection.receive_eof()


def test_good_messages_before_a_bad_frame_are_given_first() -> None:
    connection = start_host()
    request = wire.open_session()[0]
    assert connection.receive_data(encode_frame(request) + b"\xff\xff\xff\xff") == [request]
    assert connection.ready
    with pytest.raises(FrameTooLargeError):
        connection.raise_for_violation()
    assert isinstance(connection.failure, FrameTooLargeError)
    with pytest.raises(LocalProtocolError) as caught:
        connection.send(wire.failed(1))
    assert caught.value.__cause__ is connection.failure


def test_the_end_of_input_inside_a_frame_is_a_violation() -> None:
    for connection in (start_host(), start_client(), HostConnection()):
        connection.receive_data(b"\1\0")
        with pytest.raises(RemoteProtocolError, match="stops inside a frame"):
            connection.receive_eof()
        assert connection.state is ConnectionState.FAILED


def test_nothing_is_received_after_the_end_of_input() -> None:
    connection = start_client()
    connection.receive_eof()
    connection.receive_eof()
    with pytest.raises(LocalProtocolError, match="after receive_eof"):
        connection.receive_data(b"x")


def test_a_host_may_answer_after_the_end_of_input_until_it_closes() -> None:
    connection = start_host(wire.open_session()[0])
    connection.receive_eof()
    assert connection.state is ConnectionState.CLOSING
    assert connection.send(wire.failed(1))
    connection.close()
    assert connection.state.value == "closed"
    with pytest.raises(LocalProtocolError):
        connection.send(wire.failed(1))


def test_a_client_that_has_closed_still_hears_the_host() -> None:
    connection = start_client(*STARTED)
    connection.close()
    assert connection.receive_data(encode_frame(wire.initial(3, v.Result("1", []))))
    with pytest.raises(LocalProtocolError):
        connection.send(wire.shutdown(4))
    connection.receive_eof()
    assert connection.state is ConnectionState.CLOSED
