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

from codemode_host.runtimes import link
from codemode_host.runtimes.host_side.runtime import Frame, Runtime, RuntimeExit
from codemode_host.runtimes.host_side.spawn import ZygoteProcess
from codemode_host.runtimes.host_side.stderr_lines import Complaints
from codemode_protocol.errors import describe_exit_status

logger: logging.Logger = logging.getLogger("codemode_host.runtimes")

LEAVE_SECONDS = 1.0
"""How long a runtime whose script is over may take to end by itself before it is killed."""

STOP_SECONDS = 0.25
"""How long the zygote may take to end all runtimes before it is killed itself, and they with it."""

WATCH_SECONDS = 0.3
"""How often the memory of running cells is looked at."""

CLOSE_WATCH_SECONDS = 0.1
"""The same while one of them has filled half of what it may."""

LOOKS_OVER_LIMIT = 4
"""A cell that was over its memory limit at so many looks in a row stays there. Short of that it may: large values exist
several times for a moment. At twice the limit there is no second look."""


class PoolClosedError(Exception):
    """The zygote is gone, or about to go: nothing can be run here any more."""


class RuntimePool:
    """Runtimes of one zygote. Belongs to one nursery, which runs `serve`.

    `on_failure` is called at most once, with what happened to the zygote and whether it never came to be ready; nothing
    can be run after that. `memory_limit` is what the zygote was told, in bytes.
    """

    def __init__(
        self,
        zygote: ZygoteProcess,
        nursery: trio.Nursery,
        *,
        spares: int,
        on_failure: Callable[[str, bool], None],
        memory_limit: int | None = None,
    ) -> None:
        self._zygote = zygote
        self._control = socket.socket(fileno=zygote.control)
        self._control.setblocking(False)
        self._nursery = nursery
        self._spares = spares
        self._on_failure = on_failure
        self._memory_limit = memory_limit
        self._watching = False
        self._over_memory: set[int] = set()
        self._serial = 0
        self._waiting: deque[Runtime] = deque()
        self._alive: dict[int, Runtime] = {}
        self._leaving: deque[tuple[float, Runtime]] = deque()
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._reaped: int | None = None
        self._none_alive = trio.Event()
        self._none_alive.set()
        self.complaints: Complaints = Complaints(zygote.stderr)
        """What the zygote and the runtimes wrote to standard error."""
        self.ready: trio.Event = trio.Event()
        self.closing: bool = False
        """Nothing new is started here."""
        self.flags: int = 0

    @property
    def alive(self) -> int:
        """How many runtime processes there are, spare ones included."""
        return len(self._alive)

    @property
    def zygote_pid(self) -> int:
        return self._zygote.pid

    def start_soon(self, function: Callable[[], object]) -> None:
        self._nursery.start_soon(function)  # type: ignore[arg-type]

    async def serve(self) -> None:
        """Listen to the zygote until it ends."""
        self._nursery.start_soon(self.complaints.read)
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
        """A runtime that nobody has used. Call `replenish` when the cell is on its way.

        Raises OSError when this process has no descriptors or memory left for one, PoolClosedError after the end.
        """
        if self.closing:
            raise PoolClosedError("the runtimes' parent process is gone")
        runtime = self._waiting.popleft() if self._waiting else self._fork()
        if self._memory_limit is not None and not self._watching:
            self._watching = True
            self._nursery.start_soon(self._watch_memory)
        return runtime

    @property
    def has_spares(self) -> bool:
        return bool(self._waiting)

    def replenish(self) -> None:
        """Ask for as many spare runtimes as there should be, and as the machine has room for."""
        with contextlib.suppress(OSError):
            while len(self._waiting) < self._spares and not self.closing:
                self._waiting.append(self._fork())

    async def aclose(self) -> None:
        """End every runtime and the zygote, and reap it. Takes `STOP_SECONDS` at most, and the kernel's time."""
        self.closing = True
        for runtime in list(self._alive.values()):
            runtime.kill()
        with trio.CancelScope(shield=True):
            with trio.move_on_after(STOP_SECONDS):
                await self._none_alive.wait()
            self.kill_zygote()

    def kill_zygote(self) -> int:
        """End the zygote, and with it every runtime that there still is; returns its exit status. Does not await."""
        self.closing = True
        if self._reaped is None:
            # Not reaped yet, so that the number is still its own.
            os.kill(self._zygote.pid, signal.SIGKILL)
            _, status = os.waitpid(self._zygote.pid, 0)
            self._reaped = os.waitstatus_to_exitcode(status)
        return self._reaped

    def close(self) -> None:
        """Let go of every descriptor."""
        self.kill_zygote()
        for runtime in list(self._alive.values()):
            runtime.close()
        for _, descriptors in self._unsent:
            for fd in descriptors:
                os.close(fd)
        self._unsent.clear()
        trio.lowlevel.notify_closing(self._control)
        self._control.close()
        self.complaints.close()

    def control(self, kind: int, serial: int, descriptors: list[int] | None = None) -> None:
        """Send a record to the zygote; waits its turn when the socket is full."""
        packet = link.CONTROL.pack(kind, serial, 0, 0, 0, 0)
        self._unsent.append((packet, descriptors or []))
        if len(self._unsent) == 1 and not self._send_unsent():
            self._nursery.start_soon(self._send_rest)

    def leaving(self, runtime: Runtime) -> None:
        """The script of `runtime` is over and nobody listens to it any more: see that it goes."""
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
        self._serial += 1
        runtime = Runtime(self, self._serial, reading, writing, memory)
        self._alive[runtime.serial] = runtime
        self._none_alive = trio.Event() if self._none_alive.is_set() else self._none_alive
        self.control(link.FORK, runtime.serial, [its_reading, its_writing, memory_fd])
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

    # ---------------------------------------------------------------------------------------- what the zygote reports

    def _heard(self, kind: int, serial: int, a: int, b: int, c: int, d: int) -> None:
        if kind == link.READY:
            self.flags = serial
            self.ready.set()
            return
        runtime = self._alive.get(serial)
        if runtime is None:
            return
        if kind == link.FORKED:
            runtime.pid, runtime.baseline = a, b
            return
        del self._alive[serial]
        if kind == link.EXITED:
            status = os.waitstatus_to_exitcode(a)
            over_memory = serial in self._over_memory
            self._over_memory.discard(serial)
            runtime.ended(RuntimeExit(status, b, c / 1e6, bool(d), over_memory))
        else:
            runtime.ended(RuntimeExit(0, not_started=os.strerror(a)))
        if not self._alive:
            self._none_alive.set()
        if runtime in self._waiting:
            self._waiting.remove(runtime)
            runtime.close()
            self._spare_ended(runtime)

    def _spare_ended(self, runtime: Runtime) -> None:
        assert runtime.exit is not None
        if runtime.exit.not_started is not None:
            logger.warning("a spare runtime could not be started: %s", runtime.exit.not_started)
        elif not self.closing:
            self.complaints.read_now()
            self._on_failure(
                f"a spare runtime ended before it was used: {describe_exit_status(runtime.exit.status)}", False
            )

    def _zygote_ended(self) -> None:
        failed = not self.closing
        status = self.kill_zygote()
        self.complaints.read_now()
        # The kernel ends them when it ends the zygote; there is nobody left who could tell how.
        for runtime in self._alive.values():
            runtime.ended(RuntimeExit(-signal.SIGKILL))
        self._alive.clear()
        while self._waiting:
            self._waiting.popleft().close()
        self._none_alive.set()
        if failed:
            how = describe_exit_status(status)
            self._on_failure(f"the zygote ended: {how}", status == link.EXIT_REFUSED and not self.ready.is_set())

    # --------------------------------------------------------------------------------------------------------- memory

    async def _watch_memory(self) -> None:
        """End cells that stay over their limit. The kernel bounds only what they ask for."""
        assert self._memory_limit is not None
        seconds = WATCH_SECONDS
        while True:
            await trio.sleep(seconds)
            seconds = WATCH_SECONDS
            running = [runtime for runtime in self._alive.values() if runtime.started and not runtime.closed]
            if not running:
                break
            for runtime in running:
                if runtime.pid is None or not runtime.baseline:
                    continue
                filled = link.filled_bytes(runtime.pid) - runtime.baseline
                if filled > self._memory_limit // 2:
                    seconds = CLOSE_WATCH_SECONDS
                runtime.looks_over_limit = runtime.looks_over_limit + 1 if filled > self._memory_limit else 0
                if runtime.looks_over_limit == LOOKS_OVER_LIMIT or filled > 2 * self._memory_limit:
                    self._over_memory.add(runtime.serial)
                    runtime.kill()
        self._watching = False


__all__ = ["Frame", "PoolClosedError", "Runtime", "RuntimeExit", "RuntimePool"]
