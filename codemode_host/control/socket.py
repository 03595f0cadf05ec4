"""The control socket, through which `codemode ps` and `codemode kill` reach a running host.

A Unix socket for its user and root, in a folder that only this user can enter. It is optional: a host that cannot make
one logs that and continues. Nothing here runs before the engine is ready, and only a request wakes the host up.

The zygote is started before the socket exists, so neither it nor a cell's process inherits it.
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
"""The number of requests that are served at a time."""

WAITING = 64
"""The backlog of the socket."""

REQUEST_SECONDS = 2.0
"""How long a peer may take to send its request."""

ANSWER_SECONDS = 5.0
"""How long a peer may take to read its answer."""

ACCEPT_PAUSE_SECONDS = 1.0
"""The pause after a connection could not be accepted because no descriptor was left."""

REQUEST_BYTES = 8192
"""The longest request, its newline included."""

_PEER = struct.Struct("3i")  # process, user, group


class ControlSocketError(Exception):
    """The control socket cannot be made in a folder; the message says why."""


class ControlSocket:
    """The control socket of one host. `directory` is its folder; None for the folder that the environment names."""

    def __init__(self, host: ReportedHost, directory: str | None) -> None:
        self._host = host
        self._directory = directory
        self._path: str | None = None

    async def serve(self) -> None:
        """Answer requests until cancelled. Log why and return if the socket cannot be made."""
        try:
            listener = self._listen()
        except ControlSocketError as error:
            level = logging.INFO if self._directory is None else logging.WARNING
            logger.log(level, "no control socket, so `codemode ps` will not find this host: %s", error)
            return
        try:
            async with trio.open_nursery() as nursery:
                await self._accept(listener, nursery)
        finally:
            listener.close()

    def remove(self) -> None:
        """Remove the socket's file at the end of the host. Raises nothing; may be called at any time."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    # ------------------------------------------------------------------------------------------------------ listening

    def _listen(self) -> trio.socket.SocketType:
        if self._directory is not None:
            return self._listen_in(self._directory)
        complaints = []
        for directory in socket_directories(os.environ, os.geteuid()):
            try:
                return self._listen_in(directory)
            except ControlSocketError as error:
                complaints.append(str(error))
        raise ControlSocketError("; ".join(complaints))

    def _listen_in(self, directory: str) -> trio.socket.SocketType:
        listener = socket.socket(socket.AF_UNIX)
        try:
            folder = open_private_directory(directory)
            try:
                with open("/proc/self/stat", "rb", 0) as file:
                    name = socket_name(os.getpid(), start_time(file.read()))
                # Through the descriptor: the path always fits, and the folder is the one that was checked. The socket
                # gets its name once it listens, so that one that refuses connections is known to be stale.
                listener.bind(f"/proc/self/fd/{folder}/.{name}")
                listener.listen(WAITING)
                os.rename(f".{name}", name, src_dir_fd=folder, dst_dir_fd=folder)
            finally:
                os.close(folder)
            self._path = f"{directory}/{name}"
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            raise ControlSocketError(f"{directory}: {error.strerror}") from error
        except ControlSocketError:
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
    """Open a folder that only this user can enter, and create it if it does not exist.

    Raises:
        OSError: The folder cannot be created or opened.
        ControlSocketError: The folder belongs to another user or is open to others.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise ControlSocketError(f"{directory} belongs to user {status.st_uid}, not to user {os.geteuid()}")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise ControlSocketError(f"{directory} is open to others: chmod 700 it")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


async def _receive_line(connection: trio.socket.SocketType) -> bytes:
    """Receive a line, or an incomplete one at the end of input or of the room for it."""
    line = b""
    while len(line) < REQUEST_BYTES and not line.endswith(b"\n"):
        data = await connection.recv(REQUEST_BYTES - len(line))
        if not data:
            break
        line += data
    return line
