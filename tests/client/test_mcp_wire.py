"""MCP messages as lines: cut as they come, skipped where they are none, and read to the end whoever still listens."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Sequence

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.message import SessionMessage

from codemode_client.mcp._wire import Lines, MessageTooLongError, read_messages, write_messages

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@given(st.lists(st.binary(max_size=6).map(lambda line: line.replace(b"\n", b"")), max_size=6), st.data())
def test_lines_are_the_same_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(line + b"\n" for line in lines) + b"begun"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    reader = Lines()
    assert [line for piece in pieces for line in reader.feed(piece)] == lines
    assert reader.feed(b"\n") == [b"begun"]


@pytest.mark.parametrize("pieces", [[b"xxxxx"], [b"xxx", b"xx"], [b"one\nxxx", b"xx"], [b"x"] * 5])
def test_a_line_may_be_as_long_as_the_limit_and_no_longer(pieces: list[bytes]) -> None:
    reader = Lines(5)
    for piece in pieces:
        reader.feed(piece)
    assert reader.feed(b"\n")[-1] == b"xxxxx"
    reader = Lines(4)
    with pytest.raises(MessageTooLongError, match="more than"):
        for piece in pieces:
            reader.feed(piece)


async def give(pieces: Sequence[bytes], given: list[int] | None = None) -> AsyncIterator[bytes]:
    for number, piece in enumerate(pieces):
        if given is not None:
            given.append(number)
        yield piece
        await anyio.lowlevel.checkpoint()


def line(message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


async def test_lines_that_are_no_messages_are_skipped_and_told(caplog: pytest.LogCaptureFixture) -> None:
    send, receive = anyio.create_memory_object_stream[SessionMessage | Exception](10)
    pieces = [b"Welcome!\n\n  \n" + line(PING) + b"[]\n", line({**PING, "id": 2})]
    with caplog.at_level(logging.WARNING):
        await read_messages("server one", give(pieces), send)
    async with receive:
        got = [message async for message in receive]
    assert [message.message.id for message in got] == [1, 2]  # type: ignore[union-attr]
    assert [record.getMessage() for record in caplog.records] == [
        "server one wrote a line that is no MCP message: b'Welcome!'",
        "server one wrote a line that is no MCP message: b'[]'",
    ]


async def test_what_nobody_receives_any_more_is_read_to_its_end_all_the_same() -> None:
    send, receive = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    receive.close()
    read: list[int] = []
    await read_messages("server one", give([line(PING) * 2, line(PING), b"x", line(PING)], read), send)
    assert read == [0, 1, 2, 3]


async def test_messages_are_written_as_lines_until_the_peer_is_gone() -> None:
    send, receive = anyio.create_memory_object_stream[SessionMessage](10)
    reader, got = anyio.create_memory_object_stream[SessionMessage | Exception](10)
    await read_messages("me", give([line(PING), line({**PING, "id": 2})]), reader)
    async with send, got:
        async for message in got:
            assert isinstance(message, SessionMessage)
            await send.send(message)
    written: list[bytes] = []

    async def write(data: bytes) -> None:
        written.append(data)
        if len(written) == 1:
            return
        raise BrokenPipeError

    await write_messages(receive, write)
    assert [json.loads(data) for data in written] == [PING, {**PING, "id": 2}]
    assert all(data.endswith(b"\n") and data.count(b"\n") == 1 for data in written)
