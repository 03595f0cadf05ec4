"""MCP messages as lines of JSON over pipes, for this package's client and its server."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage, jsonrpc_message_adapter

from codemode_client._observability.foreign import ForeignLog
from codemode_protocol.framing import MAX_PAYLOAD_BYTES

logger: ForeignLog = ForeignLog("codemode_client.mcp")

MAX_MESSAGE_BYTES = MAX_PAYLOAD_BYTES
"""A longer line ends the connection: a script could not receive it either."""

_SHOWN = 200

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)

try:
    RELEASE = version("codemode-host")
except PackageNotFoundError:  # the source tree is not installed
    RELEASE = ""

Incoming = MemoryObjectSendStream[SessionMessage | Exception]
Outgoing = MemoryObjectReceiveStream[SessionMessage]

TransportStreams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]
"""A connection for the SDK: the streams of received and of sent messages."""


class MessageTooLongError(Exception):
    """The peer sent a line of more than `MAX_MESSAGE_BYTES`."""

    def __init__(self) -> None:
        super().__init__(f"sent a message of more than {MAX_MESSAGE_BYTES} bytes")


class Lines:
    """Splits bytes into lines in linear time."""

    def __init__(self, limit: int = MAX_MESSAGE_BYTES) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes, without line ends. Raises `MessageTooLongError`."""
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
    """Pass on a peer's messages until it closes its output, then close `messages`.

    Once `messages` has no receiver, input is read and dropped, so that an ending peer can finish writing. Lines that
    are no messages are logged and skipped, because some servers log to their standard output.
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
                    logger.warning("%s wrote a line that is no MCP message: %.*s", peer, _SHOWN, line[:_SHOWN])
                    continue
                try:
                    await messages.send(SessionMessage(message))
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    listening = False
                    break


def _message(line: bytes) -> JSONRPCMessage:
    """Decode the message of a line, with U+FFFD for invalid Unicode. Raises ValueError if it is no message."""
    try:
        return jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        # JavaScript can split a string within a surrogate pair and write the half as an escape that other parsers
        # refuse. Without this the call would wait forever.
        text = _ESCAPE.sub(lambda escape: b"\\ufffd" if escape["lone"] else escape[0], line).decode("utf-8", "replace")
        return jsonrpc_message_adapter.validate_json(text, by_name=False)


async def write_messages(messages: Outgoing, write: Callable[[bytes], Awaitable[None]]) -> None:
    """Write messages until the stream ends. The reading task notices a peer that is gone."""
    async with messages:
        async for message in messages:
            text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            try:
                await write(text.encode() + b"\n")
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                return
