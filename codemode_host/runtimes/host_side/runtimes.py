"""The host's side of runtimes: those that wait for a cell, and those that run one.

A runtime is a link of two pipes, an output memory, and a process that the zygote forks and reaps. It serves one cell.
Forking is asked for ahead of need, so that a cell starts on a process that already waits; what is asked for and not yet
there counts as spare too, because the link holds what is sent meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import signal
from collections import deque
from collections.abc import Callable, Collection

import trio
from msgspec import Struct

from codemode_host.runtimes import link
from codemode_host.runtimes.host_side.memory_watch import MemoryWatch
from codemode_host.runtimes.host_side.output import LinkError, OutputReader
from codemode_host.runtimes.host_side.spawn import ZygoteProcess
from codemode_host.runtimes.host_side.stderr_lines import Complaints
from codemode_host.runtimes.host_side.zygote_control import ZygoteControl, ZygoteReport
from codemode_protocol.errors import describe_exit_status

logger: logging.Logger = logging.getLogger("codemode_host.runtimes")

LEAVE_SECONDS = 1.0
"""How long a runtime whose script is over may take to end by itself before it is killed."""

STOP_SECONDS = 0.25
"""How long the zygote may take to end all runtimes before it is killed itself, and they with it."""

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
    over_total: bool = False
    """The kernel killed it because its host's processes had more memory together than they may."""
    zygote_lost: bool = False
    """It ended with its zygote, and how is not known."""
    not_started: str | None = None
    """Why the process could not even be made: what the machine said."""


class Frame(Struct, frozen=True):
    """What a cell said; `end` is how far it had written its output memory at that time."""

    kind: int
    end: int
    payload: bytes


