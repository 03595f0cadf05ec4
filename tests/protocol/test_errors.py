from __future__ import annotations

import pytest

from codemode_protocol.errors import (
    CodeModeError,
    HostError,
    HostLostError,
    HostStartError,
    LocalProtocolError,
    MessageTooLargeError,
    ProtocolError,
    ProviderClosedError,
    RemoteProtocolError,
    RequestFailedError,
    RequestTooLargeError,
    SessionClosedError,
    StaleCellError,
    ToolError,
    describe_exit_status,
    first_cause,
    tool_failure_text,
)


class WordlessError(Exception):
    """One whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exit status 0"),
        (3, "exit status 3"),
        (-9, "killed by SIGKILL"),
        (-11, "killed by SIGSEGV"),
        (-200, "killed by signal 200"),
    ],
)
def test_an_exit_status_is_told_in_words(status: int, words: str) -> None:
    assert describe_exit_status(status) == words


def test_a_host_error_tells_how_the_host_ended_and_what_it_said_last() -> None:
    assert str(HostError("the host is gone")) == "the host is gone"
    error = HostLostError("the host was lost", exit_status=-6, stderr="panic\nbye")
    assert str(error) == "the host was lost (killed by SIGABRT); its last lines on standard error:\npanic\nbye"
    assert (error.exit_status, error.stderr) == (-6, "panic\nbye")
    assert str(HostStartError("it is silent", stderr="x")) == "it is silent; its last lines on standard error:\nx"


def test_a_stale_cell_says_what_to_do() -> None:
    error = StaleCellError("g2:3", 2, 4)
    assert (error.cell_id, error.cell_generation, error.current_generation) == ("g2:3", 2, 4)
    assert "execute its source again" in str(error)


def test_a_closed_session_says_what_to_do() -> None:
    error = SessionClosedError("s1")
    assert error.session_id == "s1"
    assert "open a new session" in str(error)


def test_a_closed_provider_and_a_request_too_large_say_what_they_are_about() -> None:
    assert "make a new one" in str(ProviderClosedError())
    error = RequestTooLargeError(20, 10)
    assert (error.size, error.limit) == (20, 10)
    assert "20 bytes, more than the 10 bytes of a frame" in str(error)


def test_there_are_two_families() -> None:
    assert issubclass(MessageTooLargeError, LocalProtocolError)
    for wire_error in (LocalProtocolError, RemoteProtocolError):
        assert issubclass(wire_error, ProtocolError)
    for error in (RequestFailedError, StaleCellError, SessionClosedError, ToolError, HostError):
        assert issubclass(error, CodeModeError)
        assert not issubclass(error, ProtocolError)


def test_the_first_cause_is_found_in_nested_groups() -> None:
    first, second = ValueError("first"), KeyError("second")
    assert first_cause(ExceptionGroup("outer", [ExceptionGroup("inner", [first, second]), second])) is first
    assert first_cause(first) is first


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ToolError("no such city"), "no such city"),
        (ValueError("bad"), "ValueError: bad"),
        (KeyError(), "KeyError"),
        (ExceptionGroup("unhandled errors in a TaskGroup", [ToolError("no such city"), ValueError()]), "no such city"),
        (ValueError("\ud800"), "ValueError: ?"),
        (WordlessError("bad"), "WordlessError"),
    ],
)
def test_a_tools_exception_is_told_as_what_it_is(error: Exception, text: str) -> None:
    assert tool_failure_text(error) == text
