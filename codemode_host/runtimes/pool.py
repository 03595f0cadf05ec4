"""The host's side of runtimes: the zygote, the spare runtimes that wait, and the ones that run a cell.

A runtime serves one cell. Forking is asked for ahead of need, so that a cell starts on a process that already waits;
what is asked for and not yet there counts as spare too, because the link holds what is sent meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import signal
import socket
from collections import deque
from collections.abc import Callable

import trio
from msgspec import Struct

from . import link
from .output import LinkError, OutputReader
from .spawn import ZygoteProcess

logger = logging.getLogger("codemode_host.runtimes")

STDERR_TAIL_LINES = 20


class RuntimeExit(Struct, frozen=True):
    """How a runtime's process ended.

    `status` is its exit status, or minus the signal that ended it; `peak_resident` is in bytes, `cpu_time` in seconds;
    `asked` tells that the host had it killed.
    """

    status: int
    peak_resident: int
    cpu_time: float
    asked: bool


class Frame(Struct, frozen=True):
    """What a cell said; `end` is how far it had written its output memory at that time."""

    kind: int
    end: int
    payload: bytes


class Runtime:
    """One runtime: a link, an output memory, and a process that the zygote reaps."""

    def __init__(self, pool: RuntimePool, serial: int, sock: socket.socket, memory: mmap.mmap) -> None:
        self._pool = pool
        self.serial = serial
        self.pid: int | None = None
        self.output = OutputReader(memory)
        self.exit: RuntimeExit | None = None
        self.exited = trio.Event()
        self._socket = sock
        self._memory = memory
        self._received = bytearray()
        self._unsent: deque[memoryview] = deque()
        self._kill_sent = False

    def start(self, source: bytes, tools: bytes, stored: bytes) -> None:
        """Hand the runtime its script. `tools` and `stored` are JSON, in the shape that the realm documents."""
        lengths = link.START_LENGTHS.pack(len(source), len(tools), len(stored))
        self.send(link.START, b"".join((lengths, source, tools, stored)))

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Send a frame; what the socket does not take now is sent later. Never blocks, never fails.

        A runtime that is gone takes nothing: that is noticed where its end is waited for.
        """
        view = memoryview(link.HEADER.pack(len(payload), kind, 0) + payload)
        if self._unsent:
            self._unsent.append(view)
            return
        view = self._send_now(view)
        if view:
            self._unsent.append(view)
            self._pool.start_soon(self._send_rest)

    def _send_now(self, view: memoryview) -> memoryview:
        try:
            return view[self._socket.send(view) :]
        except BlockingIOError:
            return view
        except OSError:
            return view[:0]

    async def _send_rest(self) -> None:
        with contextlib.suppress(trio.ClosedResourceError):
            while self._unsent:
                await trio.lowlevel.wait_writable(self._socket)
                view = self._send_now(self._unsent[0])
                if view:
                    self._unsent[0] = view
                else:
                    self._unsent.popleft()

    async def wait_readable(self) -> None:
        await trio.lowlevel.wait_readable(self._socket)

    def receive(self) -> list[Frame] | None:
        """The frames that have arrived, without waiting; None at the end of the link."""
        try:
            data = self._socket.recv(1 << 18)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            return None
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
        """Let go of the link and the memory. The process, if it still runs, sees the end of its link and exits."""
        if self._socket.fileno() != -1:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._memory.close()
            self._unsent.clear()


