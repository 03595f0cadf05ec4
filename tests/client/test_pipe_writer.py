"""Writing to a pipe without ever waiting."""

from __future__ import annotations

import asyncio
import os
from functools import partial

import anyio
import pytest

from codemode_client._process.child import prepare_pipe
from codemode_client._session import multiplexer
from codemode_client._session.multiplexer import PipeWriter
from tests.client.loops import enter_loop


async def _read_all(fd: int) -> bytes:
    data = bytearray()
    while True:
        await anyio.wait_readable(fd)
        piece = os.read(fd, 1 << 20)
        if not piece:
            return bytes(data)
        data += piece


class Pipe:
    """A pipe whose writing end a `PipeWriter` has; `broken` counts how often that told so."""

    def __init__(self, loop: object) -> None:
        self.reading, writing = os.pipe()
        prepare_pipe(writing)
        os.set_blocking(self.reading, False)
        self.broken = 0
        self.writer = PipeWriter(loop, writing, self._on_broken)  # type: ignore[arg-type]

    def _on_broken(self) -> None:
        self.broken += 1


async def test_everything_arrives_in_order_however_large() -> None:
    async with enter_loop() as loop:
        pipe = Pipe(loop)
        pieces = [bytes([number % 251]) * size for number, size in enumerate([1, 70_000, 3, 2_000_000, 0, 12] * 5)]
        for piece in pieces:
            pipe.writer.write(piece)
        pipe.writer.close()
        pipe.writer.write(b"too late")
        assert await _read_all(pipe.reading) == b"".join(pieces)
        os.close(pipe.reading)
        assert pipe.broken == 0


async def test_a_small_message_is_in_the_pipe_at_once() -> None:
    async with enter_loop() as loop:
        pipe = Pipe(loop)
        pipe.writer.write(b"now")
        assert os.read(pipe.reading, 100) == b"now"
        pipe.writer.close()
        pipe.writer.close()
        assert os.read(pipe.reading, 100) == b""
        os.close(pipe.reading)


async def test_room_waits_while_too_much_is_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiplexer, "QUEUE_LIMIT_BYTES", 1000)
    async with enter_loop() as loop:
        pipe = Pipe(loop)
        order: list[str] = []

        async def ask_for_room() -> None:
            await pipe.writer.room()
            order.append("room")

        async with anyio.create_task_group() as group:
            await pipe.writer.room()
            pipe.writer.write(b"x" * 5_000_000)
            assert pipe.writer.full
            group.start_soon(ask_for_room)
            await anyio.wait_all_tasks_blocked()
            order.append("reading")
            pipe.writer.close()
            await _read_all(pipe.reading)
        assert order == ["reading", "room"]
        os.close(pipe.reading)


async def test_room_is_given_in_turn_and_first_to_those_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiplexer, "QUEUE_LIMIT_BYTES", 1000)
    async with enter_loop() as loop:
        pipe = Pipe(loop)
        order: list[str] = []

        async def ask_for_room(name: str, scope: anyio.CancelScope, *, ahead: bool = False) -> None:
            with scope:
                await pipe.writer.room(ahead=ahead)
                order.append(name)
                pipe.writer.write(b"x" * 5_000_000)  # which fills it again

                if len(order) == 4:
                    pipe.writer.close()

        cancelled = anyio.CancelScope()
        async with anyio.create_task_group() as group:
            pipe.writer.write(b"x" * 5_000_000)
            for name in ("first", "cancelled", "second", "ahead", "last"):
                scope = cancelled if name == "cancelled" else anyio.CancelScope()
                group.start_soon(partial(ask_for_room, name, scope, ahead=name == "ahead"))
                await anyio.wait_all_tasks_blocked()
            cancelled.cancel()
            await _read_all(pipe.reading)
        assert order == ["ahead", "first", "second", "last"]
        assert not pipe.writer.crowded
        os.close(pipe.reading)


@pytest.mark.loops("asyncio")  # trio cancels nobody who has been woken already
async def test_a_turn_whose_taker_is_cancelled_before_it_runs_goes_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiplexer, "QUEUE_LIMIT_BYTES", 1000)

    async def take_the_first_turn() -> None:
        await pipe.writer.room()
        second.cancel()  # which has just been given the next turn

    async with enter_loop() as loop:
        pipe = Pipe(loop)
        pipe.writer.write(b"x" * 5_000_000)
        assert pipe.writer.full
        first = asyncio.create_task(take_the_first_turn())
        second = asyncio.create_task(pipe.writer.room())
        third = asyncio.create_task(pipe.writer.room())
        read = 0
        while read < 5_000_000:
            await anyio.wait_readable(pipe.reading)
            read += len(os.read(pipe.reading, 1 << 20))
        await anyio.wait_all_tasks_blocked()
        assert (first.done(), second.cancelled(), third.done()) == (True, True, True)
        pipe.writer.close()
        os.close(pipe.reading)


async def test_a_pipe_that_is_not_read_any_more_breaks_without_an_exception() -> None:
    async with enter_loop() as loop:
        pipe = Pipe(loop)
        os.close(pipe.reading)
        pipe.writer.write(b"x")
        assert pipe.broken == 1
        pipe.writer.write(b"y")
        await pipe.writer.room()
        pipe.writer.close()
        assert pipe.broken == 1


async def test_a_pipe_that_breaks_with_data_queued_lets_those_go_that_wait_for_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(multiplexer, "QUEUE_LIMIT_BYTES", 1000)
    async with enter_loop() as loop:
        pipe = Pipe(loop)
        async with anyio.create_task_group() as group:
            pipe.writer.write(b"x" * 5_000_000)
            group.start_soon(pipe.writer.room)
            await anyio.wait_all_tasks_blocked()
            os.close(pipe.reading)
        assert pipe.broken == 1
        assert not pipe.writer.full


async def test_closing_now_drops_what_is_queued() -> None:
    async with enter_loop() as loop:
        pipe = Pipe(loop)
        pipe.writer.write(b"x" * 5_000_000)
        pipe.writer.close_now()
        pipe.writer.close_now()
        assert 0 < len(await _read_all(pipe.reading)) < 5_000_000
        os.close(pipe.reading)
        assert pipe.broken == 0