class Runtime:
    """Serves one cell."""

    def __init__(self, pool: RuntimePool, serial: int, reading: int, writing: int, memory: mmap.mmap) -> None:
        """Take over the host's ends of the link, which are non-blocking."""
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
        """How often in a row it was seen to hold more memory than it may."""
        self.over_memory: bool = False
        """It is killed because it stayed over its memory limit."""
        self.on_end: Callable[[], None] | None = None
        """Called when the process is gone."""
        self._reading = reading
        self._writing = writing
        self._memory = memory
        self._received = bytearray()
        self._parsed = 0
        """So many bytes of what was received are behind the last frame."""
        self._may_speak = False
        """Frames may come: it has its script, does not wait for its output to be read, and is not over."""
        self._unsent: deque[memoryview] = deque()
        self._kill_sent = False

    def start(self, source: bytes, tools: bytes, stored: bytes) -> None:
        """Hand the runtime its script. `tools` and `stored` are JSON, in the shape that the realm documents."""
        self.started = self._may_speak = True
        lengths = link.START_LENGTHS.pack(len(source), len(tools), len(stored))
        self.send(link.START, b"".join((lengths, source, tools, stored)))

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Send a frame; what the pipe does not take now is sent later. Never blocks, never fails.

        A runtime that is gone takes nothing: that is noticed where its end is waited for.
        """
        if kind == link.FLUSHED:
            self._may_speak = True
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
        """Wait until the runtime has said something, or its process or its link has ended."""
        if self.exit is not None:
            await trio.lowlevel.checkpoint()
            return
        with contextlib.suppress(trio.ClosedResourceError):  # it has ended meanwhile
            await trio.lowlevel.wait_readable(self._reading)

    def receive(self) -> bool:
        """Read what has arrived, without waiting; `next_frame` has it. Returns False at the end of the link."""
        try:
            data = os.read(self._reading, READ_BYTES)
        except BlockingIOError:
            # Another process may hold the link open: one that was forked right before, and has not come to close it.
            return self.exit is None
        if self._parsed:
            del self._received[: self._parsed]
            self._parsed = 0
        self._received += data
        return bool(data)

    def next_frame(self) -> Frame | None:
        """Return the next of the frames that have arrived, None when there is none. Raises LinkError."""
        received, at = self._received, self._parsed
        if len(received) - at < link.HEADER.size:
            return None
        length, kind, end = link.HEADER.unpack_from(received, at)
        if not self._may_speak or length > link.MAX_PAYLOADS.get(kind, -1):
            raise LinkError(f"a link frame of kind {kind} and {length} bytes, which may not come now")
        start = at + link.HEADER.size
        stop = start + length
        if len(received) < stop:
            return None
        self._parsed = stop
        if kind in (link.FLUSH, link.DONE):
            self._may_speak = False
        return Frame(kind, end, bytes(memoryview(received)[start:stop]) if length else b"")

    def kill(self) -> None:
        """Have the process killed. `exited` is set when it is really gone."""
        if not self._kill_sent and self.exit is None:
            self._kill_sent = True
            self._pool.zygote.send(link.KILL, self.serial)

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
            self._reading = self._writing = -1  # other descriptors will have the numbers
            self._memory.close()
            self._unsent.clear()
            self.unread = 0
            if self.exit is None:
                self._pool.see_off(self)

    def evidence(self) -> tuple[str, ...]:
        """Return the last lines on standard error that are this process's, or no process's."""
        return self._pool.stderr.tail(self.pid)

    def ended(self, ending: RuntimeExit) -> None:
        """For the pool: the process is gone."""
        self.exit = ending
        if not self.closed:
            trio.lowlevel.notify_closing(self._reading)
        self.exited.set()
        if self.on_end is not None:
            self.on_end()


class PoolClosedError(Exception):
    """The zygote is gone, or about to go: nothing can be run here any more."""


class RuntimePool:
    """Runtimes of one zygote. Belongs to one nursery, which runs `serve`."""

    def __init__(
        self,
        zygote: ZygoteProcess,
        nursery: trio.Nursery,
        *,
        spares: int,
        on_failure: Callable[[str, bool], None],
        memory_limit: int | None = None,
    ) -> None:
        """Take over a zygote.

        Args:
            zygote: Its process and the host's ends of its descriptors.
            nursery: Where the pool's tasks run.
            spares: How many runtimes wait for a cell.
            on_failure: Called at most once, with what happened to the zygote and whether it never came to be ready;
                nothing can be run after that.
            memory_limit: What the zygote was told that a cell may fill, in bytes.
        """
        self.zygote: ZygoteControl = ZygoteControl(zygote, nursery.start_soon)
        self._group = zygote.group
        self._nursery = nursery
        self._spares = spares
        self._on_failure = on_failure
        self._memory_watch = MemoryWatch(memory_limit, self._running)
        self._last_serial = 0
        self._waiting: deque[Runtime] = deque()
        self._alive: dict[int, Runtime] = {}
        self._leaving: deque[tuple[float, Runtime]] = deque()
        self._none_alive = trio.Event()
        self._none_alive.set()
        self.ready: trio.Event = trio.Event()
        self.closing: bool = False
        """Nothing new is started here, and no end is a surprise."""
        self._retired = False
        """Nothing new is started here, and it ends with the last of its runtimes."""
        self.flags: int = 0

    @property
    def is_open(self) -> bool:
        """Whether `take` has runtimes."""
        return not (self.closing or self._retired)

    @property
    def stderr(self) -> Complaints:
        """What the zygote and the runtimes wrote to standard error."""
        return self.zygote.stderr

    @property
    def alive(self) -> Collection[Runtime]:
        """The runtimes whose processes there are, spare ones included."""
        return self._alive.values()

    def start_soon(self, function: Callable[[], object]) -> None:
        """Start a task that ends with the pool."""
        self._nursery.start_soon(function)  # type: ignore[arg-type]

    # ----------------------------------------------------------------------------------------------- runtimes for cells

    def take(self) -> Runtime:
        """Return an unused runtime. Call `replenish` when the cell is on its way.

        Raises:
            OSError: This process has no descriptors or memory left for one.
            PoolClosedError: The end has begun.
        """
        if not self.is_open:
            raise PoolClosedError("the runtimes' parent process is gone")
        runtime = self._waiting.popleft() if self._waiting else self._fork()
        if not self._memory_watch.watching:
            self._memory_watch.start(self._nursery.start_soon)
        return runtime

    @property
    def has_spares(self) -> bool:
        """Whether a runtime waits for a cell."""
        return bool(self._waiting)

    def replenish(self) -> None:
        """Ask for as many spare runtimes as there should be, and as the machine has room for."""
        with contextlib.suppress(OSError):
            while len(self._waiting) < self._spares and self.is_open:
                self._waiting.append(self._fork())

    def _fork(self) -> Runtime:
        made: list[int] = []
        try:
            made += os.pipe()
            made += os.pipe()
            made.append(os.memfd_create("codemode-output", os.MFD_CLOEXEC))
            os.ftruncate(made[-1], link.OUTPUT_BYTES)
            memory = mmap.mmap(made[-1], link.OUTPUT_BYTES)
        except BaseException:
            for fd in made:
                os.close(fd)
            raise
        reading, its_writing, its_reading, writing, memory_fd = made
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        self._last_serial += 1
        runtime = Runtime(self, self._last_serial, reading, writing, memory)
        self._alive[runtime.serial] = runtime
        self._none_alive = trio.Event() if self._none_alive.is_set() else self._none_alive
        self.zygote.send(link.FORK, runtime.serial, [its_reading, its_writing, memory_fd])
        return runtime

    def _running(self) -> list[Runtime]:
        return [runtime for runtime in self._alive.values() if runtime.started and not runtime.closed]

    def see_off(self, runtime: Runtime) -> None:
        """Kill a runtime whose script is over unless it ends by itself within `LEAVE_SECONDS`."""
        self._leaving.append((trio.current_time() + LEAVE_SECONDS, runtime))
        if len(self._leaving) == 1 and not self.closing:
            self._nursery.start_soon(self._see_off)

    async def _see_off(self) -> None:
        while self._leaving:
            deadline, runtime = self._leaving[0]
            if runtime.exit is None:
                with trio.move_on_at(deadline):
                    await runtime.exited.wait()
                runtime.kill()
            self._leaving.popleft()

    # ---------------------------------------------------------------------------------------- what the zygote reports

    async def serve(self) -> None:
        """Listen to the zygote until it ends."""
        self._nursery.start_soon(self.stderr.read)
        try:
            while (reports := await self.zygote.receive()) is not None:
                for report in reports:
                    self._take_report(report)
            self._zygote_ended()
        finally:
            self._none_alive.set()  # no end is reported any more, so that none may be waited for

    def _take_report(self, report: ZygoteReport) -> None:
        if report.kind == link.READY:
            self.flags = report.serial
            self.ready.set()
            return
        runtime = self._alive.get(report.serial)
        if runtime is None:
            return
        if report.kind == link.FORKED:
            runtime.pid, runtime.baseline = report.a, report.b
            return
        del self._alive[report.serial]
        if report.kind == link.EXITED:
            runtime.ended(self._exit_of(runtime, report))
        else:
            runtime.ended(RuntimeExit(0, not_started=os.strerror(report.a)))
        if not self._alive:
            self._none_alive.set()
            self._end_if_retired()
        if runtime in self._waiting:
            self._waiting.remove(runtime)
            runtime.close()
            self._spare_ended(runtime)

    def _exit_of(self, runtime: Runtime, report: ZygoteReport) -> RuntimeExit:
        status, asked = os.waitstatus_to_exitcode(report.a), bool(report.d)
        over_total = status == -signal.SIGKILL and not asked and self._group is not None and self._group.has_killed()
        return RuntimeExit(status, report.b, report.c / 1e6, asked, runtime.over_memory, over_total)

    def _spare_ended(self, runtime: Runtime) -> None:
        assert runtime.exit is not None
        if runtime.exit.not_started is not None or runtime.exit.over_total:
            why = runtime.exit.not_started or "there is not enough memory"
            logger.warning("a spare runtime could not be started: %s", why)
        elif self.is_open:
            self.stderr.read_now()
            how = describe_exit_status(runtime.exit.status)
            self._on_failure(f"a spare runtime ended before it was used: {how}", False)

    def _zygote_ended(self) -> None:
        failed = self.is_open
        status = self.kill_zygote()
        self.stderr.read_now()
        if failed:  # first of all: where it raises, no cell may come to give an answer any more
            how = describe_exit_status(status)
            over_total = status == -signal.SIGKILL and self._group is not None and self._group.has_killed()
            if over_total:
                how += ", by the kernel: --total-memory-mib is too little"
            refused = (status == link.EXIT_REFUSED or over_total) and not self.ready.is_set()
            self._on_failure(f"the zygote ended: {how}", refused)
        # The kernel ends them when it ends the zygote, and how they ended is not reported any more.
        for runtime in self._alive.values():
            runtime.ended(RuntimeExit(-signal.SIGKILL, zygote_lost=True))
        self._alive.clear()
        self._close_waiting()
        self._none_alive.set()

    # ---------------------------------------------------------------------------------------------------- its own end

    def retire(self) -> None:
        """Start nothing any more, and end with the last of the runtimes that run a cell. Idempotent."""
        self._retired = True
        self._close_waiting()
        self._end_if_retired()

    def _close_waiting(self) -> None:
        while self._waiting:
            self._waiting.popleft().close()

    def _end_if_retired(self) -> None:
        if self._retired and not self._alive and not self.closing:
            self.kill_zygote()

    def kill_runtimes(self) -> None:
        """Have every runtime killed. Nothing new is started any more."""
        self.closing = True
        for runtime in list(self._alive.values()):
            runtime.kill()

    async def aclose(self) -> None:
        """End every runtime and the zygote, and reap it. Takes `STOP_SECONDS` at most, and the kernel's time."""
        self.kill_runtimes()
        with trio.CancelScope(shield=True):
            with trio.move_on_after(STOP_SECONDS):
                await self._none_alive.wait()
            self.kill_zygote()

    def kill_zygote(self) -> int:
        """End the zygote, and with it every runtime that there still is; return its exit status. Does not await."""
        self.closing = True
        return self.zygote.kill()

    def close(self) -> None:
        """End every process, and close what is the pool's. A runtime that was taken is its taker's to close."""
        self.kill_zygote()
        self._close_waiting()
        self.zygote.close()
