"""The client's log: one function for each event, and the labels that say what an event is about.

The owner of the state logs an event synchronously after the state has changed. Sources, arguments, results and the
output of scripts are never logged.
"""

from __future__ import annotations

import logging
import re
import traceback
from typing import TYPE_CHECKING, NamedTuple

from codemode_client._observability.foreign import foreign_logger, make_printable
from codemode_protocol.errors import ToolError, describe_exit_status

if TYPE_CHECKING:
    from codemode_protocol.values import ToolInvocation

Field = str | int | None

FIELDS = ("session", "cell", "generation", "host_pid", "request", "tool", "call")
"""The attributes of each record of these loggers, beside logging's own; None where one does not apply."""

host_log = foreign_logger("codemode_client.host")
stderr_log = foreign_logger("codemode_client.host.stderr")
session_log = foreign_logger("codemode_client.session")
cell_log = foreign_logger("codemode_client.cell")
tool_log = foreign_logger("codemode_client.tool")
# A library is silent until its user configures logging.
logging.getLogger("codemode_client").addHandler(logging.NullHandler())

_NO_FIELDS: dict[str, Field] = dict.fromkeys(FIELDS)

# The prefix of `codemode-host`'s own log lines.
_marked = re.compile(r"codemode-host: (DEBUG|INFO|WARNING|ERROR|CRITICAL): ")
_LEVELS = logging.getLevelNamesMapping()


class SessionLabels(NamedTuple):
    """A session on one host."""

    session: str
    generation: int
    host_pid: int | None


class CellLabels(NamedTuple):
    """A cell of a session. `cell` is its public id."""

    session: str
    generation: int
    host_pid: int | None
    cell: str


def host_started(pid: int, program: str) -> None:
    """Log that a host process was spawned."""
    _log(host_log, logging.INFO, "host %d started: %s", pid, program, host_pid=pid)


def host_ready(pid: int) -> None:
    """Log that a host has answered the handshake."""
    _log(host_log, logging.INFO, "host %d is ready", pid, host_pid=pid)


def host_said(pid: int, line: str) -> None:
    """Log a line that a host wrote to its standard error; one without a level is unexpected, and so a warning."""
    mark = _marked.match(line)
    level = _LEVELS[mark[1]] if mark is not None else logging.WARNING
    _log(stderr_log, level, "host %d: %s", pid, line, host_pid=pid)


def host_ended(pid: int | None, cause: str | None, exit_status: int | None, stderr: str) -> None:
    """Log that a host has ended.

    Args:
        pid: None for a host that could not be started.
        cause: None for a host that its owner closed.
        exit_status: As `subprocess` reports it; None if the host was signalled.
        stderr: The last lines of its standard error.
    """
    if cause is None:
        _log(host_log, logging.INFO, "host %d ended, as it was asked to", pid, host_pid=pid)
        return
    status = f" ({describe_exit_status(exit_status)})" if exit_status is not None else ""
    last = f"; its last line on standard error: {stderr.splitlines()[-1]}" if stderr else ""
    if pid is None:
        _log(host_log, logging.ERROR, "no host was started: %s", cause)
    else:
        _log(host_log, logging.ERROR, "host %d was lost: %s%s%s", pid, cause, status, last, host_pid=pid)


def start_failed(failures: int, attempts: int, seconds: float) -> None:
    """Log that a host failed before it worked; the next start is delayed by `seconds`."""
    if failures < attempts:
        text = "%d of %d attempts to start a host have failed; the next one waits for %.1f s"
        _log(host_log, logging.WARNING, text, failures, attempts, seconds)
    else:
        text = "%d attempts in a row to start a host have failed; there is no other"
        _log(host_log, logging.WARNING, text, failures)


# sessions


def session_bound(labels: SessionLabels) -> None:
    """Log that a host has opened a session."""
    if labels.generation == 1:
        _about(labels, session_log, logging.DEBUG, "session %s is open")
    else:
        text = "session %s goes on as generation %d: earlier cells and stored values are gone"
        _about(labels, session_log, logging.INFO, text, labels.generation)


def session_refused(labels: SessionLabels, message: str) -> None:
    """Log that a host refused to open a session."""
    _about(labels, session_log, logging.INFO, "session %s: the host refused to open it: %s", message)


