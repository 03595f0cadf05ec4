"""This process's standard input and output as an MCP connection, protected from other code in the process.

The SDK has such a transport, but it reads in a thread that cannot be interrupted, so that a server could not stop
before its client's next message.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Self

import anyio
import anyio.lowlevel
from mcp.shared.message import SessionMessage

from codemode_client._observability.foreign import ForeignLog
from codemode_client.mcp._wire import MessageTooLongError, TransportStreams, read_messages, write_messages

logger: ForeignLog = ForeignLog("codemode_client.mcp")

FLUSH_SECONDS = 1.0
"""How long writing the last messages may take: a client that is gone does not read them."""

_READ_BYTES = 1 << 16
_WRITE_BYTES = 4096  # a writable pipe takes this much without blocking


@contextmanager
def claimed() -> Iterator[tuple[int, int]]:
    """Yield duplicates of standard input and output; for the block, 0 is the null device and 1 standard error.

    So the output of tools and the input and output of child processes cannot mix with the messages.
    """
    own = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    try:
        yield own
    finally:
        for descriptor, original in enumerate(own):
            os.dup2(original, descriptor)
            os.close(original)


class _Input:
    """The input on a descriptor, piece by piece."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            await anyio.wait_readable(self._descriptor)
        except OSError as error:
            if error.errno != errno.EPERM:  # regular files cannot be waited for, and need not be
                raise
            await anyio.lowlevel.checkpoint()
        data = os.read(self._descriptor, _READ_BYTES)
        if not data:
            raise StopAsyncIteration
        return data


async def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        with suppress(PermissionError):  # a regular file, as above
            await anyio.wait_writable(descriptor)
        left = left[os.write(descriptor, left[:_WRITE_BYTES]) :]


@asynccontextmanager
async def stdio_streams(read_descriptor: int, write_descriptor: int) -> AsyncIterator[TransportStreams]:
    """Make a connection over two descriptors, which stay open. Sent messages are written before the block is left."""
    incoming, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, outgoing = anyio.create_memory_object_stream[SessionMessage](0)

    async def listen() -> None:
        try:
            await read_messages("the client", _Input(read_descriptor), incoming)
        except MessageTooLongError as error:
            logger.error("the client %s: this ends the connection", error)
        except ConnectionError:
            pass  # the same as the end of input

    async def speak(data: bytes) -> None:
        await _write(write_descriptor, data)

    async with anyio.create_task_group() as readers, anyio.create_task_group() as writers:
        readers.start_soon(listen)
        writers.start_soon(write_messages, outgoing, speak)
        try:
            yield read, write
        finally:
            read.close()
            write.close()
            readers.cancel_scope.cancel()
            writers.cancel_scope.deadline = anyio.current_time() + FLUSH_SECONDS
