"""The writing end of a pipe to a host: written to at once while it takes bytes, queued and written in order when not.

`write` never waits, so no reader of answers can come to wait for a writer. Whoever starts new work asks for
`room` first: that is the back-pressure.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import deque

import trio

QUEUE_LIMIT_BYTES = 8 * 1024 * 1024
"""Past this many queued bytes `room` waits. Small messages of the connection itself may still go beyond it."""

PIPE_BYTES = 1024 * 1024
"""What both pipes are enlarged to where the system allows it: fewer wake-ups for large frames."""

_BUFFERS_PER_WRITE = 256


def prepare_pipe(fd: int) -> None:
    """Make a pipe's end non-blocking and its buffer large."""
    os.set_blocking(fd, False)
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


class PipeWriter:
    """Owns the descriptor `fd` and closes it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._queue: deque[memoryview] = deque()
        self._queued = 0
        self._wake = trio.Event()
        self._room = trio.Event()
        self._closing = False
        self.broken = False
        """The other side does not read any more; what is written from now on is dropped."""

    @property
    def full(self) -> bool:
        return self._queued >= QUEUE_LIMIT_BYTES

    async def room(self) -> None:
        """Wait until less than `QUEUE_LIMIT_BYTES` are queued, or nothing will be written any more."""
        while self.full and not self.broken:
            await self._room.wait()

    def write(self, data: bytes | bytearray) -> None:
        """Write now what the pipe takes and queue the rest. Never waits."""
        if self.broken or self._closing:
            return
        written = 0
        if not self._queue:
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:
                pass
            except OSError:
                self._break()
                return
            if written == len(data):
                return
        self._queue.append(memoryview(data)[written:])
        self._queued += len(data) - written
        self._wake.set()

    def close(self) -> None:
        """Write no more than what is queued, then close: `run` does it and returns. Idempotent."""
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        """Write what is queued. Returns, with the descriptor closed, when the pipe is broken or was closed."""
        try:
            while not self.broken:
                if not self._queue:
                    if self._closing:
                        return
                    await self._wake.wait()
                    self._wake = trio.Event()
                    continue
                await trio.lowlevel.wait_writable(self._fd)
                self._write_some()
        finally:
            self._break()
            os.close(self._fd)

    def _write_some(self) -> None:
        buffers = [self._queue[index] for index in range(min(len(self._queue), _BUFFERS_PER_WRITE))]
        try:
            written = os.writev(self._fd, buffers)
        except BlockingIOError:
            return
        except OSError:
            self._break()
            return
        self._queued -= written
        while written:
            first = self._queue.popleft()
            if written < len(first):
                self._queue.appendleft(first[written:])
                break
            written -= len(first)
        if not self.full:
            self._room.set()
            self._room = trio.Event()

    def _break(self) -> None:
        self.broken = True
        self._queue.clear()
        self._queued = 0
        self._wake.set()
        self._room.set()
