"""Answers the requests on the control socket: listing cells and ending them.

Imported at the first request. Listing changes nothing. The client of an ended cell receives the usual messages.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from itertools import islice
from typing import Protocol

import msgspec
import trio

from codemode_host.cells.cell_states import CellState
from codemode_host.cells.session import Cell, CellSession
from codemode_host.runtimes.host_side.runtimes import RuntimePool
from codemode_host.version import VERSION
from codemode_protocol.control import (
    SESSION_CHARACTERS,
    CellReport,
    CellsEnded,
    CellStateName,
    ControlAnswer,
    EndCells,
    EndedCell,
    HostReport,
    PendingCalls,
    Refused,
    WaitName,
    cut,
    encode,
    request_decoder,
)
from codemode_protocol.control_sockets import stat_fields
from codemode_protocol.limits import Limits

logger: logging.Logger = logging.getLogger("codemode_host")


class ReportedHost(Protocol):
    """The part of a host that the control socket uses."""

    limits: Limits
    cells: int
    pool: RuntimePool
    started_ns: int

    @property
    def sessions(self) -> Mapping[str, CellSession]:
        """The open sessions."""

    def flush(self) -> None:
        """Write the queued messages."""


END_SECONDS = 1.0
"""How long to wait for a killed cell's process to end before answering."""

MAX_CELLS = 5_000
"""The most cells in an answer."""

