"""Writing a conversation down while it happens: `codemode-host --record FILE`."""

from __future__ import annotations

import os
import time

from codemode_protocol.framing import Framing
from codemode_protocol.recording import Direction, encode_header, encode_record


class Recorder:
    """Every byte that the host reads and writes, with its time, in a file that only its owner may read.

    What is recorded is on disk before the host acts on it, or right after it was written; a full disk is an OSError.
    """

    def __init__(self, path: str, framing: Framing) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._started = time.monotonic_ns()
        self._write(encode_header(framing, time.time_ns()))

    def heard(self, data: bytes) -> None:
        """Bytes from the client; none at the end of its input."""
        self._record(Direction.TO_HOST, data)

    def said(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes that were written to the client."""
        self._record(Direction.TO_CLIENT, data)

    def close(self) -> None:
        os.close(self._fd)

    def _record(self, direction: Direction, data: bytes | bytearray | memoryview) -> None:
        self._write(encode_record(direction, time.monotonic_ns() - self._started, data))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
