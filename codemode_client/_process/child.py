"""One host process: spawned, listened to on its standard error, and reaped, all in this one place."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

import trio

from codemode_client._process.pipes import prepare_pipe
from codemode_protocol.errors import HostStartError
from codemode_protocol.framing import MAX_PAYLOAD_BYTES

STDERR_TAIL_BYTES = 16 * 1024
"""How much of the end of a host's standard error is kept."""

STDERR_TAIL_LINES = 20
"""How many of its last lines an error carries."""

STDERR_LINE_BYTES = 8 * 1024
"""Of a line of standard error, so much may be waiting for its end; then it is passed on in pieces."""

TERMINATE_SECONDS = 1.0
"""How long a host that was sent SIGTERM may take before it is killed."""

KILL_SECONDS = 5.0
"""How long the kernel may take to end a killed host before it is given up as unkillable."""

STDERR_SECONDS = 0.25
"""How long the standard error of an ended host is still read; something else may hold its other end open."""


@dataclass(frozen=True)
class HostOptions:
    """How to start and to end a host process. Times are seconds."""

    command: Sequence[str]
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    handshake_timeout: float = 10.0
    shutdown_timeout: float = 10.0
    close_timeout: float = 2.0
    max_payload: int = MAX_PAYLOAD_BYTES


class Child:
    """A running host process. `run` must run until the process has been stopped."""

    def __init__(self, process: subprocess.Popen[bytes], on_stderr_line: Callable[[int, str], None] | None) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self.stdin_fd = _take_descriptor(process.stdin)
        self.stdout_fd = _take_descriptor(process.stdout)
        self._stderr_fd = _take_descriptor(process.stderr)
        self._stderr = bytearray()
        self._on_stderr_line = on_stderr_line
        self._begun_line = b""
        self._stderr_end = trio.Event()
        self._signalled = False
        self.exited = trio.Event()
        """The process has ended; it is reaped by `stop`."""

    @classmethod
    def spawn(
        cls,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        on_stderr_line: Callable[[int, str], None] | None = None,
    ) -> Child:
        """Start `command`; its input and output are the caller's to close.

        `on_stderr_line` is called with the process's id and each line that it writes to its standard error.

        The process is made by the thread that runs trio, which lives as long as the host is wanted: a host
        may ask the kernel to be told when the thread that made it ends. It gets a session of its own, so
        that Ctrl-C in a terminal reaches the caller, who ends the host in order, and not the host.

        Raises `HostStartError` when the program cannot be run.
        """
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise HostStartError(f"the host program {command[0]!r} cannot be run: {error}") from error
        child = cls(process, on_stderr_line)
        prepare_pipe(child.stdin_fd)
        prepare_pipe(child.stdout_fd)
        os.set_blocking(child._stderr_fd, False)
        return child

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The status with which the process ended by itself, once it was reaped; None if it had to be stopped."""
        return None if self._signalled else self._process.returncode

    @property
    def stderr_tail(self) -> str:
        """The last lines that the process wrote to its standard error."""
        lines = bytes(self._stderr).decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-STDERR_TAIL_LINES:])

    async def run(self) -> None:
        """Listen to the process until it has ended and nobody writes to its standard error any more."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_stderr)
            await self._wait_for_exit()
            self.exited.set()

    async def stop(self, grace: float) -> None:
        """End the process and reap it. Its standard input must have been closed, which asks it to end.

        Waits `grace` seconds for it to end by itself, then sends SIGTERM, then SIGKILL, to its whole
        process group.
        """
        for seconds, number in ((grace, None), (TERMINATE_SECONDS, signal.SIGTERM), (KILL_SECONDS, signal.SIGKILL)):
            if number is not None:
                self._signalled = True
                self._signal_group(number)
            with trio.move_on_after(seconds):
                await self.exited.wait()
                break
        if not self.exited.is_set():
            return
        # Whatever it left behind in its group goes with it. The group's number cannot have passed to somebody
        # else, for the process that it is named after has not been reaped yet.
        self._signal_group(signal.SIGKILL)
        self._process.wait()
        with trio.move_on_after(STDERR_SECONDS):
            await self._stderr_end.wait()

    def ensure_reaped(self) -> None:
        """The last resort of whoever could not `stop` it: kill and reap now. Does nothing after `stop`."""
        if self._process.returncode is None:
            self._signalled = True
            self._signal_group(signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_SECONDS)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def _wait_for_exit(self) -> None:
        try:
            pidfd = os.pidfd_open(self._process.pid)
        except (AttributeError, OSError):  # a system without pidfds
            await trio.to_thread.run_sync(
                os.waitid, os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT, abandon_on_cancel=True
            )
            return
        try:
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)

    async def _read_stderr(self) -> None:
        try:
            while True:
                await trio.lowlevel.wait_readable(self._stderr_fd)
                try:
                    data = os.read(self._stderr_fd, 65536)
                except BlockingIOError:
                    continue
                if not data:
                    return
                self._pass_lines_on(data)
                self._stderr += data
                if len(self._stderr) > STDERR_TAIL_BYTES:
                    del self._stderr[:-STDERR_TAIL_BYTES]
        finally:
            self._stderr_end.set()
            os.close(self._stderr_fd)
            self._pass_lines_on(b"\n")

    def _pass_lines_on(self, data: bytes) -> None:
        if self._on_stderr_line is None:
            return
        *lines, begun = (self._begun_line + data).split(b"\n")
        while len(begun) > STDERR_LINE_BYTES:
            lines.append(begun[:STDERR_LINE_BYTES])
            begun = begun[STDERR_LINE_BYTES:]
        self._begun_line = begun
        for line in lines:
            if line.strip():
                self._on_stderr_line(self.pid, line.decode("utf-8", "replace").rstrip())


def _take_descriptor(file: IO[bytes]) -> int:
    """A descriptor of our own for a file object's, which is closed: it must not close the number behind our back."""
    fd = os.dup(file.fileno())
    file.close()
    return fd
