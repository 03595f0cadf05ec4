"""The standard error of the zygote and the runtimes, kept as evidence of how they ended.

They share one pipe. The engine prefixes its messages with its process id in brackets, and so do our runtimes, which
tells their lines apart.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections import deque

import trio

logger: logging.Logger = logging.getLogger("codemode_host.runtimes")

TAIL_LINES = 40
"""The number of last lines that are kept, of all processes together."""

MAX_LINE_BYTES = 4096

READ_CHUNKS = 16
"""Read at most so many pieces of 64 KiB at a time: a pipe holds one, but other processes may refill it meanwhile."""

PAUSE_SECONDS = 0.005
"""Wait so long between two pieces, so that a process that writes without end takes little of the host's time."""

_OWNER = re.compile(r"\[(\d{1,10})\]")


class Complaints:
    """The last lines from a pipe. Owns the descriptor and closes it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""
        self._lines: deque[tuple[int | None, str]] = deque(maxlen=TAIL_LINES)
        os.set_blocking(fd, False)

    def tail(self, pid: int | None = None) -> tuple[str, ...]:
        """Return the last lines: all, or those of one process and those without a process id."""
        self.read_now()
        return tuple(text for owner, text in self._lines if pid is None or owner in (pid, None))

    def of(self, pid: int | None) -> tuple[str, ...]:
        """Return the last lines with the id of this process."""
        self.read_now()
        return tuple(text for owner, text in self._lines if owner == pid and pid is not None)

    async def read(self) -> None:
        """Read until the pipe ends, so that writers never block."""
        with contextlib.suppress(trio.ClosedResourceError):
            while self._fd >= 0:
                await trio.lowlevel.wait_readable(self._fd)
                if not self.read_now(1):
                    return
                await trio.sleep(PAUSE_SECONDS)

    def read_now(self, chunks: int = READ_CHUNKS) -> bool:
        """Take what there is, without waiting, but not more than so many pieces; return whether more may come."""
        for _ in range(chunks):
            if self._fd < 0:
                break
            try:
                chunk = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                return True
            if not chunk:
                break
            *lines, self._rest = (self._rest + chunk).rsplit(b"\n", TAIL_LINES + 1)
            for line in lines[-TAIL_LINES:]:
                self._note(line)
            if len(self._rest) > MAX_LINE_BYTES:
                self._note(self._rest)
                self._rest = b""
        else:
            return True
        if self._rest:
            self._note(self._rest)
            self._rest = b""
        return False

    def close(self) -> None:
        """Close the descriptor. Idempotent."""
        if self._fd >= 0:
            trio.lowlevel.notify_closing(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _note(self, line: bytes) -> None:
        text = line[:MAX_LINE_BYTES].decode("utf-8", "backslashreplace")
        match = _OWNER.search(text[:64])
        self._lines.append((int(match[1]) if match else None, text))
        logger.info("runtime: %s", text)