class RuntimePool:
    """Runtimes of one zygote. Belongs to one nursery, which runs `serve`.

    `on_failure` is called at most once, with what happened to the zygote; nothing can be run after that.
    """

    def __init__(
        self, zygote: ZygoteProcess, nursery: trio.Nursery, *, spares: int, on_failure: Callable[[str], None]
    ) -> None:
        self._zygote = zygote
        self._control = zygote.control
        self._control.setblocking(False)
        self._nursery = nursery
        self._spares = spares
        self._on_failure = on_failure
        self._serial = 0
        self._waiting: deque[Runtime] = deque()
        self._alive: dict[int, Runtime] = {}
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._closing = False
        self._none_alive = trio.Event()
        self._none_alive.set()
        self.ready = trio.Event()
        self.flags = 0
        self.stderr_tail: deque[str] = deque(maxlen=STDERR_TAIL_LINES)

    @property
    def alive(self) -> int:
        """How many runtime processes there are, spare ones included."""
        return len(self._alive)

    def start_soon(self, function: Callable[[], object]) -> None:
        self._nursery.start_soon(function)  # type: ignore[arg-type]

    async def serve(self) -> None:
        """Listen to the zygote until it ends."""
        self._nursery.start_soon(self._read_stderr)
        try:
            while True:
                await trio.lowlevel.wait_readable(self._control)
                while (packet := self._receive()) is not None:
                    if not packet:
                        self._zygote_ended()
                        return
                    self._heard(*link.CONTROL.unpack(packet))
        finally:
            self._none_alive.set()  # nobody hears of their ends any more, so nobody may wait for them

    def _receive(self) -> bytes | None:
        """A record from the zygote; empty when it is gone, None when there is none yet."""
        try:
            return self._control.recv(link.CONTROL.size)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""

    def take(self) -> Runtime:
        """A runtime that nobody has used. Call `replenish` when the cell is on its way."""
        return self._waiting.popleft() if self._waiting else self._fork()

    def replenish(self) -> None:
        """Ask for as many spare runtimes as there should be."""
        while len(self._waiting) < self._spares and not self._closing:
            self._waiting.append(self._fork())

    async def aclose(self) -> None:
        """End every runtime and the zygote, and reap it. Bounded by the kernel's speed alone."""
        self._closing = True
        for runtime in list(self._alive.values()):
            runtime.kill()
        with trio.CancelScope(shield=True):
            await self._none_alive.wait()
            self.kill_zygote()

    def kill_zygote(self) -> int:
        """End the zygote, and with it every runtime that there still is; returns its wait status. Does not await."""
        self._closing = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._zygote.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            _, status = os.waitpid(self._zygote.pid, 0)
            return os.waitstatus_to_exitcode(status)
        return 0

    def close(self) -> None:
        """Let go of every descriptor."""
        for runtime in list(self._alive.values()):
            runtime.close()
        trio.lowlevel.notify_closing(self._control)
        self._control.close()

    def control(self, kind: int, serial: int, descriptors: list[int] | None = None) -> None:
        """Send a record to the zygote; waits its turn when the socket is full."""
        packet = link.CONTROL.pack(kind, serial, 0, 0, 0, 0)
        self._unsent.append((packet, descriptors or []))
        if len(self._unsent) == 1 and not self._send_unsent():
            self._nursery.start_soon(self._send_rest)

    def _fork(self) -> Runtime:
        self._serial += 1
        ours, theirs = socket.socketpair()
        memory_fd = os.memfd_create("codemode-output", os.MFD_CLOEXEC)
        os.ftruncate(memory_fd, link.OUTPUT_BYTES)
        memory = mmap.mmap(memory_fd, link.OUTPUT_BYTES)
        ours.setblocking(False)
        runtime = Runtime(self, self._serial, ours, memory)
        self._alive[runtime.serial] = runtime
        self._none_alive = trio.Event() if self._none_alive.is_set() else self._none_alive
        self.control(link.FORK, runtime.serial, [theirs.detach(), memory_fd])
        return runtime

    def _send_unsent(self) -> bool:
        while self._unsent:
            packet, descriptors = self._unsent[0]
            try:
                if descriptors:
                    socket.send_fds(self._control, [packet], descriptors)
                else:
                    self._control.send(packet)
            except BlockingIOError:
                return False
            except OSError:
                pass  # the zygote is gone; `serve` is about to say so
            self._unsent.popleft()
            for fd in descriptors:
                os.close(fd)
        return True

    async def _send_rest(self) -> None:
        with contextlib.suppress(trio.ClosedResourceError):
            while not self._send_unsent():
                await trio.lowlevel.wait_writable(self._control)

    def _heard(self, kind: int, serial: int, a: int, b: int, c: int, d: int) -> None:
        if kind == link.READY:
            self.flags = serial
            self.ready.set()
            return
        runtime = self._alive.get(serial)
        if runtime is None:
            return
        if kind == link.FORKED:
            runtime.pid = a
        elif kind == link.EXITED:
            del self._alive[serial]
            runtime.exit = RuntimeExit(os.waitstatus_to_exitcode(a), b, c / 1e6, bool(d))
            runtime.exited.set()
            if runtime in self._waiting:
                self._waiting.remove(runtime)
                runtime.close()
                if not self._closing:
                    self._on_failure(f"a spare runtime ended before it was used: {runtime.exit}")
            if not self._alive:
                self._none_alive.set()

    def _zygote_ended(self) -> None:
        if not self._closing:
            status = self.kill_zygote()
            self._on_failure(f"the zygote ended with status {status}")

    async def _read_stderr(self) -> None:
        """Keep the last lines that the zygote and the cells wrote, and pass all of them on to the log."""
        rest = b""
        os.set_blocking(self._zygote.stderr, False)
        async with trio.lowlevel.FdStream(self._zygote.stderr) as stream:
            async for chunk in stream:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._note(line)
                if len(rest) > 1 << 16:
                    self._note(rest)
                    rest = b""
            if rest:
                self._note(rest)

    def _note(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace")
        self.stderr_tail.append(text)
        logger.warning("runtime: %s", text)
