"""The control socket: where `codemode ps` and `codemode kill` reach a running host.

A unix socket in a folder that is its user's alone, for that user and root. It is a convenience: a host that cannot have
one says so and goes on. Nothing here runs before the engine is ready, and nothing wakes the host up but a request.

The zygote is older than the socket and is a program of its own, so neither it nor a cell's process has inherited it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
import struct
from typing import TYPE_CHECKING

import trio

from codemode_protocol.control_sockets import socket_directories, socket_name, start_time

if TYPE_CHECKING:
    from codemode_host.control.requests import ReportedHost

logger: logging.Logger = logging.getLogger("codemode_host")

CONNECTIONS = 8
"""So many requests are served at a time."""

WAITING = 64
"""So many more wait for their turn."""

REQUEST_SECONDS = 2.0
"""How long a peer may take to say what it wants."""

ANSWER_SECONDS = 5.0
"""How long a peer may take to read its answer."""

ACCEPT_PAUSE_SECONDS = 1.0
"""After a connection could not be accepted: no descriptor is left, and that changes by itself or never."""

REQUEST_BYTES = 8192
"""The longest request, its newline included."""

_PEER = struct.Struct("3i")  # process, user, group


class ControlError(Exception):
    """There can be no control socket, or not there; the message says why."""


class ControlSocket:
    """The control socket of one host. `directory` is where it is to be; None: where the environment says."""

    def __init__(self, host: ReportedHost, directory: str | None) -> None:
        self._host = host
        self._directory = directory
        self._path: str | None = None

    async def serve(self) -> None:
        """Answer whoever asks, until cancelled. Returns at once, with a line in the log, where no socket can be had."""
        try:
            listener = self._listen()
        except ControlError as error:
            level = logging.INFO if self._directory is None else logging.WARNING
            logger.log(level, "no control socket, so `codemode ps` will not find this host: %s", error)
            return
        try:
            async with trio.open_nursery() as nursery:
                await self._accept(listener, nursery)
        finally:
            listener.close()

    def remove(self) -> None:
        """Take the socket's file away. For the end of the host; raises nothing, and may be called at any time."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            self._path = None

    # ------------------------------------------------------------------------------------------------------ listening

    def _listen(self) -> trio.socket.SocketType:
        if self._directory is not None:
            return self._listen_in(self._directory)
        complaints = []
        for directory in socket_directories(os.environ, os.geteuid()):
            try:
                return self._listen_in(directory)
            except ControlError as error:
                complaints.append(str(error))
        raise ControlError("; ".join(complaints))

    def _listen_in(self, directory: str) -> trio.socket.SocketType:
        listener = socket.socket(socket.AF_UNIX)
        try:
            folder = open_private_directory(directory)
            try:
                with open("/proc/self/stat", "rb", 0) as file:
                    name = socket_name(os.getpid(), start_time(file.read()))
                # By way of the descriptor: the path always fits, and the folder is the one that was looked at. It has
                # its name only when somebody listens: one that is there and refuses is one that was left behind.
                listener.bind(f"/proc/self/fd/{folder}/.{name}")
                listener.listen(WAITING)
                os.rename(f".{name}", name, src_dir_fd=folder, dst_dir_fd=folder)
            finally:
                os.close(folder)
            self._path = f"{directory}/{name}"
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            raise ControlError(f"{directory}: {error.strerror}") from error
        except ControlError:
            listener.close()
            raise
        return trio.socket.from_stdlib_socket(listener)

    async def _accept(self, listener: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        slots = trio.Semaphore(CONNECTIONS)
        while True:
            await slots.acquire()
            try:
                connection, _ = await listener.accept()
            except OSError as error:
                logger.warning("the control socket cannot be asked for now: %s", error.strerror)
                slots.release()
                await trio.sleep(ACCEPT_PAUSE_SECONDS)
            else:
                nursery.start_soon(self._serve_one, connection, slots)

    # ------------------------------------------------------------------------------------------------- one connection

    async def _serve_one(self, connection: trio.socket.SocketType, slots: trio.Semaphore) -> None:
        try:
            with contextlib.suppress(OSError):  # a peer that leaves early
                pid, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
                if uid not in (os.geteuid(), 0):
                    logger.warning("the control socket was asked by process %d of user %d, and says nothing", pid, uid)
                    return
                request = b""
                with trio.move_on_after(REQUEST_SECONDS):
                    request = await _receive_line(connection)
                from codemode_host.control.requests import answer

                reply = memoryview(await answer(self._host, request, f"process {pid} of user {uid}"))
                with trio.move_on_after(ANSWER_SECONDS):
                    while reply:
                        reply = reply[await connection.send(reply) :]
        finally:
            connection.close()
            slots.release()


def open_private_directory(directory: str) -> int:
    """A descriptor of a folder that nobody but its owner, this user, can enter; it is made if there is none.

    Raises OSError, and ControlError for a folder that is somebody else's or open to others.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise ControlError(f"{directory} belongs to user {status.st_uid}, not to user {os.geteuid()}")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise ControlError(f"{directory} is open to others: chmod 700 it")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


async def _receive_line(connection: trio.socket.SocketType) -> bytes:
    """A line, or as much as there is of it at the end of input or of the room for it."""
    line = b""
    while len(line) < REQUEST_BYTES and not line.endswith(b"\n"):
        data = await connection.recv(REQUEST_BYTES - len(line))
        if not data:
            break
        line += data
    return line
