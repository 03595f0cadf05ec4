"""What the client needs of an event loop, on each: tasks and their failures, and which loop it is."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable

import anyio
import pytest
import trio

from codemode_client._loops.running import running_loop
from tests.client.forks import ask_in_fork
from tests.client.loops import enter_loop, run_turns

place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")


# Tasks


async def test_leaving_waits_for_every_task_and_for_those_that_tasks_start() -> None:
    ended: list[str] = []

    async def first() -> None:
        await run_turns(loop)
        loop.start(second)
        ended.append("first")

    async def second() -> None:
        await run_turns(loop)
        ended.append("second")

    async with enter_loop() as loop:
        loop.start(first)
        assert ended == []
    assert ended == ["first", "second"]


async def test_a_task_never_runs_within_the_function_that_starts_it() -> None:
    ran: list[int] = []

    async def run() -> None:
        ran.append(1)

    async with enter_loop() as loop:
        loop.start(run)
        loop.call_later(0, lambda: ran.append(2))
        loop.call_from_thread(lambda: ran.append(3))
        assert ran == []
    assert 1 in ran


async def test_a_task_runs_in_a_copy_of_the_context_that_it_is_given_or_else_of_its_starters() -> None:
    seen: list[str] = []

    async def run() -> None:
        seen.append(place.get())
        place.set("in the task")
        await loop.checkpoint()
        seen.append(place.get())

    place.set("given")
    given = contextvars.copy_context()
    place.set("here")
    async with enter_loop() as loop:
        loop.start(run, given)
        loop.start(run, given)
        loop.start(run)
    assert sorted(seen) == ["given", "given", "here", "in the task", "in the task", "in the task"]
    assert (given[place], place.get()) == ("given", "here")


async def test_a_task_that_is_cancelled_ends_and_is_no_failure() -> None:
    reached: list[str] = []

    async def sleep(name: str) -> None:
        reached.append(f"{name} begun")
        try:
            await loop.waiter()
        except BaseException as error:
            reached.append(f"{name} cancelled" if loop.is_cancellation(error) else repr(error))
            raise

    async with enter_loop() as loop:
        begun = loop.start(lambda: sleep("first"))
        await run_turns(loop)
        begun.cancel()
        loop.start(lambda: sleep("second")).cancel()  # before it has begun
        await run_turns(loop)  # which is not cancelled with them
        assert {"first begun", "first cancelled"} <= set(reached)
    # Whether a task begins that was cancelled before differs; it comes no further.
    assert ("second begun" in reached) == ("second cancelled" in reached)


async def test_tasks_are_not_cancelled_with_the_block_that_they_belong_to() -> None:
    async def run() -> None:
        waiter = loop.waiter()
        loop.call_later(0.01, lambda: waiter.set_result(None))
        await waiter
        ended.append("by itself")

    ended: list[str] = []
    with anyio.CancelScope() as scope:
        async with enter_loop() as loop:
            loop.start(run)
            await run_turns(loop)
            scope.cancel()
            await loop.waiter()
    assert scope.cancelled_caught
    assert ended == ["by itself"]


# Failures of its own tasks


async def fail() -> None:
    raise LookupError("of the client's own")


async def test_a_failure_of_an_own_task_ends_the_block_and_is_raised_where_it_is_left() -> None:
    went_on = False
    with pytest.raises(ExceptionGroup) as caught:
        async with enter_loop() as loop:
            loop.start(fail)
            await loop.waiter()
            went_on = True
    assert not went_on
    assert caught.group_contains(LookupError, match="of the client's own")
    await anyio.sleep(0.001)  # the cancelling that ended the block is over with it


async def test_an_own_tasks_failure_is_raised_when_leaving_was_cancelled() -> None:
    async def fail_once_cancelled() -> None:
        waiter = loop.waiter()
        cancelled.append(lambda: waiter.set_result(None))
        await waiter
        raise LookupError("late")

    cancelled: list[Callable[[], object]] = []
    with pytest.raises(BaseExceptionGroup) as caught, anyio.CancelScope() as scope:
        async with enter_loop() as loop:

            def cancel() -> None:
                scope.cancel()
                loop.call_later(0.01, cancelled[0])

            loop.start(fail_once_cancelled)
            await run_turns(loop)
            loop.call_later(0, cancel)  # while the block is being left
    assert caught.group_contains(LookupError, match="late")


async def test_every_failure_is_raised_and_not_only_the_first() -> None:
    async def fail_too() -> None:
        raise KeyError("another")

    with pytest.raises(ExceptionGroup) as caught:
        async with enter_loop() as loop:
            loop.start(fail)
            loop.start(fail_too)
    assert caught.group_contains(LookupError, match="of the client's own")
    assert caught.group_contains(KeyError)


async def test_an_exception_of_the_caller_passes_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with enter_loop() as loop:
            loop.start(loop.checkpoint)
            raise ZeroDivisionError


# Which loop


async def test_a_loop_knows_whether_it_runs_the_caller() -> None:
    async with enter_loop() as loop:
        assert loop.current() is loop.identity
        loop.check()
        errors: list[BaseException] = []

        def check() -> None:
            try:
                loop.check()
            except RuntimeError as error:
                errors.append(error)

        thread = threading.Thread(target=check)
        thread.start()
        thread.join()
    assert "belongs to another event loop" in str(errors[0])


async def test_another_loop_in_another_thread_is_another() -> None:
    async def look() -> tuple[object, object]:
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            loop.check()
        return loop.current(), running_loop().identity

    async with enter_loop() as loop:
        # The same kind of loop: its own `current` looks at the thread that it is called in.
        run = trio.run if trio.lowlevel.in_trio_run() else lambda function: asyncio.run(function())
        current, identity = await anyio.to_thread.run_sync(run, look)
        assert current is identity
        assert current is not loop.identity


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking with threads is the point
async def test_a_fork_has_no_part_in_the_loop() -> None:
    async with enter_loop() as loop:
        assert f"belongs to process {os.getpid()}, of which this is a fork" in ask_in_fork(loop.check)


def test_outside_of_any_loop_there_is_none() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        running_loop()


# Of one loop alone


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_ends_asyncios_run_from_an_own_task(kind: type[BaseException]) -> None:
    async def stop() -> None:
        raise kind

    async def main() -> None:
        async with enter_loop() as loop:
            loop.start(stop)
            await asyncio.sleep(60)

    with pytest.raises(kind):
        asyncio.run(main())


@pytest.mark.loops("asyncio")
async def test_what_cancelled_the_block_is_taken_back_when_a_failure_is_raised_in_its_place() -> None:
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(ExceptionGroup):
        async with enter_loop() as loop:
            loop.start(fail)
            await asyncio.sleep(60)
    assert task.cancelling() == 0


@pytest.mark.loops("trio")
async def test_in_guest_mode_trio_is_the_loop() -> None:
    done: asyncio.Future[str]

    async def find() -> str:
        return type(running_loop()).__name__

    async def main() -> str:
        nonlocal done
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        trio.lowlevel.start_guest_run(
            find,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=lambda outcome: done.set_result(outcome.unwrap()),
        )
        return await done

    assert await trio.to_thread.run_sync(asyncio.run, main()) == "TrioLoop"
