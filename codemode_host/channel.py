"""The client's two descriptors: reading, and writing without ever making anybody wait who does not ask to.

What one turn of a task has to say is written together, straight to the descriptor. What that does not take is written
by a task of its own, which exists only as long as it has something to do.
"""

from __future__ import annotations

import errno
import os
import select
from collections import deque
from collections.abc import Callable

import trio

from codemode_protocol.exit_status import HostExitStatus

from .limits import Limits
from .recorder import Recorder
from .supervision import Failure, HostStopped

SMALL_READ, LARGE_READ = 1 << 16, 1 << 20
"""How much to read at once: little, because the buffer for much costs more than a message; much while there is much."""
_PIECES = 512  # of one write; the kernel takes 1024


class Channel:
    """Bytes from and to the client. Raises HostStopped once the client is lost."""

    def __init__(self, read_fd: int, write_fd: int, limits: Limits, recorder: Recorder | None = None) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._limits = limits
        self._recorder = recorder
        self._queue: deque[bytes | bytearray | memoryview] = deque()
        self._queued = 0
        self._writing = False
        self._read_size = SMALL_READ
        self._room = trio.Event()

    async def read(self) -> bytes:
        """Bytes from a pipe, a terminal, a socket or a file; empty at its end."""
        try:
            await trio.lowlevel.wait_readable(self._read_fd)
        except OSError as error:
            if error.errno != errno.EPERM:  # regular files cannot be waited for, and need not be
                raise
            await trio.lowlevel.checkpoint()
        try:
            data = os.read(self._read_fd, self._read_size)
        except OSError as error:
            raise _lost(f"cannot read from it: {error.strerror}") from error
        self._read_size = LARGE_READ if len(data) == self._read_size else SMALL_READ
        if self._recorder is not None:
            self._recorder.heard(data)
        return data

    async def watch(self) -> None:
        """Notice that nobody reads any more what is written, even while there is nothing to write."""
        with select.epoll() as watch:
            try:
                watch.register(self._write_fd, 0)  # which leaves errors alone
            except OSError:
                return  # a regular file
            await trio.lowlevel.wait_readable(watch.fileno())
        raise _lost("it closed its end of the output")

    def queue(self, frame: bytes | bytearray) -> None:
        """Have a frame written with the next `flush`."""
        self._queue.append(frame)
        self._queued += len(frame)
        if self._queued > self._limits.unread_bytes:
            raise _lost(f"it leaves {self._queued} bytes unread")

    def flush(self, start_soon: Callable[..., None]) -> None:
        """Write what is queued; what the descriptor does not take now a task writes."""
        if self._queue and not self._writing and not self.write_now():
            self._writing = True
            start_soon(self._write)

    async def room(self) -> None:
        """Wait while too much is queued."""
        while self._queued > self._limits.queued_bytes:
            self._room = trio.Event() if self._room.is_set() else self._room
            await self._room.wait()

    async def drained(self) -> None:
        """Wait until everything is written."""
        while not self.write_now():
            await trio.lowlevel.wait_writable(self._write_fd)

    def write_now(self) -> bool:
        """Write as much as can be written without waiting; whether that was all."""
        queue = self._queue
        while queue:
            try:
                if len(queue) == 1:
                    written = os.write(self._write_fd, queue[0])
                else:
                    written = os.writev(self._write_fd, [queue[at] for at in range(min(len(queue), _PIECES))])
            except BlockingIOError:
                return False
            except OSError as error:
                queue.clear()
                self._queued = 0
                raise _lost(f"cannot write to it: {error.strerror}") from error
            self._queued -= written
            self._forget(written)
            if self._queued <= self._limits.queued_bytes:
                self._room.set()
        return True

    def _forget(self, written: int) -> None:
        queue, recorder = self._queue, self._recorder
        while written:
            piece = queue[0]
            size = len(piece)
            if recorder is not None:
                recorder.said(memoryview(piece)[:written])
            if size > written:
                queue[0] = memoryview(piece)[written:]
                return
            queue.popleft()
            written -= size

    async def _write(self) -> None:
        await self.drained()
        self._writing = False


def _lost(how: str) -> HostStopped:
    return HostStopped(Failure(HostExitStatus.CLIENT_LOST, "lost its client", how))
