"""A zygote and runtimes that are played by a test: they say what no cell's own code would say, or nothing at all.

The host's side is the real one, with real pipes, sockets and memory. The zygote's process only waits for its end.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from codemode_host.runtimes import link
from codemode_host.runtimes.host_side.memory_group import MemoryGroup
from codemode_host.runtimes.host_side.runtimes import Runtime, RuntimePool
from codemode_host.runtimes.host_side.spawn import ZygoteProcess


class Writer:
    """Writes records into an output memory, as the prelude does."""

    def __init__(self, memory: mmap.mmap | None = None) -> None:
        self.memory = mmap.mmap(-1, link.OUTPUT_BYTES) if memory is None else memory
        self.memory[link.STARTED] = 1
        self.at = link.OUTPUT_START

    def record(self, kind: int, data: bytes, *, more: bool = False) -> int:
        header = len(data) | kind << link.RECORD_KIND_SHIFT | (link.RECORD_MORE if more else 0)
        padded = struct.pack("<I", header) + data + b"\0" * (-len(data) % 4)
        self.memory[self.at : self.at + len(padded)] = padded
        self.at += len(padded)
        self.memory[:4] = struct.pack("<I", self.at)
        return self.at

    def text(self, text: str) -> int:
        latin1 = all(ord(character) < 256 for character in text)
        data = text.encode("latin-1" if latin1 else "utf-16-le")
        return self.record(link.TEXT_LATIN1 if latin1 else link.TEXT_UTF16, data)


class Liar:
    """A runtime's end of its link."""

    def __init__(self, zygote: LyingZygote, serial: int, reading: int, writing: int, memory: int) -> None:
        self._zygote = zygote
        self.serial = serial
        self.reading, self.writing = reading, writing
        self.memory = mmap.mmap(memory, link.OUTPUT_BYTES)
        os.close(memory)
        self.writer = Writer(self.memory)
        self._heard = b""

    def say(self, kind: int, payload: bytes = b"", end: int = 0, length: int | None = None) -> None:
        """Send a frame, perhaps with a header that says another length."""
        header = link.HEADER.pack(len(payload) if length is None else length, kind, end)
        assert os.write(self.writing, header + payload) == link.HEADER.size + len(payload)

    async def say_at_length(self, kind: int, payload: bytes) -> None:
        """Send a frame that is larger than the pipe, while the host reads it."""
        self.say(kind, length=len(payload))
        for at in range(0, len(payload), 30_000):
            await trio.testing.wait_all_tasks_blocked()
            os.write(self.writing, payload[at : at + 30_000])

    def hear(self) -> list[tuple[int, bytes]]:
        """The frames that have come, whole ones."""
        os.set_blocking(self.reading, False)
        try:
            while data := os.read(self.reading, 1 << 20):
                self._heard += data
        except BlockingIOError:
            pass
        frames = []
        while len(self._heard) >= link.HEADER.size:
            length, kind, _ = link.HEADER.unpack_from(self._heard)
            size = link.HEADER.size + length
            if len(self._heard) < size:
                break
            frames.append((kind, self._heard[link.HEADER.size : size]))
            self._heard = self._heard[size:]
        return frames

    def hang_up(self) -> None:
        """Let go of everything, as the end of a process does."""
        self.memory.close()
        for fd in (self.reading, self.writing):
            if fd >= 0:
                os.close(fd)
        self.reading = self.writing = -1

    def end(self, status: int = 0, *, asked: bool = False, cpu: int = 0) -> None:
        """End, as a wait status says it."""
        self.hang_up()
        self._zygote.report(link.EXITED, self.serial, status, 0, cpu, int(asked))


class LyingZygote:
    """A zygote's end of its control socket."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control = ours
        self.control.setblocking(False)
        reading, self.stderr = os.pipe()
        self.process = subprocess.Popen(["sleep", "1000"])
        self.handed_over = ZygoteProcess(self.process.pid, theirs.detach(), reading)
        self.kills: list[int] = []
        """The runtimes that the host wants to have killed."""
        self.liars: dict[int, Liar] = {}

    def report(self, kind: int, serial: int = 0, *values: int) -> None:
        self.control.send(link.CONTROL.pack(kind, serial, *values, *(0,) * (4 - len(values))))

    def listen(self) -> None:
        """Take what the host has asked for."""
        size = link.CONTROL.size
        while True:
            try:
                packet, descriptors, _, _ = socket.recv_fds(self.control, size, 3)
            except BlockingIOError:
                return
            if not packet:
                return
            kind, serial, *_ = link.CONTROL.unpack(packet)
            if kind == link.FORK:
                self.liars[serial] = Liar(self, serial, *descriptors)
            else:
                assert kind == link.KILL
                self.kills.append(serial)

    def play(self, runtime: Runtime) -> Liar:
        """The other side of a runtime."""
        self.listen()
        return self.liars[runtime.serial]

    def hang_up(self) -> None:
        self.control.close()

    @property
    def ended_by(self) -> int | None:
        """The signal that ended the process, if it is gone; the host has reaped it."""
        try:
            os.kill(self.process.pid, 0)
        except ProcessLookupError:
            return int(signal.SIGKILL)
        return None

    def close(self) -> None:
        self.process.returncode = 0  # reaped by the host
        for liar in self.liars.values():
            liar.hang_up()
        self.control.close()
        os.close(self.stderr)


class Failures(list[tuple[str, bool]]):
    """What the pool said of its end."""

    raised: Exception | None = None
    """What the pool's owner raises then."""

    def note(self, cause: str, refused: bool) -> None:
        self.append((cause, refused))
        if self.raised is not None:
            raise self.raised


@asynccontextmanager
async def lying_pool(
    spares: int = 0, memory_limit: int | None = None, group: MemoryGroup | None = None
) -> AsyncIterator[tuple[RuntimePool, LyingZygote, Failures]]:
    zygote, failures = LyingZygote(), Failures()
    zygote.handed_over.group = group
    pool = None
    try:
        async with trio.open_nursery() as nursery:
            pool = RuntimePool(
                zygote.handed_over, nursery, spares=spares, on_failure=failures.note, memory_limit=memory_limit
            )
            nursery.start_soon(pool.serve)
            yield pool, zygote, failures
            nursery.cancel_scope.cancel()
    finally:
        if pool is not None:
            pool.close()
            for runtime in pool.alive:
                runtime.close()
        zygote.close()
