"""Ids are handed out in order and never accepted twice."""

from __future__ import annotations

from functools import partial

import pytest

from codemode_protocol import connection as module
from codemode_protocol import conversation
from codemode_protocol import messages as m
from codemode_protocol import values as v
from codemode_protocol.errors import LocalProtocolError
from codemode_protocol.ids import IdSet
from codemode_protocol.state import SessionState
from tests.protocol import wire
from tests.protocol.connections import (
    STARTED,
    expect_both_refuse,
    expect_host_refuses,
    start_client,
    start_host,
)


def test_ids_are_allocated_from_one() -> None:
    assert [start_client().next_request_id() for _ in range(2)] == [1, 1]
    near, far = start_client(), start_host()
    assert [near.next_request_id() for _ in range(3)] == [1, 2, 3]
    assert [far.next_delegate_id() for _ in range(3)] == [1, 2, 3]


def test_request_ids_end_before_they_could_wrap_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ID", 2)
    connection = start_client()
    assert [connection.next_request_id() for _ in range(2)] == [1, 2]
    with pytest.raises(LocalProtocolError, match="start another connection"):
        connection.next_request_id()


def test_a_request_id_is_never_accepted_twice() -> None:
    near = start_client(*wire.open_session(), wire.shutdown(2), wire.closed(2))
    with pytest.raises(LocalProtocolError, match="duplicate code-mode request id 1"):
        near.send(m.OperationRequest(1, m.OpenSession("t")))
    far = start_host(*wire.open_session(), wire.shutdown(2), wire.closed(2))
    expect_host_refuses(far, m.OperationRequest(1, m.OpenSession("t")), "duplicate code-mode request id 1")


def test_request_ids_may_go_down() -> None:
    assert start_host(m.OperationRequest(10, m.OpenSession("s")), m.OperationRequest(-5, m.OpenSession("t"))).ready


def test_a_delegate_id_is_never_accepted_twice() -> None:
    expect_both_refuse(
        "duplicate delegate call id 9", wire.tool_call(9), *STARTED, wire.tool_call(9), wire.tool_result(9)
    )


def test_a_cell_id_is_never_accepted_twice() -> None:
    over = [*STARTED, wire.initial(3, v.Result("1", [])), m.CellClosed("s", "1"), wire.execute(4)]
    expect_both_refuse("starts cell 1 of session s a second time", wire.started(4, "1"), *over)


@pytest.mark.parametrize("cell", ["0", "01", "x", "", str(2**53)])
def test_a_cell_id_that_is_no_number_is_refused(cell: str) -> None:
    expect_both_refuse("a cell id is a decimal number", wire.started(3, cell), *wire.open_session(), wire.execute())


def test_scattered_ids_end_the_connection_rather_than_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "IdSet", partial(IdSet, max_intervals=1))
    connection = start_host(m.OperationRequest(1, m.OpenSession("s")))
    expect_host_refuses(connection, m.OperationRequest(3, m.OpenSession("t")), "too scattered")


def test_a_session_id_is_never_reused() -> None:
    near = start_client(*wire.open_session(), wire.shutdown(2), wire.closed(2))
    assert near.session_state("s") is SessionState.CLOSED
    with pytest.raises(LocalProtocolError, match="'open' is not allowed for session s: it is closed"):
        near.send(m.OperationRequest(3, m.OpenSession("s")))


def test_a_blank_session_id_cannot_be_sent() -> None:
    with pytest.raises(LocalProtocolError, match="must not be blank"):
        start_client().send(m.OperationRequest(1, m.OpenSession(" ")))
