"""One end of a connection, in the middle of a conversation, and how it refuses what is against the rules."""

from __future__ import annotations

from typing import Any

import pytest

from codemode_protocol import messages as m
from codemode_protocol.connection import ClientConnection, HostConnection
from codemode_protocol.errors import LocalProtocolError, RemoteProtocolError
from codemode_protocol.framing import encode_frame
from codemode_protocol.state import ConnectionState
from tests.protocol import wire
from tests.protocol.wire import snapshot, talk

STARTED = [*wire.open_session(), wire.execute(), wire.started()]


def start_host(*messages: m.Message, **options: Any) -> HostConnection:
    connection = HostConnection(**options)
    talk(connection, *messages)
    return connection


def start_client(*messages: m.Message, **options: Any) -> ClientConnection:
    connection = ClientConnection(**options)
    talk(connection, *messages)
    return connection


def expect_host_refuses(connection: HostConnection, message: object, why: str) -> None:
    """The peer says it: the connection fails."""
    with pytest.raises(RemoteProtocolError, match=why):
        connection.receive_data(encode_frame(message))
    assert connection.state is ConnectionState.FAILED


def expect_client_refuses(connection: ClientConnection, message: object, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        connection.receive_data(encode_frame(message))
    assert connection.state is ConnectionState.FAILED


def expect_both_refuse(why: str, message: m.HostMessage, *before: m.Message) -> None:
    """A host cannot say it, and a client does not take it, after this conversation."""
    saying = start_host(*before)
    known = snapshot(saying)
    with pytest.raises(LocalProtocolError, match=why):
        saying.send(message)
    assert snapshot(saying) == known
    expect_client_refuses(start_client(*before), message, why)
