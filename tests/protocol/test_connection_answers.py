"""Answers have to fit what is open, and sessions are opened and closed once."""

from __future__ import annotations

from functools import partial

import pytest

from codemode_protocol import conversation
from codemode_protocol import messages as m
from codemode_protocol import values as v
from codemode_protocol.errors import LocalProtocolError
from codemode_protocol.ids import NameSet
from codemode_protocol.state import CellState, SessionState
from tests.protocol import wire
from tests.protocol.connections import (
    STARTED,
    expect_both_refuse,
    expect_client_refuses,
    expect_host_refuses,
    start_client,
    start_host,
)
from tests.protocol.wire import tell


def test_a_host_is_told_why_a_session_cannot_be_opened() -> None:
    far = start_host()

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


def test_a_connection_that_has_used_too_many_unordered_session_ids_opens_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversation, "NameSet", partial(NameSet, max_names=1))
    far = start_host(*wire.open_session(1, "a"))
    tell(far, m.OperationRequest(2, m.OpenSession("b")))
    assert "too many unordered code-mode session IDs" in (far.refusal_to_open(2) or "")
    with pytest.raises(LocalProtocolError, match="too scattered"):
        far.send(m.OperationResponse(2, m.Success(m.SessionReady("b"))))


def test_only_the_first_shutdown_closes_a_session() -> None:
    far = start_host(*wire.open_session(), wire.shutdown(2), wire.shutdown(3))
    with pytest.raises(LocalProtocolError, match="cannot close session s: it is closing"):
        far.send(wire.closed(3))
    far.send(wire.failed(3))
    assert far.session_state("s") is SessionState.CLOSING
    far.send(wire.closed(2))
    assert far.session_state("s") is SessionState.CLOSED


def test_requests_for_sessions_that_are_not_there_are_the_hosts_to_answer() -> None:
    far = start_host(wire.execute(1), wire.wait(2), wire.terminate(3), wire.shutdown(4))
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
    expect_both_refuse(why, answer, *wire.open_session(), wire.execute(), *before)


def test_a_message_of_the_wrong_direction_does_not_decode() -> None:
    expect_host_refuses(start_host(), m.CellClosed("s", "1"), "Invalid value 'cell/closed'")
    expect_client_refuses(start_client(), wire.open_session()[0], "Invalid value 'operation/request'")


def test_an_end_is_told_to_everybody_who_observes_or_terminates() -> None:
    far = start_host(*STARTED, wire.wait(4), wire.terminate(5))
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
    for connection in (start_client(*asked_before), start_host(*asked_before), start_host(*asked_after)):
        assert connection.cell_state("s", "1") is CellState.TERMINATING


def test_a_terminate_of_a_cell_that_is_gone_is_the_hosts_to_answer() -> None:
    for connection in (
        start_host(*wire.open_session(), wire.terminate(4)),
        start_client(*wire.open_session(), wire.terminate(4)),
    ):
        tell(connection, wire.missing(4))
        assert connection.failure is None
