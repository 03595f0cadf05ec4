"""`codemode kill`: end cells of running hosts from outside."""

from __future__ import annotations

import argparse
import sys
from typing import NamedTuple

from codemode_client._cli.commands import ExitStatus, UsageError
from codemode_client._cli.commands.arguments import add_json
from codemode_client._cli.commands.ps import add_control
from codemode_client._cli.console import streams
from codemode_protocol.printable import printable_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from codemode_client.hosts import HostSocket

SUMMARY = "end cells of running hosts"
DESCRIPTION = (
    "End cells by the handles that `codemode ps` shows, all cells of a session, or a whole host; asks nothing, and "
    "says what was ended. The present or next wait for a cell returns its output and that it was terminated; a "
    "finished cell whose result was not taken loses it. A host is sent SIGTERM, and two seconds later SIGKILL: its "
    "client finds it lost. The exit status is 0 when all of it was ended, 1 when something was not there, "
    "2 when the command line cannot be used, 3 when a host does not answer or does not end."
)
EXAMPLE = "codemode kill 4711:session-1:3"

_WORDS = {
    "terminated": "terminated",
    "dropped": "was over; its result is dropped",
    "terminating": "its process has been killed and is not gone yet",
    "killed": "did not end by itself and was killed",
}


class Target(NamedTuple):
    """The target of a kill: a cell, all cells of a session without `cell_id`, or a host without `session_id`."""

    host_pid: int
    session_id: str | None
    cell_id: str | None


class End(NamedTuple):
    """The end of a target: `how` is a word of `_WORDS`, or `not found` or `failed` with a message."""

    host_pid: int
    session_id: str | None
    cell_id: str | None
    how: str
    message: str | None = None


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cells", metavar="HOST:SESSION:CELL", nargs="*", help="cells to end")
    for flag, metavar, what in (
        ("session", "HOST:SESSION", "end all cells of a session, which stays open; may be given several times"),
        ("host", "HOST", "end a host and all its cells; may be given several times"),
    ):
        parser.add_argument(f"--{flag}", metavar=metavar, dest=f"{flag}s", action="append", default=[], help=what)
    add_control(parser)
    add_json(parser, "print one JSON object a line for each thing that was ended or could not be")


def run(options: argparse.Namespace) -> ExitStatus:
    """End the named cells, sessions and hosts, in this order, and return the exit status."""
    targets = [_cell(text) for text in options.cells]
    targets += [_session(text) for text in options.sessions]
    targets += [Target(_pid(text, text), None, None) for text in options.hosts]
    if not targets:
        raise UsageError("name a cell as `codemode ps` shows it, or a --session or a --host")
    from codemode_client.hosts import CellNotFoundError, HostGoneError, HostSilentError, find_hosts

    sockets, complaints = find_hosts(options.control)
    for line in complaints:
        streams.tell(f"codemode kill: {line}")
    status = ExitStatus.OK
    for target in targets:
        try:
            for end in _end(target, [socket for socket in sockets if socket.pid == target.host_pid]):
                tell(end, options.json)
        except (HostGoneError, CellNotFoundError) as error:
            tell(End(*target, "not found", str(error)), options.json)
            status = status or ExitStatus.SCRIPT_ERROR
        except HostSilentError as error:
            tell(End(*target, "failed", str(error)), options.json)
            status = ExitStatus.HOST_FAILURE
    return status


def _end(target: Target, sockets: list[HostSocket]) -> list[End]:
    """End a target. Some of its host's sockets may be stale, of an older process with the same pid."""
    from codemode_client.hosts import CellNotFoundError, HostGoneError, end_cells, end_host

    pid, session, cell = target
    error: CellNotFoundError | HostGoneError = HostGoneError(pid, f"no host {pid} is running")
    for socket in sockets:
        try:
            if session is None:
                return [End(pid, None, None, end_host(socket))]
            ended = end_cells(socket, session, cell).cells
        except (CellNotFoundError, HostGoneError) as missing:
            error = missing
        else:
            if ended:
                return [End(pid, one.session_id, one.cell_id, one.how) for one in ended]
            error = CellNotFoundError(pid, f"session {printable_line(session)} has no cells")
    raise error


def tell(end: End, as_json: bool) -> None:
    """Print the end of a target."""
    if as_json:
        streams.write_json(end._asdict())
        return
    what = ":".join(printable_line(str(part)) for part in end[:3] if part is not None)
    if end.how in _WORDS:
        sys.stdout.write(f"{what}: {_WORDS[end.how]}\n")
    else:
        streams.tell(f"codemode kill: {what}: {end.message}")


def _cell(text: str) -> Target:
    host, _, rest = text.partition(":")
    session, colon, cell = rest.rpartition(":")
    if not colon:
        raise UsageError(
            f"{text} is no cell: write HOST:SESSION:CELL; a session goes with --session, a host with --host"
        )
    return Target(_pid(host, text), session, cell)


def _session(text: str) -> Target:
    host, colon, session = text.partition(":")
    if not colon:
        raise UsageError(f"--session {text}: write it as HOST:SESSION")
    return Target(_pid(host, text), session, None)


def _pid(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise UsageError(f"{whole}: {text!r} is no process number of a host")
    return int(text)
