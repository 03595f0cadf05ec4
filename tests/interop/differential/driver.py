"""A synchronous driver that speaks frames to any host program, with a deadline on everything.

It knows nothing of our own packages: it must be able to drive the reference program and to say what our host really
sends, so it shares no code with what it tests. One frame is a 4-byte little-endian length and that many bytes of JSON.
"""

from __future__ import annotations

import contextlib
import json
import queue
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

Message = dict[str, Any]

HELLO: Message = {
    "type": "connection/hello",
    "supportedVersions": [1],
    "requiredCapabilities": [],
    "optionalCapabilities": [],
}


class DriverTimeout(AssertionError):
    """The host did not do in time what the driver waited for."""


class HostEnded(AssertionError):
    """The host closed its standard output while the driver waited for a message."""


@dataclass(frozen=True)
class Ending:
    """How a host process ended: the messages that were still unread, exit status and standard error."""

    messages: tuple[bytes, ...]
    status: int
    stderr: str


def frame(payload: bytes) -> bytes:
    """Put the 4-byte little-endian length before a payload."""
    return struct.pack("<I", len(payload)) + payload


def encode(message: Message) -> bytes:
    """JSON text of one message, UTF-8, compact."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


class HostProcess:
    """One running host: send messages or raw bytes, take messages in the order in which they came.

    Two threads read standard output and standard error all the time, so that neither side ever blocks on a full pipe.
    """

    def __init__(self, argv: Sequence[str], env: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
        )
        self._frames: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._ended = False
        self._skipped: list[bytes] = []
        self._stderr: list[bytes] = []
        self._reader = threading.Thread(target=self._read_frames, daemon=True)
        self._listener = threading.Thread(target=self._read_stderr, daemon=True)
        self._reader.start()
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The process id, for looking at the host from outside."""
        return self._process.pid

    def _read_frames(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        while len(header := stdout.read(4)) == 4:
            (length,) = struct.unpack("<I", header)
            payload = stdout.read(length)
            if len(payload) < length:
                break
            self._frames.put(payload)
        self._frames.put(None)

    def _read_stderr(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        for line in stderr:
            self._stderr.append(line)

    def send_bytes(self, data: bytes) -> None:
        """Write bytes as they are. A host that has gone already is not an error here: its ending will be looked at."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(data)
            stdin.flush()
        except (BrokenPipeError, ValueError):
            pass

    def send(self, message: Message) -> None:
        """Write one message as one frame."""
        self.send_bytes(frame(encode(message)))

    def send_many(self, messages: Iterable[Message]) -> None:
        """Write several messages with one write, so that the host finds them all at once."""
        self.send_bytes(b"".join(frame(encode(message)) for message in messages))

    def close_stdin(self) -> None:
        """End the host's input."""
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError):
            stdin.close()

    def receive_bytes(self, timeout: float = 10.0) -> bytes:
        """The payload of the next frame. Raises DriverTimeout or HostEnded."""
        if self._skipped:
            return self._skipped.pop(0)
        return self._next(time.monotonic() + timeout)

    def _next(self, deadline: float) -> bytes:
        if self._ended:
            raise HostEnded("".join(line.decode("utf-8", "replace") for line in self._stderr))
        try:
            payload = self._frames.get(timeout=max(deadline - time.monotonic(), 0.0))
        except queue.Empty:
            raise DriverTimeout("the host sent no message in time") from None
        if payload is None:
            self._ended = True
            self._listener.join(2.0)
            raise HostEnded("".join(line.decode("utf-8", "replace") for line in self._stderr))
        return payload

    def receive(self, timeout: float = 10.0) -> Message:
        """The next message. Raises DriverTimeout or HostEnded."""
        message: Message = json.loads(self.receive_bytes(timeout))
        return message

    def receive_until(self, wanted: Callable[[Message], bool], timeout: float = 10.0) -> list[Message]:
        """All messages up to and with the first one that is wanted. Raises DriverTimeout or HostEnded."""
        deadline = time.monotonic() + timeout
        taken: list[Message] = []
        while True:
            message = self.receive(max(deadline - time.monotonic(), 0.0))
            taken.append(message)
            if wanted(message):
                return taken

    def drain(self, quiet: float) -> list[Message]:
        """Every message that comes until the host has been silent for so many seconds, or has ended."""
        taken: list[Message] = []
        while True:
            try:
                taken.append(self.receive(quiet))
            except (DriverTimeout, HostEnded):
                return taken

    def hello(self, optional: Sequence[str] = (), timeout: float = 10.0) -> Message:
        """Do the handshake and give the host's answer."""
        self.send({**HELLO, "optionalCapabilities": list(optional)})
        return self.receive(timeout)

    def request(self, request_id: int, **request: Any) -> None:
        """Send one `operation/request`."""
        self.send({"type": "operation/request", "id": request_id, "request": request})

    def finish(self, timeout: float = 10.0) -> Ending:
        """Close the host's input, take what it still sends, and wait for its end. Raises DriverTimeout."""
        self.close_stdin()
        return self.wait_end(timeout)

    def wait_end(self, timeout: float = 10.0) -> Ending:
        """Take what the host still sends and wait for it to end by itself. Raises DriverTimeout."""
        deadline = time.monotonic() + timeout
        messages, self._skipped = self._skipped, []
        while not self._ended:
            try:
                messages.append(self._next(deadline))
            except HostEnded:
                break
        try:
            status = self._process.wait(max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            raise DriverTimeout("the host did not end in time") from None
        self._listener.join(2.0)
        return Ending(tuple(messages), status, b"".join(self._stderr).decode("utf-8", "replace"))

    def kill(self) -> None:
        """Take the process away, whatever it does, and close the pipes. May be called twice."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self.close_stdin()
        self._reader.join(2.0)
        self._listener.join(2.0)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None and not pipe.closed:
                pipe.close()
