"""This process's standard input and output as an MCP connection, out of the reach of anybody else in the process.

The SDK has a transport of this kind. It reads in a thread that cannot be interrupted, so a server that is told to stop
could not before its client says something more.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Self

import anyio
import anyio.lowlevel
from mcp.shared.message import SessionMessage

from codemode_client.mcp._wire import MessageTooLongError, TransportStreams, read_messages, write_messages

logger: logging.Logger = logging.getLogger("codemode_client.mcp")

FLUSH_SECONDS = 1.0
"""How long the last messages may take to write: a client that is gone does not read them."""

_READ_BYTES = 1 << 16
_WRITE_BYTES = 4096  # what a pipe that can be written to takes without waiting


@contextmanager
def claimed() -> Iterator[tuple[int, int]]:
    """Descriptors of standard input and output for the block, in which 0 leads to nothing and 1 to standard error.

    What tools print, and what child processes write or read, cannot get among the messages.
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
    """What comes on a descriptor, piece by piece."""

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
    """A connection over two descriptors, which stay open. What was sent is written before the block is left."""
    incoming, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, outgoing = anyio.create_memory_object_stream[SessionMessage](0)

    async def listen() -> None:
        try:
            await read_messages("the client", _Input(read_descriptor), incoming)
        except MessageTooLongError as error:
            logger.error("the client %s: this ends the connection", error)
        except ConnectionError:
            pass  # as good as its end

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
