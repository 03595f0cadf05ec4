"""What the two ends of a connection do beyond the tables: bytes, ids, answers that must fit, errors."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from codemode_protocol import messages as m
from codemode_protocol import values as v
from codemode_protocol.connection import ClientConnection, HostConnection
from codemode_protocol.errors import LocalProtocolError, MessageTooLargeError, RemoteProtocolError
from codemode_protocol.framing import FrameTooLargeError, encode_frame, encode_line
from codemode_protocol.ids import MAX_ID, IdSet, NameSet
from codemode_protocol.state import CallState, CellState, ConnectionState, RequestState, SessionState
from tests.protocol import wire
from tests.protocol.wire import Connection, snapshot, talk, tell

STARTED = [*wire.open_session(), wire.execute(), wire.started()]


def host(*messages: m.Message, **options: Any) -> HostConnection:
    connection = HostConnection(**options)
    talk(connection, *messages)
    return connection


def client(*messages: m.Message, **options: Any) -> ClientConnection:
    connection = ClientConnection(**options)
    talk(connection, *messages)
    return connection


def refused_by_host(connection: HostConnection, message: object, why: str) -> None:
    """The peer says it: the connection fails."""
    with pytest.raises(RemoteProtocolError, match=why):
        connection.receive_data(encode_frame(message))
    assert connection.state is ConnectionState.FAILED


def refused_by_client(connection: ClientConnection, message: object, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        connection.receive_data(encode_frame(message))
    assert connection.state is ConnectionState.FAILED


def both_refuse(why: str, message: m.HostMessage, *before: m.Message) -> None:
    """A host cannot say it, and a client does not take it, after this conversation."""
    saying = host(*before)
    known = snapshot(saying)
    with pytest.raises(LocalProtocolError, match=why):
        saying.send(message)
    assert snapshot(saying) == known
    refused_by_client(client(*before), message, why)


# ---------------------------------------------------------------------------------------------------------- handshake


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
    refused_by_host(host(), m.Hello([1], [], []), "received a second code-mode client hello")


def test_an_answer_that_does_not_fit_the_hello_ends_the_connection() -> None:
    near = ClientConnection()
    near.hello()
    refused_by_client(near, m.Ready(2, []), "selects version 2")


def test_hello_and_ready_are_not_sent_as_messages() -> None:
    with pytest.raises(LocalProtocolError, match="connection/hello cannot be sent"):
        client().send(m.Hello([1], [], []))
    with pytest.raises(LocalProtocolError, match="connection/ready cannot be sent"):
        host().send(m.Ready(1, []))


# -------------------------------------------------------------------------------------------------------------- bytes


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
    connection = host()
    with pytest.raises(RemoteProtocolError, match=why) as caught:
        connection.receive_data(struct.pack("<I", len(payload)) + payload)
    assert str(caught.value).startswith("failed to decode code-mode IPC frame")
    assert connection.failure is caught.value


@pytest.mark.parametrize("size", [0, 20_000])
def test_json_that_passes_through_must_be_utf_8_too(size: int) -> None:
    data = b'{"type":"delegate/response","id":1,"result":{"status":"ok","value":{"type":"tool/result","result":"%b"}}}'
    good = data % ("é".encode() + b"x" * size)
    bad = data % (b"\xff" + b"x" * size)
    connection = host(*STARTED, wire.tool_call(1))
    assert len(connection.receive_data(struct.pack("<I", len(good)) + good)) == 1
    with pytest.raises(RemoteProtocolError, match="can't decode byte 0xff"):
        connection.receive_data(struct.pack("<I", len(bad)) + bad)


def test_a_length_over_the_limit_ends_the_connection_before_its_payload() -> None:
    connection = host(max_payload=1000)
    with pytest.raises(FrameTooLargeError):
        connection.receive_data(struct.pack("<I", 1001))
    with pytest.raises(FrameTooLargeError):
        connection.receive_eof()


def test_good_messages_before_a_bad_frame_are_given_first() -> None:
    connection = host()
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
    for connection in (host(), client(), HostConnection()):
        connection.receive_data(b"\1\0")
        with pytest.raises(RemoteProtocolError, match="stops inside a frame"):
            connection.receive_eof()
        assert connection.state is ConnectionState.FAILED


def test_nothing_is_received_after_the_end_of_input() -> None:
    connection = client()
    connection.receive_eof()
    connection.receive_eof()
    with pytest.raises(LocalProtocolError, match="after receive_eof"):
        connection.receive_data(b"x")


def test_a_host_may_answer_after_the_end_of_input_until_it_closes() -> None:
    connection = host(wire.open_session()[0])
    connection.receive_eof()
    assert connection.state is ConnectionState.CLOSING
    assert connection.send(wire.failed(1))
    connection.close()
    assert connection.state.value == "closed"
    with pytest.raises(LocalProtocolError):
        connection.send(wire.failed(1))


def test_a_client_that_has_closed_still_hears_the_host() -> None:
    connection = client(*STARTED)
    connection.close()
    assert connection.receive_data(encode_frame(wire.initial(3, v.Result("1", []))))
    with pytest.raises(LocalProtocolError):
        connection.send(wire.shutdown(4))
    connection.receive_eof()
    assert connection.state is ConnectionState.CLOSED


# ----------------------------------------------------------------------------------------- messages that do not fit


def test_a_response_that_is_too_large_becomes_an_error_for_the_same_id_and_the_connection_lives_on() -> None:
    connection = host(*STARTED, wire.wait(4), max_payload=500)
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
    connection = host(*STARTED, max_payload=500)
    before = snapshot(connection)
    with pytest.raises(MessageTooLargeError, match=r"code-mode IPC frame length \d+ exceeds 500 bytes"):
        connection.send(m.DelegateRequest(1, "s", m.SendNotification("c", "1", "x" * 1000)))
    assert snapshot(connection) == before


def test_a_request_that_is_too_large_fails_for_its_caller_alone() -> None:
    connection = client(*wire.open_session(), max_payload=500)
    before = snapshot(connection)
    with pytest.raises(MessageTooLargeError):
        connection.send(m.OperationRequest(3, m.Execute("s", v.ExecuteRequest("c", [], "x" * 1000))))
    assert snapshot(connection) == before
    assert connection.send(wire.execute(3))


def test_text_that_cannot_be_encoded_is_the_callers_error() -> None:
    connection = client(*wire.open_session())
    before = snapshot(connection)
    with pytest.raises(LocalProtocolError, match="operation/request cannot be encoded"):
        connection.send(m.OperationRequest(3, m.Execute("s", v.ExecuteRequest("c", [], "\ud800"))))
    assert snapshot(connection) == before


# ---------------------------------------------------------------------------------------------------------------- ids


def test_ids_are_allocated_from_one() -> None:
    assert [client().next_request_id() for _ in range(2)] == [1, 1]
    near, far = client(), host()
    assert [near.next_request_id() for _ in range(3)] == [1, 2, 3]
    assert [far.next_delegate_id() for _ in range(3)] == [1, 2, 3]


def test_request_ids_end_before_they_could_wrap_around() -> None:
    connection = client()
    connection._last_request = MAX_ID - 1
    assert connection.next_request_id() == MAX_ID
    with pytest.raises(LocalProtocolError, match="start another connection"):
        connection.next_request_id()


def test_a_request_id_is_never_accepted_twice() -> None:
    near = client(*wire.open_session(), wire.shutdown(2), wire.closed(2))
    with pytest.raises(LocalProtocolError, match="duplicate code-mode request id 1"):
        near.send(m.OperationRequest(1, m.OpenSession("t")))
    far = host(*wire.open_session(), wire.shutdown(2), wire.closed(2))
    refused_by_host(far, m.OperationRequest(1, m.OpenSession("t")), "duplicate code-mode request id 1")


def test_request_ids_may_go_down() -> None:
    assert host(m.OperationRequest(10, m.OpenSession("s")), m.OperationRequest(-5, m.OpenSession("t"))).ready


def test_a_delegate_id_is_never_accepted_twice() -> None:
    both_refuse("duplicate delegate call id 9", wire.tool_call(9), *STARTED, wire.tool_call(9), wire.tool_result(9))


def test_a_cell_id_is_never_accepted_twice() -> None:
    over = [*STARTED, wire.initial(3, v.Result("1", [])), m.CellClosed("s", "1"), wire.execute(4)]
    both_refuse("starts cell 1 of session s a second time", wire.started(4, "1"), *over)


@pytest.mark.parametrize("cell", ["0", "01", "x", "", str(2**53)])
def test_a_cell_id_that_is_no_number_is_refused(cell: str) -> None:
    both_refuse("a cell id is a decimal number", wire.started(3, cell), *wire.open_session(), wire.execute())


def test_scattered_ids_end_the_connection_rather_than_fill_the_memory() -> None:
    connection = host(m.OperationRequest(1, m.OpenSession("s")))
    connection._books._used_requests = IdSet(max_intervals=1)
    connection._books._used_requests.add(1)
    refused_by_host(connection, m.OperationRequest(3, m.OpenSession("t")), "too scattered")


def test_a_session_id_is_never_reused() -> None:
    near = client(*wire.open_session(), wire.shutdown(2), wire.closed(2))
    assert near.session_state("s") is SessionState.CLOSED
    with pytest.raises(LocalProtocolError, match="'open' is not allowed for session s: it is closed"):
        near.send(m.OperationRequest(3, m.OpenSession("s")))


def test_a_blank_session_id_cannot_be_sent() -> None:
    with pytest.raises(LocalProtocolError, match="must not be blank"):
        client().send(m.OperationRequest(1, m.OpenSession(" ")))


# ----------------------------------------------------------------------------------------------- answers and sessions


def test_a_host_is_told_why_a_session_cannot_be_opened() -> None:
    far = host()

    def ask(id: int) -> str | None:
        tell(far, m.OperationRequest(id, m.OpenSession("s")))
        return far.refusal_to_open(id)

    assert ask(1) is None
    assert ask(2) == "code-mode session ID `s` is already open"
    tell(far, wire.open_session()[1])
    assert ask(3) == "code-mode session ID `s` is already open"
    tell(far, wire.shutdown(4))
    assert ask(5) == "code-mode session ID `s` was reused"
    tell(far, wire.closed(4))
    assert ask(6) == "code-mode session ID `s` was reused"
    with pytest.raises(LocalProtocolError, match="request 99 is not open"):
        far.refusal_to_open(99)
    for id in (2, 3, 5, 6):
        with pytest.raises(LocalProtocolError, match="cannot open session s"):
            far.send(m.OperationResponse(id, m.Success(m.SessionReady("s"))))
        far.send(wire.failed(id))


def test_a_connection_that_has_used_too_many_unordered_session_ids_opens_no_more() -> None:
    far = host(*wire.open_session(1, "a"))
    far._books._used_names = NameSet(max_names=1)
    far._books._used_names.add("a")
    tell(far, m.OperationRequest(2, m.OpenSession("b")))
    assert "too many unordered code-mode session IDs" in (far.refusal_to_open(2) or "")
    with pytest.raises(LocalProtocolError, match="too scattered"):
        far.send(m.OperationResponse(2, m.Success(m.SessionReady("b"))))


def test_only_the_first_shutdown_closes_a_session() -> None:
    far = host(*wire.open_session(), wire.shutdown(2), wire.shutdown(3))
    with pytest.raises(LocalProtocolError, match="cannot close session s: it is closing"):
        far.send(wire.closed(3))
    far.send(wire.failed(3))
    assert far.session_state("s") is SessionState.CLOSING
    far.send(wire.closed(2))
    assert far.session_state("s") is SessionState.CLOSED


def test_requests_for_sessions_that_are_not_there_are_the_hosts_to_answer() -> None:
    far = host(wire.execute(1), wire.wait(2), wire.terminate(3), wire.shutdown(4))
    before = far.size()
    for id in (1, 2, 3, 4):
        far.send(wire.failed(id))
    assert far.size() == before - 5  # a terminate is kept twice: also under its cell's name


@pytest.mark.parametrize(
    ("why", "answer", "before"),
    [
        ("request 8 is not open: it is new", wire.failed(8), []),
        ("request 1 is not open: it is answered", wire.failed(1), []),
        ("request 8 is not open", wire.initial(8, v.Result("1", [])), []),
        ("'session closed' is not allowed for request 3", wire.closed(3), []),
        ("'initial response' is not allowed for request 4", wire.initial(4, v.Result("1", [])), [wire.wait(4)]),
        ("about cell 1, but the answer names 2", wire.missing(4, "2"), [wire.wait(4)]),
        ("about cell 1, but the answer names 2", wire.live(4, v.Result("2", [])), [wire.started(), wire.wait(4)]),
        ("about cell 1, but the answer names 2", wire.initial(3, v.Result("2", [])), [wire.started()]),
        ("names cell 1 of session s, which is not live", wire.live(4, v.Result("1", [])), [wire.wait(4)]),
        (
            "about session s, but the answer names t",
            wire.closed(5, "t"),
            [wire.shutdown(5)],
        ),
        (
            "about session t, but the answer names s",
            m.OperationResponse(6, m.Success(m.SessionReady("s"))),
            [m.OperationRequest(6, m.OpenSession("t"))],
        ),
        ("while its cell 1 is live", wire.closed(5), [wire.started(), wire.shutdown(5)]),
        ("starts a cell in session s: it is closed", wire.started(), [wire.shutdown(5), wire.closed(5)]),
        ("names session t: it is unknown", m.CellClosed("t", "1"), []),
        ("names cell 2 of session s, which is not live", m.CellClosed("s", "2"), [wire.started()]),
        ("closes before its initial response", m.CellClosed("s", "1"), [wire.started()]),
        (
            "closes while delegate call 9 is pending",
            m.CellClosed("s", "1"),
            [wire.started(), wire.tool_call(9), wire.initial(3, v.Yielded("1", []))],
        ),
        ("names cell 2 of session s, which is not live", wire.tool_call(9, "2"), [wire.started()]),
        ("names session t", wire.notification(9, "1", "t"), [wire.started()]),
        (
            "'call' is not allowed for cell 1: it is completed",
            wire.tool_call(9),
            [wire.started(), wire.initial(3, v.Result("1", []))],
        ),
        (
            "names cell 1 of session s, which is not live",
            wire.tool_call(9),
            [wire.started(), wire.initial(3, v.Result("1", [])), m.CellClosed("s", "1")],
        ),
        (
            "'yielded' is not allowed for cell 1",
            wire.live(4, v.Yielded("1", [])),
            [wire.started(), wire.initial(3, v.Result("1", [])), wire.wait(4)],
        ),
        ("delegate call 9: it is new", m.DelegateCancel(9), [wire.started()]),
    ],
)
def test_an_answer_that_fits_nothing_open_is_refused_on_both_sides(
    why: str, answer: m.HostMessage, before: list[m.Message]
) -> None:
    both_refuse(why, answer, *wire.open_session(), wire.execute(), *before)


def test_a_message_of_the_wrong_direction_does_not_decode() -> None:
    refused_by_host(host(), m.CellClosed("s", "1"), "Invalid value 'cell/closed'")
    refused_by_client(client(), wire.open_session()[0], "Invalid value 'operation/request'")


def test_an_end_is_told_to_everybody_who_observes_or_terminates() -> None:
    far = host(*STARTED, wire.wait(4), wire.terminate(5))
    assert far.cell_state("s", "1") is CellState.TERMINATING
    for message in (
        wire.live(5, v.Terminated("1", [])),
        wire.live(4, v.Terminated("1", [])),
        wire.initial(3, v.Terminated("1", [])),
        m.CellClosed("s", "1"),
    ):
        assert far.send(message)
    assert far.cell_state("s", "1") is None


def test_a_cell_that_starts_while_it_is_asked_to_terminate_is_terminating_on_both_sides() -> None:
    asked_before = [*wire.open_session(), wire.execute(), wire.terminate(4), wire.started()]
    asked_after = [*wire.open_session(), wire.execute(), wire.started(), wire.terminate(4)]
    for connection in (client(*asked_before), host(*asked_before), host(*asked_after)):
        assert connection.cell_state("s", "1") is CellState.TERMINATING


def test_a_terminate_of_a_cell_that_is_gone_is_the_hosts_to_answer() -> None:
    for connection in (host(*wire.open_session(), wire.terminate(4)), client(*wire.open_session(), wire.terminate(4))):
        tell(connection, wire.missing(4))
        assert connection.failure is None


# ------------------------------------------------------------------------------------------------------ delegate calls


def test_an_answer_of_the_wrong_kind_fails_the_call() -> None:
    far = host(*STARTED, wire.tool_call(1), wire.notification(2))
    assert far.receive_data(encode_frame(wire.delivered(1)) + encode_frame(wire.tool_result(2))) == [
        m.DelegateResponse(1, m.Failure("code-mode client returned an invalid tool result")),
        m.DelegateResponse(2, m.Failure("code-mode client returned an invalid notification result")),
    ]
    near = client(*STARTED, wire.tool_call(1))
    with pytest.raises(LocalProtocolError, match="'delivered' is not allowed for delegate call 1"):
        near.send(wire.delivered(1))


def test_answers_that_nobody_waits_for_and_cancels_of_what_is_over_come_to_nothing() -> None:
    far = host(*STARTED, wire.tool_call(1), m.DelegateCancel(1))
    late = [wire.tool_result(1), wire.call_failed(77), m.OperationCancel(1), m.OperationCancel(-1)]
    assert far.receive_data(b"".join(encode_frame(message) for message in late)) == []
    assert far.ready
    # A cancelled id is not thereby used.
    assert far.receive_data(encode_frame(m.OperationRequest(-1, m.OpenSession("t"))))


def test_a_cancel_that_crossed_with_the_answer_comes_to_nothing() -> None:
    near = client(*STARTED, wire.tool_call(1), wire.tool_result(1))
    assert near.receive_data(encode_frame(m.DelegateCancel(1))) == []
    assert near.ready


def test_a_cancelled_call_cannot_be_answered() -> None:
    near = client(*STARTED, wire.tool_call(1))
    assert near.call_is_pending(1)
    assert near.receive_data(encode_frame(m.DelegateCancel(1))) == [m.DelegateCancel(1)]
    assert not near.call_is_pending(1)
    assert near.call_state(1) is CallState.ANSWERED
    with pytest.raises(LocalProtocolError):
        near.send(wire.tool_result(1))


def test_a_cancel_of_an_open_request_is_given() -> None:
    far = host(*STARTED, wire.wait(4))
    for id in (3, 4):
        assert far.receive_data(encode_frame(m.OperationCancel(id))) == [m.OperationCancel(id)]


def test_live_cells_and_pending_calls_can_be_asked_for() -> None:
    far = host(*STARTED, wire.execute(4), wire.started(4, "2"), wire.tool_call(1), wire.notification(2))
    assert far.live_cells("s") == ("1", "2")
    assert far.pending_calls("s", "1") == (1, 2)
    assert far.pending_calls("s", "2") == ()
    assert far.live_cells("t") == ()
    assert far.pending_calls("t", "1") == ()
    assert far.pending_calls("s", "3") == ()
    assert far.cell_state("t", "1") is None


def test_nothing_is_kept_of_what_is_over() -> None:
    far, near = host(), client()
    sizes = set()
    for turn in range(200):
        first, session = 5 * turn, f"s{turn}"
        for message in [
            *wire.open_session(first, session),
            *one_cell(first + 1, "1", session),
            *one_cell(first + 2, "2", session),
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


def one_cell(request: int, cell: str, session: str) -> list[m.Message]:
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
    near, far = client(*STARTED, wire.tool_call(1)), host(*STARTED, wire.tool_call(1))
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
