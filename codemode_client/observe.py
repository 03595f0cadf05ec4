"""What happens under one provider: counted always, logged where a handler wants it, traced where it was asked for.

Everything here is told synchronously by whoever owns the state, after the state has changed, and changes none of
it. Sources, arguments, results and what scripts write are told to nobody.
"""

from __future__ import annotations

import logging
import re
import traceback
from typing import TYPE_CHECKING

from codemode_client.counters import FRAME_LIMIT, CellEnd, Tally, limit_met
from codemode_protocol.errors import ToolError, describe_exit_status
from codemode_protocol.exit_status import name_ending
from codemode_protocol.values import Result, RuntimeResponse, Terminated, ToolInvocation

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from codemode_client.binding import Binding
    from codemode_client.cells import CellRecord

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


def way_of_ending(exit_status: int | None) -> str:
    """How a host ended, by its exit status; None for one that had to be stopped."""
    if exit_status is None:
        return "stopped"
    if exit_status < 0:
        return describe_exit_status(exit_status).removeprefix("killed by ").replace("signal ", "signal_")
    return name_ending(exit_status)


class Observer:
    """Told what happens. `tally` is added to directly where that is all there is to do."""

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self.tally = Tally()
        self.tracing = None
        if tracer_provider is not None:
            try:
                from codemode_client.telemetry import Tracing
            except ModuleNotFoundError as error:
                raise ImportError(
                    f"spans need OpenTelemetry ({error}): pip install 'codemode-host[otel]'", name=error.name
                ) from error
            self.tracing = Tracing(tracer_provider)

    # the host

    def host_starts(self) -> None:
        self.tally.hosts_started += 1

    def host_started(self, pid: int, program: str) -> None:
        _log(host_log, logging.INFO, "host %d started: %s", pid, program, host_pid=pid)

    def host_ready(self, pid: int) -> None:
        self.tally.hosts_ready += 1
        _log(host_log, logging.INFO, "host %d is ready", pid, host_pid=pid)

    def host_said(self, pid: int, line: str) -> None:
        """A line of a host's standard error. Whoever does not mark its lines says something unforeseen."""
        mark = _marked.match(line)
        level = _LEVELS[mark[1]] if mark is not None else logging.WARNING
        _log(stderr_log, level, "host %d: %s", pid, line, host_pid=pid)

    def host_ended(self, pid: int | None, how: str, cause: str | None, exit_status: int | None, stderr: str) -> None:
        """`cause` is None for a host whose owner closed it, and so is `pid` for one that could not be started."""
        self.tally.host_ended(how)
        if cause is None:
            _log(host_log, logging.INFO, "host %d ended, as it was asked to", pid, host_pid=pid)
            return
        status = f" ({describe_exit_status(exit_status)})" if exit_status is not None else ""
        last = f"; its last line on standard error: {stderr.splitlines()[-1]}" if stderr else ""
        if pid is None:
            _log(host_log, logging.ERROR, "no host was started: %s", cause)
        else:
            _log(host_log, logging.ERROR, "host %d was lost: %s%s%s", pid, cause, status, last, host_pid=pid)

    def start_failed(self, failures: int, attempts: int, seconds: float) -> None:
        if failures < attempts:
            text = "%d of %d attempts to start a host have failed; the next one waits for %.1f s"
            _log(host_log, logging.WARNING, text, failures, attempts, seconds)
        else:
            text = "%d attempts in a row to start a host have failed; there is no other"
            _log(host_log, logging.WARNING, text, failures)

    # sessions

    def session_bound(self, binding: Binding) -> None:
        if binding.generation == 1:
            self.tally.sessions_opened += 1
            if session_log.isEnabledFor(logging.DEBUG):
                _about(binding, session_log, logging.DEBUG, "session %s is open")
            return
        self.tally.sessions_rebound += 1
        _about(
            binding,
            session_log,
            logging.INFO,
            "session %s goes on as generation %d: earlier cells and stored values are gone",
            binding.generation,
        )

    def session_refused(self, binding: Binding, message: str) -> None:
        _about(binding, session_log, logging.INFO, "session %s: the host refused to open it: %s", message)

    def session_closed(self, binding: Binding) -> None:
        if session_log.isEnabledFor(logging.DEBUG):
            _about(binding, session_log, logging.DEBUG, "session %s is closed")

    def stale_cell_refused(self, session_id: str, cell_id: str, generation: int) -> None:
        self.tally.stale_cells_refused += 1
        _log(
            cell_log,
            logging.INFO,
            "session %s: cell %s was asked for, which ended with its host; the session is at generation %d",
            session_id,
            cell_id,
            generation,
            session=session_id,
            cell=cell_id,
            generation=generation,
        )

    # cells

    def request_too_large(self) -> None:
        self.tally.limit_met(FRAME_LIMIT)

    def execute_refused(self, binding: Binding, request: str, message: str) -> None:
        limit = limit_met(message)
        if limit is not None:
            self.tally.limit_met(limit)
        text = "session %s: the host refused to start a cell: %s"
        _about(binding, cell_log, logging.INFO, text, message, request=request)

    def cell_started(self, record: CellRecord, request: str) -> None:
        self.tally.cells_started += 1
        if cell_log.isEnabledFor(logging.DEBUG):
            _of(record, logging.DEBUG, "cell %s started", request=request)

    def cell_answered(self, record: CellRecord, response: RuntimeResponse) -> None:
        """An answer about a live cell came. The first one that tells of the cell's end counts."""
        self.tally.output_items += len(response.content_items)
        if record.end is not None:
            return
        if isinstance(response, Result):
            if response.error_text is None:
                record.end = "completed"
                return
            record.limit = limit_met(response.error_text)
            record.end = "failed" if record.limit is None else "limited"
        elif isinstance(response, Terminated):
            record.end = "terminated"

    def cell_abandoned(self, record: CellRecord) -> None:
        self.tally.cells_abandoned += 1
        _of(record, logging.INFO, "cell %s is terminated, for its caller gave it up")
        if record.span is not None:
            record.span.abandoned()

    def cell_over(self, record: CellRecord) -> None:
        """A cell and all its calls are over."""
        end: CellEnd
        if record.end is not None:
            end = record.end
        else:
            driver = record.binding.driver
            end = "lost" if driver.lost and not driver.closing else "terminated"
        self.tally.cell_ends[end] += 1
        if record.limit is not None:
            self.tally.limit_met(record.limit)
            _of(record, logging.INFO, "cell %s met the limit %s", record.limit)
        if cell_log.isEnabledFor(logging.DEBUG):
            _of(record, logging.DEBUG, "cell %s is over: %s", end)
        if record.span is not None:
            record.span.end(end, record.limit)

    # tool calls

    def call_started(self, record: CellRecord, invocation: ToolInvocation) -> None:
        self.tally.tool_calls += 1
        if tool_log.isEnabledFor(logging.DEBUG):
            _call(record, invocation, logging.DEBUG, "was called")

    def call_succeeded(self, record: CellRecord, invocation: ToolInvocation) -> None:
        self.tally.tool_calls_succeeded += 1
        if tool_log.isEnabledFor(logging.DEBUG):
            _call(record, invocation, logging.DEBUG, "has answered")

    def call_failed(self, record: CellRecord, invocation: ToolInvocation, error: Exception) -> None:
        """JavaScript is told an exception's message alone, so its traceback is kept here.

        A `ToolError` is meant for the script's author, and its text may quote the arguments.
        """
        self.tally.tool_calls_failed += 1
        if not isinstance(error, ToolError):
            _call(record, invocation, logging.WARNING, "failed", error)
        elif tool_log.isEnabledFor(logging.DEBUG):
            _call(record, invocation, logging.DEBUG, "refused the call", error)

    def call_cancelled(self, record: CellRecord, invocation: ToolInvocation) -> None:
        self.tally.tool_calls_cancelled += 1
        if tool_log.isEnabledFor(logging.DEBUG):
            _call(record, invocation, logging.DEBUG, "was cancelled")

    def cell_closed_failed(self, record: CellRecord, error: Exception) -> None:
        text, cell = "session %s: the delegate's cell_closed failed for cell %s", record.public_id
        _about(record.binding, tool_log, logging.ERROR, text, cell, cell=cell, error=error)


