"""Worker threads for plain functions: what is run where, how many at once, and what a cancelled caller leaves."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import anyio
import pytest
import trio

from codemode_client._loops import threads as module
from codemode_client._loops.threads import Threads

PATIENCE_SECONDS = 30.0

place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")


def run_on_trio(function: Callable[[], Coroutine[Any, Any, object]]) -> None:
    trio.run(function)


def run_on_asyncio(function: Callable[[], Coroutine[Any, Any, object]]) -> None:
    asyncio.run(function())


async def wait_for(event: threading.Event) -> None:
    """Wait, on the loop, for what a thread says."""
    assert await anyio.to_thread.run_sync(event.wait, PATIENCE_SECONDS)


def refuse() -> None:
    raise LookupError("not today")


def stop() -> None:
    raise StopIteration


async def test_a_function_runs_in_another_thread_and_its_result_or_error_comes_back() -> None:
    threads = Threads(2)
    assert await threads.run(threading.get_ident) != threading.get_ident()
    with pytest.raises(LookupError, match="not today"):
        await threads.run(refuse)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads.run(stop)
    assert await threads.run(lambda: "still here") == "still here"


async def test_a_function_runs_in_a_copy_of_its_callers_context() -> None:
    def look() -> str:
        before = place.get()
        place.set("in the thread")
        return before

    place.set("here")
    threads = Threads(1)
    assert [await threads.run(look), await threads.run(look)] == ["here", "here"]
    assert place.get() == "here"


async def test_no_more_run_at_once_than_may_and_the_others_wait_in_order() -> None:
    begun, go = threading.Semaphore(0), threading.Semaphore(0)
    order: list[int] = []

    def work(number: int) -> None:
        order.append(number)
        begun.release()
        assert go.acquire(timeout=PATIENCE_SECONDS)

    threads = Threads(2)
    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(threads.run, partial(work, number))
            await anyio.wait_all_tasks_blocked()
        for first in range(6):
            assert await anyio.to_thread.run_sync(begun.acquire, True, PATIENCE_SECONDS)
            if first >= 1:  # two are under way, until one of them is let go
                assert sorted(order) == list(range(first + 1))
                go.release()
        go.release()
    assert sorted(order[:2]) == [0, 1]
    assert order[2:] == [2, 3, 4, 5]


@pytest.mark.loops("asyncio")  # trio has threads of its own
async def test_there_are_no_more_threads_than_may_be_and_those_that_have_ended_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.01)
    go = threading.Semaphore(0)
    workers = module._Workers(2)
    others = set(threading.enumerate())
    for _ in range(2):
        jobs = [
            module._Job(partial(go.acquire, True, PATIENCE_SECONDS), asyncio.get_running_loop(), lambda: None)
            for _ in range(3)
        ]
        for job in jobs:
            workers.add(job)
        started = {thread for thread in threading.enumerate() if thread.name == "codemode tool"} - others
        assert len(started) == 2
        go.release(len(jobs))
        assert all(await asyncio.gather(*(job.future for job in jobs)))
        for thread in started:
            await anyio.to_thread.run_sync(thread.join, PATIENCE_SECONDS)
            assert not thread.is_alive()


async def test_a_function_that_was_begun_goes_on_without_its_caller_and_its_result_is_dropped() -> None:
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        assert go.wait(PATIENCE_SECONDS)
        ended.set()
        return "nobody has this"

    threads = Threads(1)
    async with anyio.create_task_group() as group:
        group.start_soon(threads.run, work)
        await wait_for(begun)
        group.cancel_scope.cancel()
    assert not ended.is_set()
    go.set()
    # The only thread is free again, and the function came to its end before.
    assert await threads.run(ended.is_set)


async def test_an_error_after_the_caller_has_gone_is_nobodys() -> None:
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go.wait(PATIENCE_SECONDS)
        raise LookupError

    threads = Threads(1)
    async with anyio.create_task_group() as group:
        group.start_soon(threads.run, work)
        await wait_for(begun)
        group.cancel_scope.cancel()
    go.set()
    assert await threads.run(lambda: "unharmed") == "unharmed"


async def test_a_function_whose_caller_goes_before_its_turn_is_never_begun() -> None:
    begun, go = threading.Event(), threading.Event()
    called: list[str] = []

    def work() -> None:
        begun.set()
        assert go.wait(PATIENCE_SECONDS)

    threads = Threads(1)
    async with anyio.create_task_group() as group:
        group.start_soon(threads.run, work)
        await wait_for(begun)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(threads.run, lambda: called.append("too late"))
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
        go.set()
        await threads.run(lambda: called.append("in turn"))
    assert called == ["in turn"]


@pytest.mark.parametrize("run", [run_on_asyncio, run_on_trio])
def test_each_loop_has_a_limit_of_its_own(run: Callable[[Callable[[], Coroutine[Any, Any, object]]], None]) -> None:
    threads = Threads(1)
    both = threading.Barrier(2)

    async def meet() -> None:
        await threads.run(lambda: both.wait(PATIENCE_SECONDS))

    other = threading.Thread(target=run, args=[meet])
    other.start()
    run(meet)
    other.join(PATIENCE_SECONDS)
    assert not other.is_alive()
    assert not both.broken


@pytest.mark.parametrize("most", [0, -1])
def test_fewer_than_one_thread_is_refused(most: int) -> None:
    with pytest.raises(ValueError, match=f"threads: {most} is less than 1"):
        Threads(most)


# Of asyncio alone, whose threads are made here


async def look_at_thread(threads: Threads) -> threading.Thread:
    return await threads.run(threading.current_thread)


@pytest.mark.loops("asyncio")
async def test_a_thread_does_not_keep_the_program_from_ending() -> None:
    assert (await look_at_thread(Threads(1))).daemon


@pytest.mark.loops("asyncio")
async def test_an_idle_thread_is_used_again_and_ends_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(4)
    first = await look_at_thread(threads)
    while await look_at_thread(threads) is not first:
        pass  # the first thread says that it is idle a moment after its result
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.01)
    last = await look_at_thread(threads)  # from now on it waits for so long
    await anyio.to_thread.run_sync(last.join, PATIENCE_SECONDS)
    assert not last.is_alive()
    assert await threads.run(lambda: "a new one") == "a new one"


@pytest.mark.loops("asyncio")
async def test_nothing_is_lost_when_threads_end_while_work_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
    threads = Threads(2)
    for number in range(500):
        assert await asyncio.wait_for(threads.run(partial(abs, number)), PATIENCE_SECONDS) == number


def test_a_result_that_comes_after_the_loops_end_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.01)
    begun, go = threading.Event(), threading.Event()
    workers: list[threading.Thread] = []

    def work() -> None:
        workers.append(threading.current_thread())
        begun.set()
        assert go.wait(PATIENCE_SECONDS)

    async def leave() -> None:
        task = asyncio.create_task(Threads(1).run(work))
        await asyncio.to_thread(begun.wait, PATIENCE_SECONDS)
        task.cancel()

    complaints: list[object] = []
    monkeypatch.setattr(threading, "excepthook", complaints.append)
    asyncio.run(leave())  # which does not wait for it
    assert workers[0].is_alive()
    go.set()
    workers[0].join(PATIENCE_SECONDS)
    assert not workers[0].is_alive()
    assert complaints == []
