"""What is logged, an event a function; and the labels that say what an event is about.

Events are told synchronously by the owner of the state, after the state has changed, and change none of it. Sources,
arguments, results and what scripts write are logged nowhere. Counting is done in place, by adding to a `Tally`.
"""

from __future__ import annotations

import logging
import re
import traceback
from typing import TYPE_CHECKING, NamedTuple

from codemode_protocol.errors import ToolError, describe_exit_status

if TYPE_CHECKING:
    from codemode_protocol.values import ToolInvocation

Field = str | int | None

FIELDS = ("session", "cell", "generation", "host_pid", "request", "tool", "call")
"""The attributes that each record of these loggers has, beside logging's own; None where there is nothing to say."""

host_log = logging.getLogger("codemode_client.host")
stderr_log = logging.getLogger("codemode_client.host.stderr")
session_log = logging.getLogger("codemode_client.session")
cell_log = logging.getLogger("codemode_client.cell")
tool_log = logging.getLogger("codemode_client.tool")
# A library is silent until its user says what becomes of its records.
logging.getLogger("codemode_client").addHandler(logging.NullHandler())

_NO_FIELDS: dict[str, Field] = dict.fromkeys(FIELDS)

# How `codemode-host` marks its own log lines.
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
    """A host process was spawned."""
    _log(host_log, logging.INFO, "host %d started: %s", pid, program, host_pid=pid)


def host_ready(pid: int) -> None:
    """A host has answered the handshake."""
    _log(host_log, logging.INFO, "host %d is ready", pid, host_pid=pid)


def host_said(pid: int, line: str) -> None:
    """A host wrote a line to its standard error. A line without a mark is unforeseen, and so a warning."""
    mark = _marked.match(line)
    level = _LEVELS[mark[1]] if mark is not None else logging.WARNING
    _log(stderr_log, level, "host %d: %s", pid, line, host_pid=pid)


def host_ended(pid: int | None, cause: str | None, exit_status: int | None, stderr: str) -> None:
    """A host has ended.

    Args:
        pid: None for a host that could not be started.
        cause: None for a host that its owner closed.
        exit_status: As `subprocess` reports it; None if it had to be stopped.
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
    """A host came to nothing; the next start is put off by so many seconds."""
    if failures < attempts:
        text = "%d of %d attempts to start a host have failed; the next one waits for %.1f s"
        _log(host_log, logging.WARNING, text, failures, attempts, seconds)
    else:
        text = "%d attempts in a row to start a host have failed; there is no other"
        _log(host_log, logging.WARNING, text, failures)


# sessions


def session_bound(labels: SessionLabels) -> None:
    """A host has opened a session."""
    if labels.generation == 1:
        _about(labels, session_log, logging.DEBUG, "session %s is open")
    else:
        text = "session %s goes on as generation %d: earlier cells and stored values are gone"
        _about(labels, session_log, logging.INFO, text, labels.generation)


def session_refused(labels: SessionLabels, message: str) -> None:
    """A host would not open a session."""
    _about(labels, session_log, logging.INFO, "session %s: the host refused to open it: %s", message)


def session_closed(labels: SessionLabels) -> None:
    """A host has closed a session."""
    _about(labels, session_log, logging.DEBUG, "session %s is closed")


def stale_cell_refused(session_id: str, cell_id: str, generation: int) -> None:
    """A caller asked for a cell of a generation that is gone."""
    text = "session %s: cell %s was asked for, which ended with its host; the session is at generation %d"
    _log(
        cell_log,
        logging.INFO,
        text,
        session_id,
        cell_id,
        generation,
        session=session_id,
        cell=cell_id,
        generation=generation,
    )


# cells


def execute_refused(labels: SessionLabels, request: str, message: str) -> None:
    """A host would not start a cell."""
    text = "session %s: the host refused to start a cell: %s"
    _about(labels, cell_log, logging.INFO, text, message, request=request)


def cell_started(labels: CellLabels, request: str) -> None:
    """A cell runs."""
    _about(labels, cell_log, logging.DEBUG, "session %s: cell %s started", labels.cell, request=request)


def cell_abandoned(labels: CellLabels) -> None:
    """A cell is terminated because its caller is gone."""
    text = "session %s: cell %s is terminated, for its caller gave it up"
    _about(labels, cell_log, logging.INFO, text, labels.cell)


def cell_limited(labels: CellLabels, limit: str) -> None:
    """A cell ended at a limit."""
    _about(labels, cell_log, logging.INFO, "session %s: cell %s met the limit %s", labels.cell, limit)


def cell_over(labels: CellLabels, end: str) -> None:
    """A cell and all its calls are over."""
    _about(labels, cell_log, logging.DEBUG, "session %s: cell %s is over: %s", labels.cell, end)


def cell_closed_failed(labels: CellLabels, error: Exception) -> None:
    """A delegate's `cell_closed` raised."""
    text = "session %s: the delegate's cell_closed failed for cell %s"
    _about(labels, tool_log, logging.ERROR, text, labels.cell, error=error)


# tool calls


def call_started(labels: CellLabels, invocation: ToolInvocation) -> None:
    """A tool is called."""
    _call(labels, invocation, logging.DEBUG, "was called")


def call_succeeded(labels: CellLabels, invocation: ToolInvocation) -> None:
    """A tool has answered."""
    _call(labels, invocation, logging.DEBUG, "has answered")


def call_failed(labels: CellLabels, invocation: ToolInvocation, error: Exception) -> None:
    """A tool raised.

    JavaScript is told an exception's message alone, so its traceback is kept here. A `ToolError` is meant for the
    script's author, and its text may quote the arguments.
    """
    if isinstance(error, ToolError):
        _call(labels, invocation, logging.DEBUG, "refused the call", error)
    else:
        _call(labels, invocation, logging.WARNING, "failed", error)


def call_cancelled(labels: CellLabels, invocation: ToolInvocation) -> None:
    """A tool's call was cancelled."""
    _call(labels, invocation, logging.DEBUG, "was cancelled")


def _log(
    logger: logging.Logger, level: int, text: str, *args: object, error: Exception | None = None, **fields: Field
) -> None:
    if not logger.isEnabledFor(level):
        return
    try:
        logger.log(level, text, *args, exc_info=error, extra=_NO_FIELDS | fields)
    except Exception:  # noqa: BLE001 a handler that fails must not stop what it hears of
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
    """Log of a session or a cell; the session's id is the first argument of `text`."""
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
