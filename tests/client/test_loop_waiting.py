"""Sleeping, shielding and checkpoints, on each event loop: every method keeps the promise of the interface."""

from __future__ import annotations

import asyncio
import contextvars
from functools import partial

import anyio
import pytest
import trio

from codemode_client._loops.interface import Waiter
from tests.client.loops import enter_loop, run_turns

place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")


async def fail() -> None:
    raise LookupError("of the client's own")


async def test_a_sleeper_is_woken_once_and_knows_it() -> None:
    async def sleep() -> None:
        waiter = loop.waiter(lambda: told.append("cancelled"))
        waiters.append(waiter)
        await waiter
        told.append("woken")

    waiters: list[Waiter] = []
    told: list[str] = []
    async with enter_loop() as loop:
        loop.start(sleep)
        await run_turns(loop)
        assert not waiters[0].done()
        waiters[0].set_result(None)
        assert (waiters[0].done(), waiters[0].cancelled(), told) == (True, False, [])
    assert told == ["woken"]


async def test_a_sleeper_that_is_cancelled_is_told_of_in_the_same_step_as_the_cancelling() -> None:
    async def sleep() -> None:
        waiter = loop.waiter(lambda: told.append("at once"))
        waiters.append(waiter)
        try:
            await waiter
        finally:
            told.append("when it ran")

    waiters: list[Waiter] = []
    told: list[str] = []
    async with enter_loop() as loop:
        task = loop.start(sleep)
        await run_turns(loop)
        task.cancel()
        assert (waiters[0].done(), waiters[0].cancelled(), told) == (True, True, ["at once"])
    assert told == ["at once", "when it ran"]


async def test_sleepers_that_are_cancelled_together_are_told_of_in_the_order_of_the_cancelling() -> None:
    async def sleep(name: int) -> None:
        await loop.waiter(lambda: told.append(name))

    told: list[int] = []
    async with enter_loop() as loop:
        tasks = [loop.start(partial(sleep, name)) for name in range(4)]
        await run_turns(loop)
        for name in (2, 0, 3, 1):
            tasks[name].cancel()
    assert told == [2, 0, 3, 1]


async def test_what_is_shielded_runs_to_its_end_and_the_cancellation_comes_after_it() -> None:
    async def work() -> str:
        reached.append("begun")
        scope.cancel()
        await run_turns(loop)
        waiter = loop.waiter()
        loop.call_later(0.005, lambda: waiter.set_result(None))
        await waiter
        reached.append("ended")
        return "result"

    reached: list[str] = []
    async with enter_loop() as loop:
        with anyio.CancelScope() as scope:
            await loop.shield(work)
            await loop.checkpoint()
            reached.append("went on")
        assert scope.cancelled_caught
    assert reached == ["begun", "ended"]


async def test_what_is_shielded_gives_its_result_or_its_error() -> None:
    async def give() -> int:
        await loop.checkpoint()
        return 7

    async with enter_loop() as loop:
        assert await loop.shield(give) == 7
        with pytest.raises(LookupError):
            await loop.shield(fail)


@pytest.mark.loops("asyncio")
async def test_a_shield_holds_against_one_cancelling_after_another() -> None:
    async def work() -> None:
        begun.set()
        await go_on.wait()
        ended.set()

    async with enter_loop() as loop:
        begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(loop.shield(work))
        await begun.wait()
        for _ in range(5):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()


@pytest.mark.loops("asyncio")
async def test_a_shield_is_not_cancelled_again_at_every_turn_by_a_scope_of_anyio() -> None:
    async def shielded() -> None:
        with scope:
            await loop.shield(go_on.wait)

    async with enter_loop() as loop:
        scope, go_on = anyio.CancelScope(), asyncio.Event()
        task = asyncio.create_task(shielded())
        await run_turns(loop)
        scope.cancel()
        await run_turns(loop)
        cancelled = task.cancelling()
        for _ in range(5):
            await run_turns(loop)
        assert task.cancelling() == cancelled > 0
        go_on.set()
        await task
        assert scope.cancelled_caught


@pytest.mark.loops("asyncio")
async def test_an_error_of_what_is_shielded_gives_way_to_the_cancellation_and_nobody_complains() -> None:
    async def break_later() -> None:
        await run_turns(loop)
        raise LookupError

    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with enter_loop() as loop:
        task = asyncio.create_task(loop.shield(break_later))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert complaints == []


async def test_a_checkpoint_lets_others_run_and_takes_a_cancellation() -> None:
    async def note() -> None:
        ran.append(1)

    ran: list[int] = []
    async with enter_loop() as loop:
        loop.start(note)
        await loop.checkpoint()
        await loop.checkpoint()
        assert ran == [1]
        with anyio.CancelScope() as scope:
            scope.cancel()
            await run_turns(loop)
        assert scope.cancelled_caught


async def test_checking_for_a_cancellation_goes_on_where_there_is_none() -> None:
    async with enter_loop() as loop:
        await loop.checkpoint_if_cancelled()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await loop.checkpoint_if_cancelled()
        # Only trio's lasts, and can be asked for.
        assert scope.cancelled_caught == trio.lowlevel.in_trio_run()


async def test_a_cancellation_is_told_from_an_error() -> None:
    async with enter_loop() as loop:
        caught: list[BaseException] = []
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await anyio.sleep(1)
            except BaseException as error:
                caught.append(error)
                raise
        assert loop.is_cancellation(caught[0])
        assert not loop.is_cancellation(LookupError())
        assert not loop.is_cancellation(KeyboardInterrupt())
