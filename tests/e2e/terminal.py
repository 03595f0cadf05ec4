"""A program in a real pseudo-terminal: what a person would type, and what the screen is told."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_CONTROL = re.compile(rb"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-B]|[=>78])")
# What a prompt tells the terminal when it has begun to read: a text that was typed earlier may be lost.
_BRACKETED_PASTE = b"\x1b[?2004h"
PROMPT = "<prompt>"
LIMIT_SECONDS = 20.0


class Terminal:
    """Runs a program with a terminal for its input, output and errors."""

    def __init__(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        os.set_blocking(self._master, False)
        self._seen = 0
        self._output = bytearray()
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env={**env, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
            start_new_session=True,
            preexec_fn=_control_terminal,  # noqa: PLW1509 - no thread of this process is in the way
        )
        os.close(slave)

    @property
    def raw(self) -> bytes:
        """All that was written so far, as the terminal got it."""
        return bytes(self._output)

    @property
    def text(self) -> str:
        """All that was written so far, without what moves the cursor and colours; `PROMPT` where a prompt began."""
        told = bytes(self._output).replace(_BRACKETED_PASTE, PROMPT.encode())
        return _CONTROL.sub(b"", told).decode(errors="replace")

    def write(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, text: str) -> str:
        """Read until this text has come, after what was waited for before; give what came up to its end."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while (found := self.text.find(text, self._seen)) < 0:
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"{text!r} did not come; there was: {self.text[self._seen :]!r}")
        before, self._seen = self._seen, found + len(text)
        return self.text[before : self._seen]

    def end(self) -> int:
        """Read until the program has ended; gives its exit status."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while self._read(deadline - time.monotonic()):
            pass
        return self.process.wait(timeout=LIMIT_SECONDS)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], max(seconds, 0))[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # nobody has the other end any more
            return False
        self._output += data
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._master)


def _control_terminal() -> None:
    """Make standard input the terminal of the new session, so that Ctrl-C in it is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
