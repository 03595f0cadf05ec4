"""Messages that do not fit in a frame fail for their caller alone."""

from __future__ import annotations

import msgspec
import pytest

from codemode_protocol import messages as m
from codemode_protocol import values as v
from codemode_protocol.errors import LocalProtocolError, MessageTooLargeError
from codemode_protocol.framing import encode_frame
from codemode_protocol.state import CellState, RequestState
from tests.protocol import wire
from tests.protocol.connections import (
    STARTED,
    start_client,
    start_host,
)
from tests.protocol.wire import snapshot


def test_a_response_that_is_too_large_becomes_an_error_for_the_same_id_and_the_connection_lives_on() -> None:
    connection = start_host(*STARTED, wire.wait(4), max_payload=500)
    big: list[v.ContentItem] = [v.InputText("x" * 1000)]
    size = len(msgspec.json.encode(wire.initial(3, v.Yielded("1", big))))
    assert connection.send(wire.initial(3, v.Yielded("1", big))) == encode_frame(
        m.InitialResponse(
            3,
            m.Failure(
                "code-mode initial response exceeds the IPC frame limit: "
                f"code-mode IPC frame length {size} exceeds 500 bytes"
            ),
        )
    )
    assert b"code-mode host response exceeds the IPC frame limit" in connection.send(wire.live(4, v.Result("1", big)))
    assert connection.request_state(4) is RequestState.ANSWERED
    assert connection.cell_state("s", "1") is CellState.LIVE
    assert connection.send(m.CellClosed("s", "1"))


def test_a_call_that_is_too_large_fails_for_its_caller_alone() -> None:
    connection = start_host(*STARTED, max_payload=500)
    before = snapshot(connection)
    with pytest.raises(MessageTooLargeError, match=r"code-mode IPC frame length \d+ exceeds 500 bytes"):
        connection.send(m.DelegateRequest(1, "s", m.SendNotification("c", "1", "x" * 1000)))
    assert snapshot(connection) == before


def test_a_request_that_is_too_large_fails_for_its_caller_alone() -> None:
    connection = start_client(*wire.open_session(), max_payload=500)
    before = snapshot(connection)
    with pytest.raises(MessageTooLargeError):
        connection.send(m.OperationRequest(3, m.Execute("s", v.ExecuteRequest("c", [], "x" * 1000))))
    assert snapshot(connection) == before
    assert connection.send(wire.execute(3))


def test_text_that_cannot_be_encoded_is_the_callers_error() -> None:
    connection = start_client(*wire.open_session())
    before = snapshot(connection)
    with pytest.raises(LocalProtocolError, match="operation/request cannot be encoded"):
        connection.send(m.OperationRequest(3, m.Execute("s", v.ExecuteRequest("c", [], "\ud800"))))
    assert snapshot(connection) == before
