"""`codemode ps`: the live cells of the running hosts of this machine."""

from __future__ import annotations

import argparse
import sys

from codemode_client._cli.commands import ExitStatus
from codemode_client._cli.commands.arguments import add_json
from codemode_client._cli.console.streams import tell, write_json
from codemode_protocol.printable import printable_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from codemode_protocol.control import CellReport, HostReport, PendingCalls

SUMMARY = "list the live cells of running hosts"
DESCRIPTION = (
    "List the cells of all your hosts that run on this machine, however they were started: their age, processor time "
    "and memory, and what they wait for. Each has a handle for `codemode kill`. Sessions inside a program's own "
    "process have no host and are not listed. The exit status is 0 when every host has answered, 1 when a HOST is not "
    "there, 3 when one does not answer."
)
EXAMPLE = "codemode ps --json | jq '.cells[] | select(.age_ms > 60000)'"

MIB = 1024 * 1024
HEADINGS = ("CELL", "CLIENT", "AGE", "CPU", "MEMORY", "STATE", "WAITING ON")
_RIGHT_ALIGNED = ("CLIENT", "AGE", "CPU", "MEMORY")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("hosts", metavar="HOST", nargs="*", type=int, help="only hosts with these process numbers")
    add_control(parser)
    add_json(parser, "print one JSON object a line for each host, with all that is known")


def add_control(parser: argparse.ArgumentParser) -> None:
    """Add `--control`."""
    parser.add_argument(
        "--control",
        metavar="DIR",
        help="look in DIR, for hosts that were told `--control DIR` (default: wherever your hosts put their sockets)",
    )


def run(options: argparse.Namespace) -> ExitStatus:
    """Print the list and return the exit status."""
    from codemode_client.hosts import HostGoneError, HostSilentError, find_hosts, report

    status = ExitStatus.OK
    sockets, complaints = find_hosts(options.control)
    for line in complaints:
        tell(f"codemode ps: {line}")
    missing = set(options.hosts)
    reports = []
    for socket in sockets:
        if options.hosts and socket.pid not in options.hosts:
            continue
        try:
            reports.append(report(socket))
        except HostGoneError:
            continue
        except HostSilentError as error:
            tell(f"codemode ps: {error}")
            status = ExitStatus.HOST_FAILURE
        missing.discard(socket.pid)
    for pid in sorted(missing):
        tell(f"codemode ps: no host {pid} is running")
        status = status or ExitStatus.SCRIPT_ERROR
    if options.json:
        for one in reports:
            write_json(one)
    elif reports:
        sys.stdout.write(table(reports))
    return status


def table(reports: list[HostReport]) -> str:
    """Return a table with a line for each cell and for each host without cells."""
    rows: list[tuple[str, ...]] = [HEADINGS]
    for host in reports:
        client = str(host.client_pid)
        for cell in host.cells:
            handle = f"{host.pid}:{printable_line(cell.session_id)}:{printable_line(cell.cell_id)}"
            memory = "-" if cell.memory_bytes is None else f"{cell.memory_bytes / MIB:.1f} MiB"
            cpu = "-" if cell.cpu_ms is None else f"{cell.cpu_ms / 1000:.2f} s"
            rows.append((handle, client, duration(cell.age_ms), cpu, memory, cell.state, waiting(cell)))
        if not host.cells:
            rows.append((str(host.pid), client, duration(host.age_ms), "-", "-", "no cells", ""))
        if host.cells_left_out:
            rows.append((str(host.pid), client, "", "", "", f"{host.cells_left_out} more", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            text.rjust(width) if heading in _RIGHT_ALIGNED else text.ljust(width)
            for heading, text, width in zip(HEADINGS, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def waiting(cell: CellReport) -> str:
    """Describe what a cell waits for."""
    if cell.state == "finished":
        return f"its result to be taken, for {duration(cell.finished_ms or 0)}"
    parts: list[str] = []
    for what in cell.waiting_on:
        match what:
            case "calls":
                parts += map(_calls, cell.calls)
            case "timer":
                parts.append("a timer")
            case "output":
                parts.append(f"its output to be taken, {cell.output_bytes / MIB:.1f} MiB")
            case "notifications":
                plural = "s" if cell.notifications != 1 else ""
                parts.append(f"{cell.notifications} notification{plural} to be answered")
            case "host":
                parts.append("its host to take what it says")
            case "nothing":
                parts.append("nothing: no call and no timer is left that could wake it up")
            case "unknown":
                parts.append("a timer, or nothing")
    return ", ".join(parts)


def _calls(calls: PendingCalls) -> str:
    times = f" ×{calls.count}" if calls.count > 1 else ""
    return f"{printable_line(calls.tool)}{times} for {duration(calls.oldest_ms)}"


def duration(ms: int) -> str:
    """Format milliseconds for people."""
    if ms < 60_000:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
