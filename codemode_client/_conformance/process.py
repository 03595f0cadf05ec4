"""A host process under test, for a test kit that waits: bounded in time and in what is kept of its output."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Sequence

from codemode_client._loops.interface import Closable
from codemode_client._loops.on_asyncio import AsyncioLoop
from codemode_client._loops.slots import Slot
from codemode_client._process.child import Child
from codemode_protocol.errors import RemoteProtocolError, describe_exit_status
from codemode_protocol.framing import FrameDecoder
from codemode_protocol.limits import MAX_FRAME_BYTES, MIB
from codemode_protocol.testing import Ending, NoMessage

MAX_OUTPUT_BYTES = MAX_FRAME_BYTES + MIB
"""A host that says more than this in one conversation is not listened to any more."""

ENDED_SECONDS = 0.5
"""Grace period in which a host that has closed its output may end, or an ended one's output close."""

_READ_BYTES = 64 * 1024
_SHOWN_BYTES = 40


class HostProcess:
    """A host, started and spoken to. It must be closed, which kills what is left of its process group.

    The methods wait for the loop on which the process is watched; a thread has one such process at a time.
    """

    def __init__(self, command: Sequence[str], patience: float) -> None:
        """Start a host.

        Args:
            command: The program and its arguments.
            patience: Seconds for each message, and for the host's end.

        Raises:
            HostStartError: The program cannot be run.
        """
        self._patience = patience
        self._payloads: deque[bytes] = deque()
        self._decoder = FrameDecoder()
        self._bytes = 0
        self._trouble: str | None = None
        """Why no more messages come, though the output has not ended."""
        self._output: int | None = None
        self._input: int | None = None
        self._cut = False
        """Whether its output stops inside a frame."""
        self._runner = asyncio.Runner()
        try:
            self._runner.run(self._start(command))
        except BaseException:
            self._runner.close()
            raise

    async def _start(self, command: Sequence[str]) -> None:
        self._loop = AsyncioLoop()
        self._news: Slot[None] = Slot(self._loop)
        self._child = Child.spawn(self._loop, command, on_exit=self._wake)
        self._input, self._output = self._child.stdin_fd, self._child.stdout_fd
        self._watch: Closable = self._loop.when_readable(self._output, self._read)

    def send(self, data: bytes) -> None:
        """Write bytes to the host."""
        self._runner.run(self._send(data))

    async def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest and self._input is not None:
            try:
                rest = rest[os.write(self._input, rest) :]
            except BlockingIOError:
                watch = self._loop.when_writable(self._input, self._wake)
                try:
                    if not await self._wait_for(lambda: False, once=True):
                        return  # what it says, or does not, will tell
                finally:
                    watch.close()
            except BrokenPipeError:
                return

    def receive(self) -> bytes:
        """Return the payload of the next frame.

        Raises:
            NoMessage: There is none.
        """
        return self._runner.run(self._receive())

    async def _receive(self) -> bytes:
        done = await self._wait_for(lambda: bool(self._payloads) or self._trouble is not None or self._output is None)
        if self._payloads:
            return self._payloads.popleft()
        if self._trouble is not None:
            raise NoMessage(self._trouble)
        if not done:
            raise NoMessage(f"nothing for {self._patience:g} s", silent=True)
        where = " inside a frame" if self._cut else ""
        raise NoMessage(f"the end of its output{where}: {await self._how_it_ends()}")

    async def _how_it_ends(self) -> str:
        if not await self._child.exited.wait(min(ENDED_SECONDS, self._patience)):
            return "it still runs"
        await self._child.stop(0)
        status = self._child.exit_status
        words = "it is gone" if status is None else describe_exit_status(status)
        tail = self._child.stderr_tail.strip()
        return f"{words}; on standard error:\n{tail}" if tail else words

    def close_input(self) -> None:
        """End the host's input."""
        if self._input is not None:
            os.close(self._input)
            self._input = None

    def end(self) -> Ending:
        """Wait for the host to end by itself.

        Raises:
            NoMessage: It did not, or what it says is no frame.
        """
        return self._runner.run(self._end())

    async def _end(self) -> Ending:
        if not await self._wait_for(lambda: self._child.exited.done or self._trouble is not None):
            raise NoMessage(f"nothing: it still runs after {self._patience:g} s", silent=True)
        if self._trouble is None:
            # Another process may hold its output open.
            await self._wait_for(lambda: self._output is None or self._trouble is not None, ENDED_SECONDS)
        if self._trouble is not None:
            raise NoMessage(self._trouble)
        await self._child.stop(0)
        said, self._payloads = list(self._payloads), deque()
        status = self._child.exit_status
        return Ending(said, -1 if status is None else status, self._child.stderr_tail, self._cut)

    def interrupt(self) -> None:
        """Have whatever waits for the host give up. May be called from another thread."""
        self._loop.call_from_thread(self._interrupt)

    def _interrupt(self) -> None:
        self._trouble = "nothing: interrupted"
        self._wake()

    def close(self) -> None:
        """Take the process away, with all that is left of its group, and let go of what belongs to it."""
        self._stop_reading()
        self.close_input()
        self._child.ensure_reaped()
        self._runner.close()

    async def _wait_for(self, ready: Callable[[], bool], seconds: float | None = None, *, once: bool = False) -> bool:
        """Wait until something is so, or for so many seconds; `once`: until anything happens. Return which."""
        deadline = self._loop.time() + (self._patience if seconds is None else seconds)
        while not ready():
            self._news = Slot(self._loop)
            woken = await self._news.wait(deadline - self._loop.time())
            if not woken or once:
                return woken
        return True

    def _wake(self) -> None:
        self._news.resolve(None)

    def _read(self) -> None:
        assert self._output is not None
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # what reading a pipe may fail with is as good as its end
            data = b""
        if not data:
            self._cut = not self._decoder.at_boundary
            self._stop_reading()
        else:
            self._take(data)
        self._wake()

    def _take(self, data: bytes) -> None:
        self._bytes += len(data)
        with contextlib.suppress(RemoteProtocolError):
            self._payloads.extend(bytes(payload) for payload in self._decoder.feed(data))
        if self._decoder.failure is not None:
            shown = data[:_SHOWN_BYTES]
            self._trouble = f"bytes that are no frame ({self._decoder.failure}), among them {shown!r}"
        elif self._bytes > MAX_OUTPUT_BYTES:
            self._trouble = f"more than {MAX_OUTPUT_BYTES // MIB} MiB"
        if self._trouble is not None:
            self._stop_reading()

    def _stop_reading(self) -> None:
        output, self._output = self._output, None
        if output is not None:
            self._watch.close()
            os.close(output)
