"""Writing to a pipe without ever waiting."""

from __future__ import annotations

import os

import anyio
import pytest
import trio

from codemode_client._process import pipes
from codemode_client._process.pipes import PipeWriter, prepare_pipe


async def _read_all(fd: int) -> bytes:
    data = bytearray()
    while True:
        await trio.lowlevel.wait_readable(fd)
        piece = os.read(fd, 1 << 20)
        if not piece:
            return bytes(data)
        data += piece


async def test_everything_arrives_in_order_however_large() -> None:
    reading, writing = os.pipe()
    prepare_pipe(writing)
    os.set_blocking(reading, False)
    writer = PipeWriter(writing)
    pieces = [bytes([number % 251]) * size for number, size in enumerate([1, 70_000, 3, 2_000_000, 0, 12] * 5)]
    async with anyio.create_task_group() as nursery:
        nursery.start_soon(writer.run)
        for piece in pieces:
            writer.write(piece)
        writer.close()
        assert await _read_all(reading) == b"".join(pieces)
    os.close(reading)


async def test_a_small_message_is_in_the_pipe_at_once() -> None:
    reading, writing = os.pipe()
    prepare_pipe(writing)
    writer = PipeWriter(writing)
    writer.write(b"now")
    assert os.read(reading, 100) == b"now"
    writer.close()
    await writer.run()
    os.close(reading)


async def test_room_waits_while_too_much_is_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "QUEUE_LIMIT_BYTES", 1000)
    reading, writing = os.pipe()
    prepare_pipe(writing)
    os.set_blocking(reading, False)
    writer = PipeWriter(writing)
    order: list[str] = []

    async def ask_for_room() -> None:
        await writer.room()
        order.append("room")

    async with anyio.create_task_group() as nursery:
        nursery.start_soon(writer.run)
        await writer.room()
        writer.write(b"x" * 5_000_000)
        assert writer.full
        nursery.start_soon(ask_for_room)
        await anyio.wait_all_tasks_blocked()
        order.append("reading")
        writer.close()
        await _read_all(reading)
    assert order == ["reading", "room"]
    os.close(reading)


async def test_a_pipe_that_nobody_reads_any_more_breaks_without_an_exception() -> None:
    reading, writing = os.pipe()
    prepare_pipe(writing)
    writer = PipeWriter(writing)
    os.close(reading)
    writer.write(b"x")
    assert writer.broken
    writer.write(b"y")
    await writer.room()
    await writer.run()


async def test_a_pipe_that_breaks_with_data_queued_lets_go_of_those_who_wait_for_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipes, "QUEUE_LIMIT_BYTES", 1000)
    reading, writing = os.pipe()
    prepare_pipe(writing)
    writer = PipeWriter(writing)
    async with anyio.create_task_group() as nursery:
        nursery.start_soon(writer.run)
        writer.write(b"x" * 5_000_000)
        nursery.start_soon(writer.room)
        await anyio.wait_all_tasks_blocked()
        os.close(reading)
    assert writer.broken
    assert not writer.full
