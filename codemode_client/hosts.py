"""Find this machine's running hosts, query what they run, and end cells or hosts.

These functions block and need no event loop. They reach hosts that other programs have started through each host's
control socket (docs/operations.md). Sessions inside the caller's own process have no host and are not found.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import stat
import struct
import time
from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import Struct

from codemode_protocol.control import (
    ANSWER_BYTES,
    CellsEnded,
    ControlAnswer,
    ControlRequest,
    EndCells,
    HostReport,
    ListCells,
    Refused,
    answer_decoder,
    encode,
)
from codemode_protocol.control_sockets import parse_socket_name, socket_directories, start_time, stat_fields
from codemode_protocol.errors import CodeModeError

ANSWER_SECONDS = 4.0
"""How long a host may take to answer; it waits up to a second for a cell's process to end."""

CONNECT_PAUSE_SECONDS = 0.01
"""The pause before connecting again to a host whose backlog is full."""

ENDING_SECONDS = 1.0
"""How long an ending host may refuse connections before its socket is gone."""

TERMINATE_SECONDS = 2.0
"""How long a host may take to end after SIGTERM before it is killed."""

KILL_SECONDS = 5.0
"""How long the kernel may take to end a killed host."""


class ControlError(CodeModeError):
    """A request to a running host failed; `host_pid` is the host's process id."""

    def __init__(self, host_pid: int, message: str) -> None:
        super().__init__(message)
        self.host_pid = host_pid


class HostGoneError(ControlError):
    """The host has ended. Its stale socket is removed."""


class HostSilentError(ControlError):
    """The host runs but does not answer, or its answer cannot be understood."""


class CellNotFoundError(ControlError):
    """The host does not have the session or cell, or no longer has it."""


class HostSocket(Struct, frozen=True):
    """A host's control socket. `started` is when its process started, in clock ticks since boot."""

    directory: str
    name: str
    pid: int
    started: int


def find_hosts(directory: str | None = None) -> tuple[list[HostSocket], list[str]]:
    """Return the sockets of this user's hosts, by pid, and a line for each folder that cannot be used.

    Some of the sockets may be stale; a request to one raises HostGoneError and removes it.

    Args:
        directory: The folder to search; by default the folders where hosts put their sockets.
    """
    found, complaints = [], []
    places = [directory] if directory is not None else socket_directories(os.environ, os.geteuid())
    for place in places:
        try:
            with _private_folder(place) as (folder, owner):
                if directory is None and owner != os.geteuid():
                    complaints.append(f"{place} is left out: it belongs to user {owner}")
                    continue
                names = os.listdir(folder)
        except FileNotFoundError:
            continue  # no host has ever been there
        except OSError as error:
            complaints.append(f"{place} is left out: {error.strerror}")
            continue
        for name in names:
            process = parse_socket_name(name)
            if process is not None:
                found.append(HostSocket(place, name, *process))
    return sorted(found, key=lambda host: (host.pid, host.started)), complaints


def report(host: HostSocket) -> HostReport:
    """Return what a host runs.

    Raises:
        HostGoneError: The host has ended.
        HostSilentError: The host does not answer.
    """
    answer = _ask(host, ListCells())
    if not isinstance(answer, HostReport):
        raise _misunderstood(host, answer)
    return answer


def end_cells(host: HostSocket, session_id: str, cell_id: str | None = None) -> CellsEnded:
    """Terminate a cell, or all cells of a session, which stays open.

    The present or next wait for a cell is answered that it was terminated. A finished cell whose result was not taken
    loses it. Returns when the processes are gone, or after a second.

    Raises:
        CellNotFoundError: The host does not have the session or cell.
        HostGoneError: The host has ended.
        HostSilentError: The host does not answer.
    """
    answer = _ask(host, EndCells(session_id, cell_id))
    if isinstance(answer, Refused):
        raise CellNotFoundError(host.pid, answer.message)
    if not isinstance(answer, CellsEnded):
        raise _misunderstood(host, answer)
    return answer


