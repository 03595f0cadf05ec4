"""The SDK's HTTP transports, and noticing the end of a transport's input."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self

import anyio
import httpx2
from mcp.client import Transport
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage

from codemode_client.mcp._config import HttpServer
from codemode_client.mcp._wire import MAX_MESSAGE_BYTES
from codemode_protocol.printable import printable_line

CONNECT_SECONDS = 30.0
"""How long HTTP may take to connect and to send. Answers are not limited here, because tools may take long."""

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")

Opened = AbstractAsyncContextManager[tuple[Any, Any]]


def _http_client(
    headers: dict[str, str] | None = None, timeout: httpx2.Timeout | None = None, auth: httpx2.Auth | None = None
) -> httpx2.AsyncClient:
    # Uncompressed, so that what is counted is what is kept: a compressed megabyte may be gigabytes.
    return httpx2.AsyncClient(
        headers={"accept-encoding": "identity", **(headers or {})},
        timeout=httpx2.Timeout(CONNECT_SECONDS, read=None),
        auth=auth,
        event_hooks={"response": [_bound]},
    )


async def _bound(response: httpx2.Response) -> None:
    """Have the reading of a response fail once a message in it is too large."""
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        raise httpx2.DecodingError(f"the server sent a body encoded as {printable_line(encoding)}, unasked")
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    is_event_stream = response.headers.get("content-type", "").strip().lower().startswith("text/event-stream")
    response.stream = _Bounded(response.stream, is_event_stream)


class _Bounded(httpx2.AsyncByteStream):
    """A body whose messages are bounded: all of it is one, or in a stream of events what is between two blank lines."""

    def __init__(self, stream: httpx2.AsyncByteStream, is_event_stream: bool) -> None:
        self._stream = stream
        self._is_event_stream = is_event_stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size, before = 0, b""
        async for piece in self._stream:
            size += len(piece)
            if self._is_event_stream:
                for end in _BLANK_LINE.finditer(before + piece):
                    size = len(before) + len(piece) - end.end()
            if size > MAX_MESSAGE_BYTES:
                raise httpx2.ReadError(f"the server sent a message of more than {MAX_MESSAGE_BYTES} bytes")
            before = piece[-3:]
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def http_streams(server: HttpServer) -> AsyncIterator[tuple[Any, Any]]:
    """Connect to a server by HTTP for the block."""
    if server.transport == "sse":
        async with sse_client(server.url, server.headers, httpx_client_factory=_http_client) as streams:
            yield streams
    else:
        async with (
            _http_client(server.headers) as client,
            streamable_http_client(server.url, http_client=client, max_sse_event_size=MAX_MESSAGE_BYTES) as streams,
        ):
            yield streams


class _Watched:
    """A stream of received messages that reports its end, which the SDK reports only to running calls."""

    def __init__(self, stream: Any, ended: Callable[[], None]) -> None:
        self._stream = stream
        self._ended = ended

    @property
    def last_context(self) -> Any:
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        try:
            return await self._stream.receive()  # type: ignore[no-any-return]
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._ended()
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


@asynccontextmanager
async def _watching(transport: Opened, ended: Callable[[], None]) -> AsyncIterator[tuple[Any, Any]]:
    async with transport as (read, write):
        yield _Watched(read, ended), write


def watched(transport: Opened, ended: Callable[[], None]) -> Transport:
    """Return a transport that calls `ended` when the server closes its output."""
    return _watching(transport, ended)
