"""The running hosts of this machine: finding them, asking what they run, and ending what should end.

What is here blocks, and needs no event loop: it speaks to hosts that other programs have started, through the control
socket of each (docs/operations.md). Sessions inside the caller's own process have no host and are not found.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import stat
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
"""How long a host may take to answer; it gives itself a second to see a cell's process go."""

CONNECT_PAUSE_SECONDS = 0.01
"""A host whose queue of requests is full is asked again after so much time."""

ENDING_SECONDS = 1.0
"""How long a host that ends may refuse to listen before its socket is gone."""

TERMINATE_SECONDS = 2.0
"""How long a host that was sent SIGTERM may take to end before it is killed."""

KILL_SECONDS = 5.0
"""How long the kernel may take to end a killed one."""


class ControlError(CodeModeError):
    """Something about a running host went wrong; `host_pid` is the host's process."""

    def __init__(self, host_pid: int, message: str) -> None:
        super().__init__(message)
        self.host_pid = host_pid


class HostGoneError(ControlError):
    """The host has ended. What it had left behind of its socket is removed."""


class HostSilentError(ControlError):
    """The host is there and does not answer, or answers what cannot be understood."""


class CellNotFoundError(ControlError):
    """The host has no such session or cell, or not any more."""


class HostSocket(Struct, frozen=True):
    """Where a host can be asked. `started` is when its process started, in clock ticks since the machine did."""

    directory: str
    name: str
    pid: int
    started: int


def find_hosts(directory: str | None = None) -> tuple[list[HostSocket], list[str]]:
    """The sockets of this user's hosts, by pid, and a line for each folder that cannot be used.

    Looks in the folder given, else wherever hosts put their sockets. Some of them may have been left behind: asking
    tells, and clears them away.
    """
    found, complaints = [], []
    places = [directory] if directory is not None else socket_directories(os.environ, os.geteuid())
    for place in places:
        try:
            with _private_folder(place) as folder:
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
    """What a host runs. Raises HostGoneError, HostSilentError."""
    answer = _ask(host, ListCells())
    if not isinstance(answer, HostReport):
        raise _misunderstood(host, answer)
    return answer


def end_cells(host: HostSocket, session_id: str, cell_id: str | None = None) -> CellsEnded:
    """End a cell, or all of a session: whoever waits for it is told that it was terminated, or the next who does.

    Returns when the processes are gone, or after a second. A cell that was over and not collected loses its result.
    The session stays open. Raises CellNotFoundError, HostGoneError, HostSilentError.
    """
    answer = _ask(host, EndCells(session_id, cell_id))
    if isinstance(answer, Refused):
        raise CellNotFoundError(host.pid, answer.message)
    if not isinstance(answer, CellsEnded):
        raise _misunderstood(host, answer)
    return answer


def end_host(host: HostSocket) -> Literal["terminated", "killed"]:
    """End a host and all its cells by SIGTERM, and if that takes more than two seconds by SIGKILL.

    Its client finds it lost. Raises HostGoneError, and HostSilentError when it may not be signalled or does not go.
    """
    try:
        descriptor = os.pidfd_open(host.pid)
    except ProcessLookupError:
        raise _gone(host) from None
    try:
        if not _is_running(host):  # asked after the descriptor was there: it is that process's, or of no use
            raise _gone(host)
        for number, seconds in ((signal.SIGTERM, TERMINATE_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            if _ended_within(descriptor, seconds):
                _remove(host)
                return "terminated" if number == signal.SIGTERM else "killed"
    except PermissionError:
        raise HostSilentError(host.pid, f"host {host.pid} belongs to another user") from None
    finally:
        os.close(descriptor)
    raise HostSilentError(host.pid, f"host {host.pid} was killed and does not go: its kernel is busy with it")


# ---------------------------------------------------------------------------------------------------------- one request


def _ask(host: HostSocket, request: ControlRequest) -> ControlAnswer:
    deadline = time.monotonic() + ANSWER_SECONDS
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            with _private_folder(host.directory) as folder:
                # By way of the descriptor: the path always fits, and the folder is the one that was looked at.
                _connect(connection, f"/proc/self/fd/{folder}/{host.name}", host, deadline)
            connection.sendall(encode(request) + b"\n")
            line = _read_line(connection, deadline)
        except FileNotFoundError:
            raise _gone(host) from None
        except TimeoutError:
            raise HostSilentError(
                host.pid, f"host {host.pid} does not answer within {ANSWER_SECONDS:g} s: is it stopped?"
            ) from None
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
    """Raises TimeoutError when too many others wait before us for too long."""
    ending = time.monotonic() + ENDING_SECONDS
    while True:
        try:
            connection.connect(path)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError from None
            time.sleep(CONNECT_PAUSE_SECONDS)
        except ConnectionRefusedError:
            # A host that ends stops listening a moment before it takes its socket away.
            if time.monotonic() > ending or not _is_running(host):
                raise
            time.sleep(CONNECT_PAUSE_SECONDS)
        else:
            return


def _read_line(connection: socket.socket, deadline: float) -> bytes:
    """An answer; empty when the host leaves instead, or when it takes more than an answer may."""
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
def _private_folder(directory: str) -> Iterator[int]:
    """A descriptor of a folder that its owner alone can enter: this user, or anybody for root. Raises OSError."""
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(folder)
        if status.st_uid != os.geteuid() and os.geteuid() != 0:
            raise PermissionError(errno.EACCES, f"it belongs to user {status.st_uid}")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError(errno.EACCES, "it is open to others, and hosts do not use it like that")
        yield folder
    finally:
        os.close(folder)


def _is_running(host: HostSocket) -> bool:
    """Whether the host's process is there, and no other that has its number now. One that was not reaped has ended."""
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
    """Clear away the socket of a host that is gone. Its name is never used again."""
    with contextlib.suppress(OSError), _private_folder(host.directory) as folder:
        os.unlink(host.name, dir_fd=folder)
