"""Standard error, which may have no reader: what is written to it never holds the host up."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import time

FD = 2

REPORT_SECONDS = 0.25
"""How long a last report waits for room."""


def report(text: str) -> None:
    """Write a last word, for which it is worth waiting a moment."""
    _write(text + "\n", REPORT_SECONDS)


class StderrHandler(logging.Handler):
    """Log lines, for as long as there is room for them; how many were left out is said before the next one."""

    def __init__(self) -> None:
        super().__init__()
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 a log line that cannot be made is the logging module's to tell
            self.handleError(record)
            return
        if self._left_out:
            text = f"codemode-host: WARNING: {self._left_out} log lines found no room here and are left out\n{text}"
        if _write(text, 0):
            self._left_out = 0
        else:
            self._left_out += 1


def _write(text: str, seconds: float) -> bool:
    """Whether all of it found room within so many seconds, or within no time at all."""
    data = memoryview(text.encode(errors="backslashreplace"))
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(FD, select.POLLOUT)
    with contextlib.suppress(OSError):
        while data:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return False
            # A pipe that is ready takes this much without blocking.
            data = data[os.write(FD, data[: select.PIPE_BUF]) :]
    return not data
