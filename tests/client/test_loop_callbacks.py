"""Timers, descriptors and threads that call back, on each event loop."""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import anyio
import pytest
import trio

from codemode_client._loops.interface import Loop
from tests.client.loops import enter_loop, run_turns

place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")


@contextmanager
def open_pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    try:
        yield read, write
    finally:
        os.close(read)
        os.close(write)


def fill(descriptor: int) -> None:
    """Write to a pipe until it takes no more."""
    with suppress(BlockingIOError):
        while True:
            os.write(descriptor, bytes(65536))


async def test_a_timer_calls_once_and_not_before_its_time() -> None:
    async with enter_loop() as loop:
        begin = loop.time()
        called: list[float] = []
        waiter = loop.waiter()
        loop.call_later(0.02, lambda: called.append(loop.time() - begin))
        loop.call_later(0.04, lambda: waiter.set_result(None))
        await waiter
    assert len(called) == 1
    assert called[0] >= 0.019


async def test_a_timer_that_is_closed_calls_nobody_and_may_be_closed_again() -> None:
    async with enter_loop() as loop:
        called: list[str] = []
        timer = loop.call_later(0, lambda: called.append("too late"))
        timer.close()
        timer.close()
        ended = loop.call_later(0, lambda: called.append("in time"))
        await run_turns(loop, 10)
        await anyio.sleep(0.01)
        ended.close()
    assert called == ["in time"]


async def test_a_readable_descriptor_calls_until_it_is_closed() -> None:
    async with enter_loop() as loop:
        with open_pipe() as (read, write):
            got: list[bytes] = []
            waiter = loop.waiter()

            def take() -> None:
                got.append(os.read(read, 100))
                if len(got) < 3:
                    os.write(write, b"more")
                else:
                    waiter.set_result(None)

            watch = loop.when_readable(read, take)
            await run_turns(loop)
            assert got == []
            os.write(write, b"first")
            await waiter
            watch.close()
            watch.close()
            os.write(write, b"nobody looks")
            await run_turns(loop, 10)
        assert got == [b"first", b"more", b"more"]


async def test_a_writable_descriptor_calls_when_there_is_room() -> None:
    async with enter_loop() as loop:
        with open_pipe() as (read, write):
            fill(write)
            called: list[str] = []
            waiter = loop.waiter()

            def note() -> None:
                called.append("room")
                watch.close()
                waiter.set_result(None)

            watch = loop.when_writable(write, note)
            await run_turns(loop)
            assert called == []
            os.read(read, 1 << 20)
            await waiter
            await run_turns(loop)
        assert called == ["room"]


async def test_both_directions_of_one_descriptor_are_watched_at_once() -> None:
    here, there = socket.socketpair()
    with here, there:
        async with enter_loop() as loop:
            called: set[str] = set()
            waiter = loop.waiter()

            def note(what: str) -> None:
                called.add(what)
                watches[what].close()
                if len(called) == 2:
                    waiter.set_result(None)

            there.send(b"x")
            watches = {
                "read": loop.when_readable(here.fileno(), lambda: note("read")),
                "write": loop.when_writable(here.fileno(), lambda: note("write")),
            }
            await waiter
    assert called == {"read", "write"}


async def test_a_callback_that_closes_the_watch_before_the_next_event_is_the_last() -> None:
    async with enter_loop() as loop:
        with open_pipe() as (read, write):
            called: list[int] = []

            def note() -> None:
                called.append(1)
                watch.close()

            watch = loop.when_readable(read, note)
            os.write(write, b"there is always something to read")
            while not called:
                await loop.checkpoint()
            await run_turns(loop, 10)
        assert called == [1]


async def test_any_thread_may_have_a_function_called_on_the_loop() -> None:
    async with enter_loop() as loop:
        waiter = loop.waiter()
        threads: list[int] = []

        def note() -> None:
            threads.append(threading.get_ident())
            waiter.set_result(None)

        thread = threading.Thread(target=loop.call_from_thread, args=[note])
        thread.start()
        await waiter
        thread.join()
    assert threads == [threading.get_ident()]


@pytest.mark.parametrize("run", [asyncio.run, lambda main: trio.run(lambda: main)], ids=["asyncio", "trio"])
def test_after_the_loops_end_a_threads_call_does_nothing(run: Callable[[object], Loop]) -> None:
    async def main() -> Loop:
        async with enter_loop() as loop:
            return loop

    called: list[int] = []
    run(main()).call_from_thread(lambda: called.append(1))
    assert called == []
