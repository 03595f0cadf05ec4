"""What the zygote and the runtimes wrote to standard error: the evidence of how they ended.

They share one pipe. The engine puts the number of its process in front of what it says, in brackets, and so does a
runtime of ours: that tells whose a line is.
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
"""So many of the last lines are kept, whoever wrote them."""

MAX_LINE_BYTES = 4096

_OWNER = re.compile(r"\[(\d{1,10})\]")


class Complaints:
    """Reads one end of a pipe, and keeps its last lines. Takes the descriptor over."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""
        self._lines: deque[tuple[int | None, str]] = deque(maxlen=TAIL_LINES)
        os.set_blocking(fd, False)

    def tail(self, pid: int | None = None) -> tuple[str, ...]:
        """The last lines: of one process and those that are nobody's, or all of them."""
        self.read_now()
        return tuple(text for owner, text in self._lines if pid is None or owner in (pid, None))

    def of(self, pid: int | None) -> tuple[str, ...]:
        """The last lines that this process put its number on."""
        self.read_now()
        return tuple(text for owner, text in self._lines if owner == pid and pid is not None)

    async def read(self) -> None:
        """Keep reading until the pipe ends, so that nobody has to wait who writes."""
        with contextlib.suppress(trio.ClosedResourceError):
            while self._fd >= 0:
                await trio.lowlevel.wait_readable(self._fd)
                if not self.read_now():
                    return

    def read_now(self) -> bool:
        """Take what there is, without waiting; whether more may come."""
        while self._fd >= 0:
            try:
                chunk = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                return True
            if not chunk:
                break
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._note(line)
            if len(self._rest) > MAX_LINE_BYTES:
                self._note(self._rest)
                self._rest = b""
        if self._rest:
            self._note(self._rest)
            self._rest = b""
        return False

    def close(self) -> None:
        if self._fd >= 0:
            trio.lowlevel.notify_closing(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _note(self, line: bytes) -> None:
        text = line[:MAX_LINE_BYTES].decode("utf-8", "backslashreplace")
        match = _OWNER.search(text[:64])
        self._lines.append((int(match[1]) if match else None, text))
        logger.info("runtime: %s", text)
