"""MCP messages as lines of JSON: how they are spoken over pipes, by this package's client and by its server."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterable, Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage, jsonrpc_message_adapter

from codemode_protocol.framing import MAX_PAYLOAD_BYTES

logger: logging.Logger = logging.getLogger("codemode_client.mcp")

MAX_MESSAGE_BYTES = MAX_PAYLOAD_BYTES
"""A longer line ends the connection: nothing larger could be handed to a script either."""

_SHOWN = 200

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)

try:
    RELEASE = version("codemode-host")
except PackageNotFoundError:  # run from a source tree that is not installed
    RELEASE = ""

Incoming = MemoryObjectSendStream[SessionMessage | Exception]
Outgoing = MemoryObjectReceiveStream[SessionMessage]

TransportStreams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]
"""A connection as the SDK takes it: where messages come from, and where they go."""


class MessageTooLongError(Exception):
    """The peer sent a line of more than `MAX_MESSAGE_BYTES`."""

    def __init__(self) -> None:
        super().__init__(f"sent a message of more than {MAX_MESSAGE_BYTES} bytes")


class Lines:
    """Cuts bytes into lines. A line's bytes are joined once, however many pieces it comes in."""

    def __init__(self, limit: int = MAX_MESSAGE_BYTES) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends. Raises `MessageTooLongError`."""
        first, *rest = data.split(b"\n")
        self._pieces.append(first)
        self._size += len(first)
        if self._size > self._limit:
            raise MessageTooLongError
        if not rest:
            return []
        lines = [b"".join(self._pieces), *rest[:-1]]
        self._pieces = [rest[-1]]
        self._size = len(rest[-1])
        return lines


async def read_messages(peer: str, data: AsyncIterable[bytes], messages: Incoming) -> None:
    """Hand on what a peer says until it says no more, then close `messages`.

    What comes when nobody listens any more is read and dropped, so that a peer that is about to end can finish
    writing. A line that is no message is logged and skipped: there are servers that log to their standard output.
    """
    lines = Lines()
    listening = True
    async with messages:
        async for piece in data:
            if not listening:
                continue
            for line in lines.feed(piece):
                if not line.strip():
                    continue
                try:
                    message = _message(line)
                except ValueError:
                    logger.warning("%s wrote a line that is no MCP message: %.*r", peer, _SHOWN, line[:_SHOWN])
                    continue
                try:
                    await messages.send(SessionMessage(message))
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    listening = False
                    break


def _message(line: bytes) -> JSONRPCMessage:
    """The message of a line. What is no Unicode in its strings becomes U+FFFD. Raises ValueError when there is none."""
    try:
        return jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        # JavaScript cuts strings within a character, and writes the half as an escape that other parsers refuse. Its
        # call would wait for ever.
        text = _ESCAPE.sub(lambda escape: b"\\ufffd" if escape["lone"] else escape[0], line).decode("utf-8", "replace")
        return jsonrpc_message_adapter.validate_json(text, by_name=False)


async def write_messages(messages: Outgoing, write: Callable[[bytes], Awaitable[None]]) -> None:
    """Say what is sent, until nothing more comes. A peer that is gone is noticed by whoever reads from it."""
    async with messages:
        async for message in messages:
            text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            try:
                await write(text.encode() + b"\n")
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                return
