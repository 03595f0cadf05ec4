"""An MCP server as a child process: its pipes, its standard error, and its end.

The SDK has such a transport. This one also keeps the last lines of standard error and the exit status, which a user
needs when a server does not start, and ends processes that a server leaves behind in its group.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import AsyncResource, ByteReceiveStream, ByteSendStream, Process
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage

from codemode_client._observability.foreign import ForeignLog
from codemode_client.mcp._config import StdioServer
from codemode_client.mcp._wire import (
    Incoming,
    Lines,
    MessageTooLongError,
    TransportStreams,
    read_messages,
    write_messages,
)
from codemode_protocol.errors import describe_exit_status

logger: ForeignLog = ForeignLog("codemode_client.mcp")

EXIT_SECONDS = 2.0
"""How long a server may take to exit once its standard input is closed, before its group is sent SIGTERM."""

TERMINATION_SECONDS = 2.0
"""How long its group may then take before it is sent SIGKILL."""

_KILL_SECONDS = 2.0
_DRAIN_SECONDS = 0.5
_POLL_SECONDS = 0.01

STDERR_LINES = 20
"""The number of last lines on standard error that are kept for errors."""

_STDERR_LINE_CHARACTERS = 500
_STDERR_LINE_BYTES = 64 * 1024


class ServerProcess:
    """A server's process, which `streams` runs."""

    def __init__(self, name: str, server: StdioServer) -> None:
        self._name = name
        self._server = server
        self._stderr_lines: deque[str] = deque(maxlen=STDERR_LINES)
        self.exit_status: int | None = None
        self.offence: str | None = None
        """Why reading its messages was stopped, if it was."""

    @property
    def stderr(self) -> str:
        """The last lines that the server wrote to standard error."""
        return "\n".join(self._stderr_lines)

    @property
    def ending(self) -> str | None:
        """A description of how the process exited; None if it runs or was signalled."""
        return None if self.exit_status is None else describe_exit_status(self.exit_status)

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[TransportStreams]:
        """Run the server for the block; at its end the whole process group is gone.

        Raises:
            OSError: The server cannot be started.
        """
        process = await anyio.open_process(
            [self._server.command, *self._server.args],
            env=get_default_environment() | self._server.env,
            cwd=self._server.cwd,
            start_new_session=True,
        )
        # No await from here to the try: a cancellation in between would leak the process.
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        incoming, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        write, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
        drained = anyio.Event()
        async with anyio.create_task_group() as group:
            try:
                group.start_soon(self._listen, process.stdout, incoming)
                group.start_soon(self._read_stderr, process.stderr, drained)
                group.start_soon(write_messages, outgoing, process.stdin.send)
                yield read, write
            finally:
                with anyio.CancelScope(shield=True):
                    read.close()
                    write.close()
                    await self._end(process, process.stdin)
                    with anyio.move_on_after(_DRAIN_SECONDS):
                        await drained.wait()
                    group.cancel_scope.cancel()
                    for stream in (process.stdout, process.stderr):
                        await _close(stream)

    async def _listen(self, stdout: ByteReceiveStream, incoming: Incoming) -> None:
        try:
            await read_messages(f"MCP server {self._name}", stdout, incoming)
        except MessageTooLongError as error:
            self.offence = str(error)
            self._log(f"it {error}")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # closed below

    async def _read_stderr(self, stderr: ByteReceiveStream, drained: anyio.Event) -> None:
        lines = Lines(_STDERR_LINE_BYTES)
        try:
            async for piece in stderr:
                try:
                    complete = lines.feed(piece)
                except MessageTooLongError:
                    lines, complete = Lines(_STDERR_LINE_BYTES), piece.split(b"\n")
                for line in complete:
                    self._log(line.decode("utf-8", "replace").rstrip())
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # closed above
        finally:
            drained.set()

    def _log(self, line: str) -> None:
        if line:
            line = line[:_STDERR_LINE_CHARACTERS]
            self._stderr_lines.append(line)
            logger.info("%s: %s", self._name, line)

    async def _end(self, process: Process, stdin: ByteSendStream) -> None:
        """Let the server exit by itself, then end the rest of its group."""
        await _close(stdin)
        if await _exited(process, EXIT_SECONDS):
            self.exit_status = process.returncode
        # The group's id is the server's process id, which cannot be reused while the group has members.
        if not _signal_group(process.pid, signal.SIGTERM):
            return
        with anyio.move_on_after(TERMINATION_SECONDS):
            while _signal_group(process.pid, 0):
                _ = process.returncode  # reading it reaps
                await anyio.sleep(_POLL_SECONDS)
            # Asyncio reaps it in a thread, and lets go of it once its loop has heard of that.
            await _exited(process, TERMINATION_SECONDS)
            return
        _signal_group(process.pid, signal.SIGKILL)
        if not await _exited(process, _KILL_SECONDS):
            logger.warning("MCP server %s (process %d) cannot be killed", self._name, process.pid)


async def _exited(process: Process, seconds: float) -> bool:
    """Return whether a process exits in time; under asyncio, `wait` also waits for pipes that children may hold."""
    deadline = anyio.current_time() + seconds
    while process.returncode is None:
        if anyio.current_time() >= deadline:
            return False
        await anyio.sleep(_POLL_SECONDS)
    return True


def _signal_group(group: int, number: int) -> bool:
    """Signal a process group and return whether it has members."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it has members of another user
    return True


async def _close(stream: AsyncResource) -> None:
    with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await stream.aclose()
