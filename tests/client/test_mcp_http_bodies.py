"""What an MCP server sends by HTTP is bounded: message by message, and never unpacked."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

from codemode_client.mcp._client import transports

LIMIT = 100_000


class Answers(BaseHTTPRequestHandler):
    """Answers by path, and tells what was accepted."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        kind, encoding, pieces = {
            "/json": ("application/json", None, [b"x" * 1000] * 90),
            "/endless-json": ("application/json", None, [b"\n\n" + b"x" * 1000] * 1000),
            "/events": ("text/event-stream", None, [b"data: " + b"x" * 1000 + b"\n", b"\n"] * 500),
            "/endless-event": ("text/event-stream; charset=utf-8", None, [b"data: " + b"x" * 1000 + b"\n"] * 500),
            "/packed": ("application/json", "gzip", [gzip.compress(b"x" * 10_000_000)]),
        }[self.path]
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("X-Accepted", self.headers["Accept-Encoding"])
        self.send_header("Content-Length", str(sum(map(len, pieces))))
        if encoding is not None:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        try:
            for piece in pieces:
                self.wfile.write(piece)
        except OSError:
            self.close_connection = True  # the client has had enough

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - its name there


@contextmanager
def serve() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


async def fetch(path: str) -> httpx2.Response:
    with serve() as address:
        async with transports._http_client() as client:
            return await client.get(address + path)


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "MAX_MESSAGE_BYTES", LIMIT)


@pytest.mark.parametrize(("path", "size"), [("/json", 90_000), ("/events", 504_000)])
async def test_what_is_within_the_bound_comes_through_whole(path: str, size: int) -> None:
    response = await fetch(path)
    assert len(response.content) == size
    assert response.headers["x-accepted"] == "identity"


# httpx2's own generators are left where they are when a body is given up, which trio remarks.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("path", ["/endless-json", "/endless-event"])
async def test_a_message_that_is_too_large_ends_its_reading(path: str) -> None:
    with pytest.raises(httpx2.ReadError, match=f"more than {LIMIT} bytes"):
        await fetch(path)


async def test_a_packed_body_is_not_unpacked() -> None:
    with pytest.raises(httpx2.DecodingError, match="encoded as gzip"):
        await fetch("/packed")