MAX_CALLS, MAX_TOOLS = 1_000, 20
"""The most pending calls of a cell that are examined, and the most tools that are named."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


async def answer(host: ReportedHost, request: bytes, peer: str) -> bytes:
    """Return the line that answers a request; `peer` is its sender, for the log. Raises HostStopped."""
    return encode(await _answer(host, request, peer)) + b"\n"


async def _answer(host: ReportedHost, line: bytes, peer: str) -> ControlAnswer:
    try:
        request = request_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Refused(f"this is no request: {error}")
    if isinstance(request, EndCells):
        return await _end(host, request, peer)
    return await _report(host)


# --------------------------------------------------------------------------------------------------------- ending cells


async def _end(host: ReportedHost, request: EndCells, peer: str) -> ControlAnswer:
    session = host.sessions.get(request.session_id)
    if session is None:
        return Refused(f"the host has no session {cut(request.session_id)}")
    if request.cell_id is None:
        cells = list(session.cells.values())
    elif (cell := session.cells.get(request.cell_id)) is not None:
        cells = [cell]
    else:
        return Refused(f"session {cut(session.id)} has no cell {cut(request.cell_id)}: it has ended, or never was")
    stopped: list[tuple[Cell, bool]] = []
    for cell in cells:
        logger.warning("session %s cell %s: ended from outside, by %s", cut(session.id), cell.id, peer)
        stopped.append((cell, cell.end()))
    host.flush()
    with trio.move_on_after(END_SECONDS):
        for cell in cells:
            await cell.runtime.exited.wait()
    return CellsEnded([_ended(session.id, *one) for one in stopped])


def _ended(session_id: str, cell: Cell, stopped: bool) -> EndedCell:
    if not stopped:
        return EndedCell(session_id, cell.id, "dropped")
    return EndedCell(session_id, cell.id, "terminated" if cell.runtime.exit is not None else "terminating")


# -------------------------------------------------------------------------------------------------------- what there is


async def _report(host: ReportedHost) -> HostReport:
    reports: list[CellReport] = []
    for session in list(host.sessions.values()):
        for cell in list(session.cells.values()):
            if len(reports) < MAX_CELLS and cell.state is not CellState.CLOSED:
                reports.append(_report_cell(cell, session.id, host.pool.zygote.pid))
                await trio.lowlevel.checkpoint()  # other tasks wait for at most one report
    return HostReport(
        version=VERSION,
        pid=os.getpid(),
        client_pid=os.getppid(),
        age_ms=_ms_since(host.started_ns),
        memory_limit_bytes=host.limits.memory_bytes,
        sessions=len(host.sessions),
        cells=reports,
        cells_left_out=max(0, host.cells - len(reports)),
    )


def _report_cell(cell: Cell, session_id: str, zygote_pid: int) -> CellReport:
    runtime = cell.runtime
    pid = runtime.pid if runtime.exit is None else None
    process = _Process.read(pid, zygote_pid) if pid is not None else None
    calls = _pending_calls(cell)
    state, waiting_on = _state(cell, process, bool(calls))
    if process is not None:
        cpu_ms: int | None = process.cpu_ms
    else:
        cpu_ms = round(runtime.exit.cpu_time * 1000) if runtime.exit is not None else None
    return CellReport(
        session_id=cut(session_id, SESSION_CHARACTERS),
        cell_id=cell.id,
        call_id=cut(cell.calls.call_id),
        state=state,
        waiting_on=waiting_on,
        age_ms=_ms_since(cell.started_ns),
        finished_ms=_ms_since(cell.completed_ns) if cell.completed_ns else None,
        observed=cell.observed,
        calls=calls,
        notifications=cell.calls.notifications,
        output_bytes=cell.output.held,
        pid=pid if process is not None else None,
        cpu_ms=cpu_ms,
        memory_bytes=max(0, process.filled - runtime.baseline) if process is not None else None,
        resident_bytes=process.resident if process is not None else None,
    )


def _state(cell: Cell, process: _Process | None, calls: bool) -> tuple[CellStateName, list[WaitName]]:
    match cell.state:
        case CellState.COMPLETED:
            return "finished", []
        case CellState.DELIVERING:
            return "draining", ["notifications"]
        case CellState.RUNNING if cell.output_full:
            return "paused", ["output"]
        case CellState.RUNNING if process is None:
            return "starting", []
        case CellState.RUNNING:
            assert process is not None
            waits = process.waits(calls)
            return ("waiting" if waits else "running"), waits
        case _:
            return "terminating", []


def _pending_calls(cell: Cell) -> list[PendingCalls]:
    now = time.perf_counter_ns()
    tools: dict[str, tuple[int, int]] = {}
    for call in islice(cell.calls.pending, MAX_CALLS):  # the oldest come first
        if call.tool is not None:
            since, count = tools.get(call.tool, (call.since, 0))
            tools[call.tool] = since, count + 1
    return [
        PendingCalls(cut(tool), count, (now - since) // 1_000_000)
        for tool, (since, count) in islice(tools.items(), MAX_TOOLS)
    ]


class _Process:
    """The kernel's information about a cell's process."""

    def __init__(self, fields: list[bytes], resident_pages: int, shared_pages: int, system_call: int | None) -> None:
        self.sleeping = fields[0] == b"S"
        self.cpu_ms = round((int(fields[11]) + int(fields[12])) * _TICK_MS)
        self.resident = resident_pages * _PAGE_BYTES
        self.filled = (resident_pages - shared_pages) * _PAGE_BYTES
        self.system_call = system_call

    @classmethod
    def read(cls, pid: int, parent: int) -> _Process | None:
        """Read a process; return None if it is gone or its id belongs to another process."""
        try:
            fields = stat_fields(_read(f"/proc/{pid}/stat"))
            _, resident, shared, *_ = map(int, _read(f"/proc/{pid}/statm").split())
        except (OSError, ValueError):
            return None
        if int(fields[1]) != parent or fields[0] == b"Z":
            return None
        try:
            number, *_ = _read(f"/proc/{pid}/syscall").split()
        except (OSError, ValueError):  # not permitted, or not on this system
            return cls(fields, resident, shared, None)
        return cls(fields, resident, shared, int(number) if number.isdigit() else -1)  # "running"

    def waits(self, calls: bool) -> list[WaitName]:
        """Return what the script waits for; nothing while it runs. A cell's process sleeps in three system calls."""
        if not self.sleeping:
            return []
        called: list[WaitName] = ["calls"] if calls else []
        match self.system_call:
            case 0:  # x86-64's read: for answers
                return called or ["nothing"]
            case 7:  # poll: for answers or the next timer
                return [*called, "timer"]
            case 1:  # write: for the host, which is busy or waits for its client to read
                return ["host"]
            case None:
                return called or ["unknown"]
            case _:
                return []


def _read(path: str) -> bytes:
    with open(path, "rb", 0) as file:
        return file.read()


def _ms_since(moment_ns: int) -> int:
    return (time.perf_counter_ns() - moment_ns) // 1_000_000
