"""What the client needs of an event loop, on each: every method keeps the promise of the interface."""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import anyio
import pytest
import trio

from codemode_client._loops.interface import Loop, Waiter
from codemode_client._loops.running import running_loop
from tests.client.forks import ask_in_fork
from tests.client.loops import entered_loop

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


async def run_turns(loop: Loop, turns: int = 5) -> None:
    """Let the loop run what it has."""
    for _ in range(turns):
        await loop.checkpoint()


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

    async with entered_loop() as loop:
        loop.start(first)
        assert ended == []
    assert ended == ["first", "second"]


async def test_a_task_never_runs_within_the_function_that_starts_it() -> None:
    ran: list[int] = []

    async def run() -> None:
        ran.append(1)

    async with entered_loop() as loop:
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
    async with entered_loop() as loop:
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

    async with entered_loop() as loop:
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
        async with entered_loop() as loop:
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
        async with entered_loop() as loop:
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
        async with entered_loop() as loop:

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
        async with entered_loop() as loop:
            loop.start(fail)
            loop.start(fail_too)
    assert caught.group_contains(LookupError, match="of the client's own")
    assert caught.group_contains(KeyError)


async def test_an_exception_of_the_caller_passes_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with entered_loop() as loop:
            loop.start(loop.checkpoint)
            raise ZeroDivisionError


# Sleeping and shielding


async def test_a_sleeper_is_woken_once_and_knows_it() -> None:
    async def sleep() -> None:
        waiter = loop.waiter(lambda: told.append("cancelled"))
        waiters.append(waiter)
        await waiter
        told.append("woken")

    waiters: list[Waiter] = []
    told: list[str] = []
    async with entered_loop() as loop:
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
    async with entered_loop() as loop:
        task = loop.start(sleep)
        await run_turns(loop)
        task.cancel()
        assert (waiters[0].done(), waiters[0].cancelled(), told) == (True, True, ["at once"])
    assert told == ["at once", "when it ran"]


async def test_sleepers_that_are_cancelled_together_are_told_of_in_the_order_of_the_cancelling() -> None:
    async def sleep(name: int) -> None:
        await loop.waiter(lambda: told.append(name))

    told: list[int] = []
    async with entered_loop() as loop:
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
    async with entered_loop() as loop:
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

    async with entered_loop() as loop:
        assert await loop.shield(give) == 7
        with pytest.raises(LookupError):
            await loop.shield(fail)


@pytest.mark.loops("asyncio")
async def test_a_shield_holds_against_one_cancelling_after_another() -> None:
    async def work() -> None:
        begun.set()
        await go_on.wait()
        ended.set()

    async with entered_loop() as loop:
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
async def test_an_error_of_what_is_shielded_gives_way_to_the_cancellation_and_nobody_complains() -> None:
    async def break_later() -> None:
        await run_turns(loop)
        raise LookupError

    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with entered_loop() as loop:
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
    async with entered_loop() as loop:
        loop.start(note)
        await loop.checkpoint()
        await loop.checkpoint()
        assert ran == [1]
        with anyio.CancelScope() as scope:
            scope.cancel()
            await run_turns(loop)
        assert scope.cancelled_caught


async def test_checking_for_a_cancellation_goes_on_where_there_is_none() -> None:
    async with entered_loop() as loop:
        await loop.checkpoint_if_cancelled()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await loop.checkpoint_if_cancelled()
        # Only trio's lasts, and can be asked for.
        assert scope.cancelled_caught == trio.lowlevel.in_trio_run()


async def test_a_cancellation_is_told_from_an_error() -> None:
    async with entered_loop() as loop:
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


# Callbacks


async def test_a_timer_calls_once_and_not_before_its_time() -> None:
    async with entered_loop() as loop:
        begin = loop.time()
        called: list[float] = []
        waiter = loop.waiter()
        loop.call_later(0.02, lambda: called.append(loop.time() - begin))
        loop.call_later(0.04, lambda: waiter.set_result(None))
        await waiter
    assert len(called) == 1
    assert called[0] >= 0.019


async def test_a_timer_that_is_closed_calls_nobody_and_may_be_closed_again() -> None:
    async with entered_loop() as loop:
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
    async with entered_loop() as loop:
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
    async with entered_loop() as loop:
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
        async with entered_loop() as loop:
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
    async with entered_loop() as loop:
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
    async with entered_loop() as loop:
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
        async with entered_loop() as loop:
            return loop

    called: list[int] = []
    run(main()).call_from_thread(lambda: called.append(1))
    assert called == []


# Which loop


async def test_a_loop_knows_whether_it_runs_the_caller() -> None:
    async with entered_loop() as loop:
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

    async with entered_loop() as loop:
        # The same kind of loop: its own `current` looks at the thread that it is called in.
        run = trio.run if trio.lowlevel.in_trio_run() else lambda function: asyncio.run(function())
        current, identity = await anyio.to_thread.run_sync(run, look)
        assert current is identity
        assert current is not loop.identity


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking with threads is the point
async def test_a_fork_has_no_part_in_the_loop() -> None:
    async with entered_loop() as loop:
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
        async with entered_loop() as loop:
            loop.start(stop)
            await asyncio.sleep(60)

    with pytest.raises(kind):
        asyncio.run(main())


@pytest.mark.loops("asyncio")
async def test_what_cancelled_the_block_is_taken_back_when_a_failure_is_raised_in_its_place() -> None:
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(ExceptionGroup):
        async with entered_loop() as loop:
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