def end_host(host: HostSocket) -> Literal["terminated", "killed"]:
    """End a host and all its cells by SIGTERM, and after two seconds by SIGKILL. Its client sees a lost host.

    Raises:
        HostGoneError: The host has ended.
        HostSilentError: The host may not be signalled, or does not end.
    """
    try:
        descriptor = os.pidfd_open(host.pid)
    except ProcessLookupError:
        raise _gone(host) from None
    try:
        if not _is_running(host):  # checked after the descriptor was opened, so that the pid cannot be reused since
            raise _gone(host)
        with _private_folder(host.directory) as (_, owner):
            if os.stat(f"/proc/{host.pid}").st_uid != owner:
                raise _foreign(host)
        for number, seconds in ((signal.SIGTERM, TERMINATE_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            if _ended_within(descriptor, seconds):
                _remove(host)
                return "terminated" if number == signal.SIGTERM else "killed"
    except PermissionError:
        raise HostSilentError(host.pid, f"host {host.pid} belongs to another user") from None
    except FileNotFoundError:
        raise _gone(host) from None
    finally:
        os.close(descriptor)
    raise HostSilentError(host.pid, f"host {host.pid} was killed and does not go: its kernel is busy with it")


# ---------------------------------------------------------------------------------------------------------- one request


def _ask(host: HostSocket, request: ControlRequest) -> ControlAnswer:
    deadline = time.monotonic() + ANSWER_SECONDS
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            with _private_folder(host.directory) as (folder, owner):
                # Through the descriptor: the path always fits, and the folder is the one that was checked.
                _connect(connection, f"/proc/self/fd/{folder}/{host.name}", host, deadline)
            _check_peer(connection, host, owner)
            connection.sendall(encode(request) + b"\n")
            line = _read_line(connection, deadline)
        except FileNotFoundError:
            raise _gone(host) from None
        except TimeoutError:
            message = f"host {host.pid} does not answer within {ANSWER_SECONDS:g} s: is it stopped?"
            raise HostSilentError(host.pid, message) from None
        except OSError as error:
            if isinstance(error, ConnectionError) and not _is_running(host):
                if isinstance(error, ConnectionRefusedError):
                    _remove(host)
                raise _gone(host) from None
            raise HostSilentError(host.pid, f"host {host.pid} cannot be asked: {error.strerror}") from error
    if not line:
        raise HostSilentError(host.pid, f"host {host.pid} closed the connection without a word")
    try:
        return answer_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HostSilentError(host.pid, f"host {host.pid} answers what this version does not know: {error}") from error


def _connect(connection: socket.socket, path: str, host: HostSocket, deadline: float) -> None:
    """Connect, and wait while the host's backlog is full. Raises TimeoutError after the deadline."""
    ending = time.monotonic() + ENDING_SECONDS
    while True:
        try:
            connection.connect(path)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError from None
            time.sleep(CONNECT_PAUSE_SECONDS)
        except ConnectionRefusedError:
            # An ending host stops listening a moment before it removes its socket.
            if time.monotonic() > ending or not _is_running(host):
                raise
            time.sleep(CONNECT_PAUSE_SECONDS)
        else:
            return


def _check_peer(connection: socket.socket, host: HostSocket, owner: int) -> None:
    """Refuse a socket that a process listens on which is not the host that its name names."""
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if (pid, uid) != (host.pid, owner):
        raise _foreign(host)


def _foreign(host: HostSocket) -> HostSilentError:
    return HostSilentError(host.pid, f"the socket named for host {host.pid} is not that process's: it is not believed")


def _read_line(connection: socket.socket, deadline: float) -> bytes:
    """Return an answer; empty if the host closes the connection or sends more than `ANSWER_BYTES`."""
    line = bytearray()
    while not line.endswith(b"\n"):
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        data = connection.recv(1 << 16)
        if not data or len(line) > ANSWER_BYTES:
            return b""
        line += data
    return bytes(line)


def _gone(host: HostSocket) -> HostGoneError:
    return HostGoneError(host.pid, f"host {host.pid} has ended")


def _misunderstood(host: HostSocket, answer: ControlAnswer) -> HostSilentError:
    said = answer.message if isinstance(answer, Refused) else type(answer).__name__
    return HostSilentError(host.pid, f"host {host.pid} does not know what it was asked: {said}")


# ------------------------------------------------------------------------------------------------- files and processes


@contextlib.contextmanager
def _private_folder(directory: str) -> Iterator[tuple[int, int]]:
    """Open a folder that only its owner can enter: this user, or any user if this is root.

    Returns:
        Its descriptor and its owner.

    Raises:
        OSError: It is another user's, or open to others.
    """
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(folder)
        if status.st_uid != os.geteuid() and os.geteuid() != 0:
            raise PermissionError(errno.EACCES, f"it belongs to user {status.st_uid}")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError(errno.EACCES, "it is open to others, and hosts do not use it like that")
        yield folder, status.st_uid
    finally:
        os.close(folder)


def _is_running(host: HostSocket) -> bool:
    """Return whether the host's process runs: not a zombie, nor another process with the same pid."""
    try:
        with open(f"/proc/{host.pid}/stat", "rb", 0) as file:
            process = file.read()
        return start_time(process) == host.started and stat_fields(process)[0] not in (b"Z", b"X")
    except OSError:
        return False


def _ended_within(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _remove(host: HostSocket) -> None:
    """Remove the socket of a host that is gone. Its name is never used again."""
    with contextlib.suppress(OSError), _private_folder(host.directory) as (folder, _):
        os.unlink(host.name, dir_fd=folder)
