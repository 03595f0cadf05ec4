"""Delegate calls, their answers and cancels; and what is kept of a conversation that is over."""

from __future__ import annotations

import pytest
from msgspec import Raw

from codemode_protocol import messages as m
from codemode_protocol import values as v
from codemode_protocol.connection import HostConnection
from codemode_protocol.errors import LocalProtocolError
from codemode_protocol.framing import encode_frame, encode_line
from codemode_protocol.state import CallState
from tests.protocol import wire
from tests.protocol.connections import (
    STARTED,
    start_client,
    start_host,
)
from tests.protocol.wire import tell


def test_an_answer_of_the_wrong_kind_fails_the_call() -> None:
    far = start_host(*STARTED, wire.tool_call(1), wire.notification(2))
    assert far.receive_data(encode_frame(wire.delivered(1)) + encode_frame(wire.tool_result(2))) == [
        m.DelegateResponse(1, m.Failure("code-mode client returned an invalid tool result")),
        m.DelegateResponse(2, m.Failure("code-mode client returned an invalid notification result")),
    ]
    near = start_client(*STARTED, wire.tool_call(1))
    with pytest.raises(LocalProtocolError, match="'delivered' is not allowed for delegate call 1"):
        near.send(wire.delivered(1))


def test_answers_that_nobody_waits_for_and_cancels_of_what_is_over_come_to_nothing() -> None:
    far = start_host(*STARTED, wire.tool_call(1), m.DelegateCancel(1))
    late = [wire.tool_result(1), wire.call_failed(77), m.OperationCancel(1), m.OperationCancel(-1)]
    assert far.receive_data(b"".join(encode_frame(message) for message in late)) == []
    assert far.ready
    # A cancelled id is not thereby used.
    assert far.receive_data(encode_frame(m.OperationRequest(-1, m.OpenSession("t"))))


def test_a_cancel_that_crossed_with_the_answer_comes_to_nothing() -> None:
    near = start_client(*STARTED, wire.tool_call(1), wire.tool_result(1))
    assert near.receive_data(encode_frame(m.DelegateCancel(1))) == []
    assert near.ready


def test_a_cancelled_call_cannot_be_answered() -> None:
    near = start_client(*STARTED, wire.tool_call(1))
    assert near.call_is_pending(1)
    assert near.receive_data(encode_frame(m.DelegateCancel(1))) == [m.DelegateCancel(1)]
    assert not near.call_is_pending(1)
    assert near.call_state(1) is CallState.ANSWERED
    with pytest.raises(LocalProtocolError):
        near.send(wire.tool_result(1))


def test_a_cancel_of_an_open_request_is_given() -> None:
    far = start_host(*STARTED, wire.wait(4))
    for id in (3, 4):
        assert far.receive_data(encode_frame(m.OperationCancel(id))) == [m.OperationCancel(id)]


def test_live_cells_and_pending_calls_can_be_asked_for() -> None:
    far = start_host(*STARTED, wire.execute(4), wire.started(4, "2"), wire.tool_call(1), wire.notification(2))
    assert far.live_cells("s") == ("1", "2")
    assert far.pending_calls("s", "1") == (1, 2)
    assert far.pending_calls("s", "2") == ()
    assert far.live_cells("t") == ()
    assert far.pending_calls("t", "1") == ()
    assert far.pending_calls("s", "3") == ()
    assert far.cell_state("t", "1") is None


def test_nothing_is_kept_of_what_is_over() -> None:
    far, near = start_host(), start_client()
    sizes = set()
    for turn in range(200):
        first, session = 5 * turn, f"s{turn}"
        for message in [
            *wire.open_session(first, session),
            *converse_about_one_cell(first + 1, "1", session),
            *converse_about_one_cell(first + 2, "2", session),
            wire.wait(first + 3, "2", session),
            wire.missing(first + 3, "2"),
            wire.shutdown(first + 4, session),
            wire.closed(first + 4, session),
        ]:
            tell(far, message)
            tell(near, message)
        sizes.add((far.size(), near.size()))
    # One interval of request ids and one of session ids; of delegate ids one in each round, for those left out.
    assert sizes == {(2 + turn, 2 + turn) for turn in range(1, 201)}


def converse_about_one_cell(request: int, cell: str, session: str) -> list[m.Message]:
    call = 2 * request
    return [
        wire.execute(request, session),
        wire.started(request, cell),
        wire.tool_call(call, cell, session),
        wire.notification(call + 1, cell, session),
        wire.tool_result(call),
        m.DelegateCancel(call + 1),
        wire.initial(request, v.Result(cell, [])),
        m.CellClosed(session, cell),
    ]


def test_raw_json_reaches_the_other_side_unchanged() -> None:
    near, far = start_client(*STARTED, wire.tool_call(1)), start_host(*STARTED, wire.tool_call(1))
    text = b'{ "a": [1.0, 1e400], "a": "\\u00e9" }'
    (answer,) = far.receive_data(near.send(m.DelegateResponse(1, m.Success(m.ToolResult(Raw(text))))))
    assert isinstance(answer, m.DelegateResponse)
    assert isinstance(answer.result, m.Success)
    assert isinstance(answer.result.value, m.ToolResult)
    assert bytes(answer.result.value.result) == text


def test_lines_can_be_typed_by_hand() -> None:
    far = HostConnection(framing="lines")
    typed = (
        b'\n{"type":"connection/hello", "supportedVersions":[1],'
        b' "requiredCapabilities":[], "optionalCapabilities":[]}\r\n'
    )
    (hello,) = far.receive_data(typed)
    assert far.negotiate(hello) == b'{"type":"connection/ready","selectedVersion":1,"capabilities":[]}\n'
    assert far.receive_data(encode_line(wire.open_session()[0])) == [wire.open_session()[0]]
