"""One host process: spawning it, reading its standard error, and reaping it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from codemode_client._loops.interface import Loop, protect_from_interrupt
from codemode_client._loops.slots import Slot
from codemode_protocol.errors import HostStartError

STDERR_TAIL_BYTES = 16 * 1024
"""The size of the kept tail of a host's standard error."""

STDERR_TAIL_LINES = 20
"""The number of last lines in an error."""

STDERR_LINE_BYTES = 8 * 1024
"""A longer line of standard error is split into pieces of this size."""

TERMINATE_SECONDS = 1.0
"""How long a host may take to end after SIGTERM before it is killed."""

KILL_SECONDS = 5.0
"""How long to wait for a killed host to end."""

STDERR_SECONDS = 0.25
"""Grace period to drain the standard error of an ended host; another process may hold its other end open."""

PIPE_BYTES = 1024 * 1024
"""The capacity of the pipes to and from a host, where the system allows it: fewer wake-ups for large frames."""

_READ_BYTES = 64 * 1024


class Child:
    """A running host process. The owner closes its input and output, and must call `stop`."""

    def __init__(
        self,
        loop: Loop,
        process: subprocess.Popen[bytes],
        on_stderr_line: Callable[[int, str], None] | None,
        on_exit: Callable[[], None] | None,
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._loop = loop
        self._process = process
        self.stdin_fd = _take_descriptor(process.stdin)
        self.stdout_fd = _take_descriptor(process.stdout)
        self._stderr_fd = _take_descriptor(process.stderr)
        prepare_pipe(self.stdin_fd)
        prepare_pipe(self.stdout_fd)
        os.set_blocking(self._stderr_fd, False)
        self._stderr = bytearray()
        self._on_stderr_line = on_stderr_line
        self._on_exit = on_exit
        self._begun_line = b""
        self._signalled = False
        self._stderr_ended: Slot[None] = Slot(loop)
        self.exited: Slot[None] = Slot(loop)
        """Set when the process has ended. `stop` reaps it."""
        self._stderr_watch = loop.when_readable(self._stderr_fd, self._read_stderr)
        self._watch_exit()

    @classmethod
    def spawn(
        cls,
        loop: Loop,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        on_stderr_line: Callable[[int, str], None] | None = None,
        on_exit: Callable[[], None] | None = None,
    ) -> Child:
        """Start a host.

        Call it in the loop's thread, which outlives the host: a host may ask the kernel for a signal when the thread
        that spawned it ends. The process gets its own session, so that Ctrl-C in a terminal reaches only the caller,
        which stops the host in order.

        Args:
            loop: The event loop that runs the caller.
            command: The program and its arguments.
            env: The process's environment; None for the caller's own.
            cwd: The process's working directory; None for the caller's own.
            on_stderr_line: Called with the process id and each line on standard error.
            on_exit: Called when the process has ended.

        Raises:
            HostStartError: The program cannot be run.
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
        return cls(loop, process, on_stderr_line, on_exit)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def reaped(self) -> bool:
        """Whether the process was reaped, so that its id may belong to another process."""
        return self._process.returncode is not None

    @property
    def exit_status(self) -> int | None:
        """The status of a reaped process that exited by itself; None if it was signalled."""
        return None if self._signalled else self._process.returncode

    @property
    def stderr_tail(self) -> str:
        """The last lines on the process's standard error."""
        lines = bytes(self._stderr).decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-STDERR_TAIL_LINES:])

    @protect_from_interrupt
    async def stop(self, grace: float) -> None:
        """Stop the process and reap it. Its standard input must be closed, which asks it to exit.

        Args:
            grace: Seconds for the process to exit. Then its process group is sent SIGTERM, and later SIGKILL.
        """
        for seconds, number in ((grace, None), (TERMINATE_SECONDS, signal.SIGTERM), (KILL_SECONDS, signal.SIGKILL)):
            if number is not None:
                self._signalled = True
                self._signal_group(number)
            if await self.exited.wait(seconds):
                break
        if self.exited.done:
            # Kill the rest of its group. The group's id cannot be reused before the process is reaped.
            self._signal_group(signal.SIGKILL)
            self._process.wait()
            await self._stderr_ended.wait(STDERR_SECONDS)
        self.ensure_reaped()

    def ensure_reaped(self) -> None:
        """Kill and reap the process if it was not stopped, and close its descriptors. Idempotent."""
        if self._process.returncode is None:
            self._signalled = True
            self._signal_group(signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_SECONDS)
        self._close_exit_watch()
        self._end_stderr()

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _watch_exit(self) -> None:
        try:
            pidfd = os.pidfd_open(self._process.pid)
        except (AttributeError, OSError):  # a system without pidfds
            threading.Thread(target=self._wait_in_thread, daemon=True).start()
            self._close_exit_watch: Callable[[], None] = lambda: None
            return
        watch = self._loop.when_readable(pidfd, self._exited)
        stack = contextlib.ExitStack()
        stack.callback(os.close, pidfd)
        stack.callback(watch.close)
        self._close_exit_watch = stack.close

    def _wait_in_thread(self) -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self._loop.call_from_thread(self._exited)

    def _exited(self) -> None:
        self._close_exit_watch()
        if not self.exited.done:
            self.exited.resolve(None)
            if self._on_exit is not None:
                self._on_exit()

    def _read_stderr(self) -> None:
        try:
            data = os.read(self._stderr_fd, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._end_stderr()
            return
        self._pass_lines_on(data)
        self._stderr += data
        if len(self._stderr) > STDERR_TAIL_BYTES:
            del self._stderr[:-STDERR_TAIL_BYTES]

    def _end_stderr(self) -> None:
        if not self._stderr_ended.done:
            self._stderr_ended.resolve(None)
            self._stderr_watch.close()
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
    """Return a duplicate of a file object's descriptor and close the file, which could close a reused number later."""
    fd = os.dup(file.fileno())
    file.close()
    return fd


def prepare_pipe(fd: int) -> None:
    """Make a pipe non-blocking and its buffer large."""
    os.set_blocking(fd, False)
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
