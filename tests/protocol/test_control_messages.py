"""What is asked of running hosts and answered by them, and where their sockets are."""

from __future__ import annotations

import msgspec
import pytest

from codemode_protocol.control import (
    CellReport,
    CellsEnded,
    ControlAnswer,
    ControlRequest,
    EndCells,
    EndedCell,
    HostReport,
    ListCells,
    PendingCalls,
    Refused,
    answer_decoder,
    cut,
    encode,
    request_decoder,
)
from codemode_protocol.control_sockets import parse_socket_name, socket_directories, socket_name, start_time

CELL = CellReport(
    session_id="s",
    cell_id="1",
    call_id="call",
    state="waiting",
    waiting_on=["calls", "timer"],
    age_ms=10,
    finished_ms=None,
    observed=True,
    calls=[PendingCalls("weather", 2, 7)],
    notifications=0,
    output_bytes=3,
)


@pytest.mark.parametrize("request_", [ListCells(), EndCells("s"), EndCells("s", "1")])
def test_requests_arrive_as_they_were_sent(request_: ControlRequest) -> None:
    assert request_decoder.decode(encode(request_)) == request_


@pytest.mark.parametrize(
    "answer",
    [
        HostReport("1.0", 2, 1, 5, None, 1, [CELL], 3),
        CellsEnded([EndedCell("s", "1", "terminated")]),
        Refused("no"),
    ],
)
def test_answers_arrive_as_they_were_sent(answer: ControlAnswer) -> None:
    assert answer_decoder.decode(encode(answer)) == answer


def test_answers_are_one_line() -> None:
    assert b"\n" not in encode(Refused("two\nlines"))


def test_a_field_of_a_later_version_is_no_obstacle() -> None:
    assert answer_decoder.decode(b'{"type":"refused","message":"no","more":1}') == Refused("no")


@pytest.mark.parametrize("line", [b"", b"{}", b'{"type":"else"}', b'{"type":"end"}', b"\xff", b"[" * 8000])
def test_what_is_no_request_is_refused(line: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, RecursionError)):
        request_decoder.decode(line)


def test_a_long_name_is_cut_with_a_sign() -> None:
    assert cut("a" * 200) == "a" * 200
    assert cut("a" * 201) == "a" * 199 + "…"


def test_a_host_looks_in_the_runtime_folder_first() -> None:
    assert socket_directories({"XDG_RUNTIME_DIR": "/run/user/7/"}, 7) == ["/run/user/7/codemode", "/tmp/codemode-7"]
    assert socket_directories({"TMPDIR": "/var/tmp"}, 7)[0] == "/var/tmp/codemode-7"


def test_an_environment_that_names_no_absolute_folder_is_passed_over() -> None:
    assert socket_directories({"XDG_RUNTIME_DIR": "run", "TMPDIR": ""}, 7) == [
        "/tmp/codemode-7",
        "/run/user/7/codemode",
    ]


def test_a_sockets_name_says_whose_it_is() -> None:
    assert parse_socket_name(socket_name(4711, 99)) == (4711, 99)


@pytest.mark.parametrize("name", ["", ".sock", "1.sock", "1-.sock", "-1.sock", "1-2", "a-2.sock", "1-²²²²²².sock", "x"])
def test_another_file_is_nobodys_socket(name: str) -> None:
    assert parse_socket_name(name) is None
    assert parse_socket_name("1-" + "2" * 80 + ".sock") is None


def test_a_process_whose_name_looks_like_more_fields_is_read_right() -> None:
    fields = ["S", "1"] + ["0"] * 17 + ["123", "0"]
    assert start_time(b"9 (a) S 7 (b)) " + " ".join(fields).encode()) == 123
