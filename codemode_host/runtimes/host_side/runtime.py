"""One runtime as the host sees it: a link of two pipes, an output memory, and a process that the zygote reaps."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio
from msgspec import Struct

from codemode_host.runtimes import link
from codemode_host.runtimes.host_side.output import LinkError, OutputReader

READ_BYTES = 1 << 16
"""How much of a link to read at once. The buffer for more would cost more than most of what is read."""


class RuntimeExit(Struct, frozen=True):
    """How a runtime's process ended.

    `status` is its exit status, or minus the signal that ended it; `peak_resident` is in bytes, `cpu_time` in seconds.
    """

    status: int
    peak_resident: int = 0
    cpu_time: float = 0.0
    asked: bool = False
    """The host had it killed."""
    over_memory: bool = False
    """The host had it killed because it stayed over its memory limit."""
    not_started: str | None = None
    """Why the process could not even be made: what the machine said."""


class Frame(Struct, frozen=True):
    """What a cell said; `end` is how far it had written its output memory at that time."""

    kind: int
    end: int
    payload: bytes


class Words(Protocol):
    """What processes have said on standard error."""

    def of(self, pid: int | None) -> tuple[str, ...]:
        """Return the last that one process said."""
        ...

    def tail(self, pid: int | None = None) -> tuple[str, ...]:
        """Return the last lines that are a process's, or that no process can be found for."""
        ...


class RuntimeOwner(Protocol):
    """The pool of a runtime, as the runtime sees it."""

    @property
    def complaints(self) -> Words: ...

    def start_soon(self, function: Callable[[], Awaitable[None]]) -> None:
        """Start a task that ends with the pool."""
        ...

    def control(self, kind: int, serial: int) -> None:
        """Ask the zygote to do something with a runtime."""
        ...

    def leaving(self, runtime: Runtime) -> None:
        """See to it that a runtime that was let go of ends."""
        ...


class Runtime:
    """Serves one cell."""

    def __init__(self, pool: RuntimeOwner, serial: int, reading: int, writing: int, memory: mmap.mmap) -> None:
        """`reading` and `writing` are the host's ends of the link, non-blocking; they are the runtime's to close."""
        self._pool = pool
        self.serial = serial
        self.pid: int | None = None
        self.baseline = 0
        """What is filled in it before it has a script, in bytes; 0 while that is not known."""
        self.output: OutputReader = OutputReader(memory)
        self.exit: RuntimeExit | None = None
        self.exited: trio.Event = trio.Event()
        self.unread: int = 0
        """Bytes that were sent and that neither the runtime nor its pipe has taken yet."""
        self.started: bool = False
        self.closed: bool = False
        self.looks_over_limit = 0
        """For the pool's use: how often in a row it was seen to hold more memory than it may."""
        self.on_end: Callable[[], None] | None = None
        """Called when the process is gone."""
        self._reading = reading
        self._writing = writing
        self._memory = memory
        self._received = bytearray()
        self._unsent: deque[memoryview] = deque()
        self._kill_sent = False

    def start(self, source: bytes, tools: bytes, stored: bytes) -> None:
        """Hand the runtime its script. `tools` and `stored` are JSON, in the shape that the realm documents."""
        self.started = True
        lengths = link.START_LENGTHS.pack(len(source), len(tools), len(stored))
        self.send(link.START, b"".join((lengths, source, tools, stored)))

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Send a frame; what the pipe does not take now is sent later. Never blocks, never fails.

        A runtime that is gone takes nothing: that is noticed where its end is waited for.
        """
        view = memoryview(link.HEADER.pack(len(payload), kind, 0) + payload)
        if self._unsent:
            self._unsent.append(view)
            self.unread += len(view)
            return
        view = self._send_now(view)
        if view:
            self._unsent.append(view)
            self.unread += len(view)
            self._pool.start_soon(self._send_rest)

    def _send_now(self, view: memoryview) -> memoryview:
        try:
            return view[os.write(self._writing, view) :]
        except BlockingIOError:
            return view
        except OSError:
            return view[:0]

    async def _send_rest(self) -> None:
        with contextlib.suppress(trio.ClosedResourceError):
            while self._unsent:
                await trio.lowlevel.wait_writable(self._writing)
                if not self._unsent:
                    return  # closed in the very turn in which there was room
                before = self._unsent[0]
                view = self._send_now(before)
                self.unread -= len(before) - len(view)
                if view:
                    self._unsent[0] = view
                else:
                    self._unsent.popleft()

    async def wait_readable(self) -> None:
        await trio.lowlevel.wait_readable(self._reading)

    def receive(self) -> list[Frame] | None:
        """The frames that have arrived, without waiting; None at the end of the link. Raises LinkError."""
        try:
            data = os.read(self._reading, READ_BYTES)
        except BlockingIOError:
            return []
        if not data:
            return None
        received = self._received
        received += data
        frames: list[Frame] = []
        at, size = 0, len(received)
        while size - at >= link.HEADER.size:
            length, kind, end = link.HEADER.unpack_from(received, at)
            if length > link.MAX_LINK_PAYLOAD or not link.CALL <= kind <= link.DONE:
                raise LinkError(f"link frame of kind {kind} and {length} bytes")
            start = at + link.HEADER.size
            if size - start < length:
                break
            at = start + length
            frames.append(Frame(kind, end, bytes(memoryview(received)[start:at])))
        del received[:at]
        return frames

    def kill(self) -> None:
        """Have the process killed. `exited` is set when it is really gone."""
        if not self._kill_sent and self.exit is None:
            self._kill_sent = True
            self._pool.control(link.KILL, self.serial)

    def close(self) -> None:
        """Let go of the link and the memory. The process, if it still runs, sees the end of its link and exits.

        One that does not is killed a little later.
        """
        if not self.closed:
            self.closed = True
            trio.lowlevel.notify_closing(self._reading)
            if self._unsent:
                trio.lowlevel.notify_closing(self._writing)
            os.close(self._reading)
            os.close(self._writing)
            self._reading = self._writing = -1  # the numbers will be somebody else's
            self._memory.close()
            self._unsent.clear()
            self.unread = 0
            if self.exit is None:
                self._pool.leaving(self)

    def own_words(self) -> tuple[str, ...]:
        """The last that the process itself said on standard error."""
        return self._pool.complaints.of(self.pid)

    def evidence(self) -> tuple[str, ...]:
        """The last lines on standard error that are this process's, or nobody's."""
        return self._pool.complaints.tail(self.pid)

    def ended(self, ending: RuntimeExit) -> None:
        """For the pool: the process is gone."""
        self.exit = ending
        self.exited.set()
        if self.on_end is not None:
            self.on_end()
