"""The errors of code mode, from the wire up to the caller.

Two families: `ProtocolError` is about the bytes and messages of one connection, `CodeModeError` is what the users of a
session see. Each error carries the identifiers that it is about.
"""

from __future__ import annotations


class ProtocolError(Exception):
    """The rules of the conversation were broken."""


class LocalProtocolError(ProtocolError):
    """This side called its own connection wrongly. Nothing was sent and nothing changed."""


class MessageTooLargeError(LocalProtocolError):
    """A message does not fit in a frame. Nothing was sent; the connection lives on.

    `size` and `limit` are bytes of payload. The text is the reference host's: a tool call that is too large rejects its
    promise with it.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"code-mode IPC frame length {size} exceeds {limit} bytes")
        self.size = size
        self.limit = limit


class RemoteProtocolError(ProtocolError):
    """The peer broke a rule. The connection is finished; this is the first cause."""


class CodeModeError(Exception):
    """Base of what a session raises."""


class RequestFailedError(CodeModeError):
    """The host answered a request with an error; the message is the host's own."""


class StaleCellError(CodeModeError):
    """A cell id belongs to a host generation that is gone. Nothing was sent.

    The cell ended with its host; start a new one.
    """

    def __init__(self, cell_id: str, cell_generation: int, current_generation: int) -> None:
        super().__init__(
            f"cell {cell_id} belongs to host generation {cell_generation}, but the session is at generation "
            f"{current_generation}: the cell ended with its host, execute its source again"
        )
        self.cell_id = cell_id
        self.cell_generation = cell_generation
        self.current_generation = current_generation


class SessionClosedError(CodeModeError):
    """The session, or the provider that owns it, was shut down."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id} is shut down: open a new session")
        self.session_id = session_id


class ProviderClosedError(CodeModeError):
    """The provider was closed, and its host with it."""

    def __init__(self) -> None:
        super().__init__("the provider is closed: make a new one")


class RequestTooLargeError(CodeModeError):
    """A request does not fit in a frame. It was not sent, and nothing else is affected.

    `size` and `limit` are bytes of payload.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the request takes {size} bytes, more than the {limit} bytes of a frame")
        self.size = size
        self.limit = limit


class ToolError(CodeModeError):
    """Raise this from a tool to reject its promise with exactly this message."""


class ScriptError(CodeModeError):
    """A script did not succeed: it threw, met a limit, or was stopped. The text is the cell's `error_text`.

    `raise_for_error` of a response raises it; no call of a session does.
    """

    def __init__(self, error_text: str, cell_id: str) -> None:
        super().__init__(error_text)
        self.error_text = error_text
        self.cell_id = cell_id


class HostError(CodeModeError):
    """Something is wrong with the host process as a whole.

    `exit_status` is the host's exit status (negative: the signal that ended it) when it has ended, and `stderr` the
    last lines that it wrote there.
    """

    def __init__(self, message: str, *, exit_status: int | None = None, stderr: str = "") -> None:
        text = message
        if exit_status is not None:
            text += f" ({describe_exit_status(exit_status)})"
        if stderr:
            text += f"; its last lines on standard error:\n{stderr}"
        super().__init__(text)
        self.exit_status = exit_status
        self.stderr = stderr


class HostStartError(HostError):
    """The host could not be started: the program is missing, it speaks another version, it is silent, or it died."""


class HostUnavailableError(HostStartError):
    """The host failed to start so often that it is not started any more. Every later call fails with this, too."""


class HostLostError(HostError):
    """The host was lost while a call was under way. Nothing was retried; the next call starts a fresh generation."""


def describe_exit_status(status: int) -> str:
    """Return a process's exit status as `subprocess` reports it, in words."""
    if status >= 0:
        return f"exit status {status}"
    import signal

    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def first_cause(error: BaseException) -> BaseException:
    """Return the first exception in a group of them, however deep; any other exception as it is."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def tool_failure_text(error: BaseException) -> str:
    """Return what JavaScript is told about a tool's exception: its kind and text, of a `ToolError` the text alone."""
    error = first_cause(error)
    try:
        text = str(error).encode("utf-8", "replace").decode()  # what has lone surrogates cannot be sent
    except Exception:  # noqa: BLE001 - a class of the tool's author, whose text cannot be had
        text = ""
    if isinstance(error, ToolError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
