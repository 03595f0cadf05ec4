"""Writing a conversation down while it happens: `codemode-host --record FILE`."""

from __future__ import annotations

import errno
import os
import time

from codemode_protocol.framing import Framing
from codemode_protocol.recording import Direction, encode_header, encode_record

MAX_FILES = 1000


class Recorder:
    """Every byte that the host reads and writes, with its time, in a new file that only its owner may read.

    If there is a file of that name already, the new one is named FILE.2, FILE.3, and so on: a client that starts a host
    anew does so with the same flags.

    What is recorded is on disk before the host acts on it, or right after it was written; a full disk is an OSError.
    """

    def __init__(self, path: str, framing: Framing) -> None:
        self._fd = _create(path)
        self._started = time.monotonic_ns()
        self._write(encode_header(framing, time.time_ns()))

    def heard(self, data: bytes) -> None:
        """Record bytes from the client; none at the end of its input."""
        self._record(Direction.TO_HOST, data)

    def said(self, data: bytes | bytearray | memoryview) -> None:
        """Record bytes that were written to the client."""
        self._record(Direction.TO_CLIENT, data)

    def close(self) -> None:
        os.close(self._fd)

    def _record(self, direction: Direction, data: bytes | bytearray | memoryview) -> None:
        self._write(encode_record(direction, time.monotonic_ns() - self._started, data))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


def _create(path: str) -> int:
    """Create a file that was not there. No link is followed: what it leads to may be another user's choice."""
    names = (path, *(f"{path}.{number}" for number in range(2, MAX_FILES)))
    for name in names:
        try:
            return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