def _log(
    logger: logging.Logger, level: int, text: str, *args: object, error: Exception | None = None, **fields: Field
) -> None:
    try:
        logger.log(level, text, *args, exc_info=error, extra=_NO_FIELDS | fields)
    except Exception:  # noqa: BLE001 a handler that fails must not stop what it hears of
        if logging.raiseExceptions:
            traceback.print_exc()


def _about(
    binding: Binding,
    logger: logging.Logger,
    level: int,
    text: str,
    *args: object,
    error: Exception | None = None,
    cell: str | None = None,
    request: str | None = None,
    tool: str | None = None,
    call: str | None = None,
) -> None:
    """Of a session on its host, whose id is the first argument of `text`."""
    _log(
        logger,
        level,
        text,
        binding.session_id,
        *args,
        error=error,
        session=binding.session_id,
        generation=binding.generation,
        host_pid=binding.driver.pid,
        cell=cell,
        request=request,
        tool=tool,
        call=call,
    )


def _of(record: CellRecord, level: int, text: str, *args: object, request: str | None = None) -> None:
    """Of a cell, whose id is the first argument of `text`."""
    cell = record.public_id
    _about(record.binding, cell_log, level, f"session %s: {text}", cell, *args, cell=cell, request=request)


def _call(
    record: CellRecord, invocation: ToolInvocation, level: int, what: str, error: Exception | None = None
) -> None:
    cell, tool = record.public_id, invocation.tool_name.qualified
    call = invocation.runtime_tool_call_id
    text = f"session %s: cell %s: tool %s {what}"
    _about(record.binding, tool_log, level, text, cell, tool, error=error, cell=cell, tool=tool, call=call)