def session_closed(labels: SessionLabels) -> None:
    """Log that a host has closed a session."""
    _about(labels, session_log, logging.DEBUG, "session %s is closed")


def stale_cell_refused(session_id: str, cell_id: str, generation: int) -> None:
    """Log that a caller asked for a cell of a lost generation."""
    text = "session %s: cell %s was asked for, which ended with its host; the session is at generation %d"
    _about(CellLabels(session_id, generation, None, cell_id), cell_log, logging.INFO, text, cell_id, generation)


# cells


def execute_refused(labels: SessionLabels, request: str, message: str) -> None:
    """Log that a host refused to start a cell."""
    text = "session %s: the host refused to start a cell: %s"
    _about(labels, cell_log, logging.INFO, text, message, request=request)


def cell_started(labels: CellLabels, request: str) -> None:
    """Log that a cell has started."""
    _about(labels, cell_log, logging.DEBUG, "session %s: cell %s started", labels.cell, request=request)


def cell_abandoned(labels: CellLabels) -> None:
    """Log that a cell is terminated because its caller gave it up."""
    text = "session %s: cell %s is terminated, for its caller gave it up"
    _about(labels, cell_log, logging.INFO, text, labels.cell)


def cell_limited(labels: CellLabels, limit: str) -> None:
    """Log that a cell ended at a limit."""
    _about(labels, cell_log, logging.INFO, "session %s: cell %s met the limit %s", labels.cell, limit)


def cell_over(labels: CellLabels, end: str) -> None:
    """Log that a cell and all its calls have ended."""
    _about(labels, cell_log, logging.DEBUG, "session %s: cell %s is over: %s", labels.cell, end)


def cell_closed_failed(labels: CellLabels, error: Exception) -> None:
    """Log that a delegate's `cell_closed` raised."""
    text = "session %s: the delegate's cell_closed failed for cell %s"
    _about(labels, tool_log, logging.ERROR, text, labels.cell, error=error)


# tool calls


def call_started(labels: CellLabels, invocation: ToolInvocation) -> None:
    """Log that a tool is called."""
    _call(labels, invocation, logging.DEBUG, "was called")


def call_succeeded(labels: CellLabels, invocation: ToolInvocation) -> None:
    """Log that a tool has answered."""
    _call(labels, invocation, logging.DEBUG, "has answered")


def call_failed(labels: CellLabels, invocation: ToolInvocation, error: Exception) -> None:
    """Log that a tool raised, with the traceback, of which JavaScript gets only the message.

    A `ToolError` is meant for the script's author and its text may quote the arguments, so it is logged as debug.
    """
    refused = isinstance(error, ToolError)
    level, what = (logging.DEBUG, "refused the call") if refused else (logging.WARNING, "failed")
    _call(labels, invocation, level, what, error)


def call_cancelled(labels: CellLabels, invocation: ToolInvocation) -> None:
    """Log that a tool's call was cancelled."""
    _call(labels, invocation, logging.DEBUG, "was cancelled")


def _log(
    logger: logging.Logger, level: int, text: str, *args: object, error: Exception | None = None, **fields: Field
) -> None:
    if not logger.isEnabledFor(level):
        return
    try:
        extra = _NO_FIELDS | {name: make_printable(value) for name, value in fields.items() if value is not None}
        logger.log(level, text, *map(make_printable, args), exc_info=error, extra=extra)
    except Exception:  # noqa: BLE001 - a failing handler must not affect the client
        if logging.raiseExceptions:
            traceback.print_exc()


def _about(
    labels: SessionLabels | CellLabels,
    logger: logging.Logger,
    level: int,
    text: str,
    *args: object,
    error: Exception | None = None,
    **fields: Field,
) -> None:
    """Log an event of a session or a cell; the session's id is the first argument of `text`."""
    if logger.isEnabledFor(level):
        _log(logger, level, text, labels.session, *args, error=error, **labels._asdict(), **fields)


def _call(
    labels: CellLabels, invocation: ToolInvocation, level: int, what: str, error: Exception | None = None
) -> None:
    if not tool_log.isEnabledFor(level):
        return
    tool, call = invocation.tool_name.qualified, invocation.runtime_tool_call_id
    text = f"session %s: cell %s: tool %s {what}"
    _about(labels, tool_log, level, text, labels.cell, tool, error=error, tool=tool, call=call)
