"""The thread under plain calls: what runs there, what a call that was left behind becomes, and how the thread ends."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from codemode_client import CodeModeProvider
from codemode_client._blocking import thread as background
from codemode_client._blocking.thread import BackgroundLoop
from codemode_protocol.errors import CodeModeError, ProviderClosedError, SessionClosedError
from tests.client.forks import ask_in_fork
from tests.client.interrupts import interrupt_call

PATIENCE_SECONDS = 30.0

place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")


def make_closed_error() -> CodeModeError:
    return SessionClosedError("s")


@contextmanager
def open_loop() -> Iterator[BackgroundLoop]:
    """A loop under a provider that never starts a host; ended with the block."""
    loop = BackgroundLoop(CodeModeProvider(["/nowhere/host"]))
    try:
        yield loop
    finally:
        loop.stop()
        loop.join()


def call(loop: BackgroundLoop, function: Callable[[], Coroutine[Any, Any, object]]) -> object:
    return loop.call(function, make_closed_error)


async def find_thread() -> int:
    return threading.get_ident()


async def refuse() -> None:
    raise LookupError("not today")


def open_event() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


# Calls


def test_a_call_runs_on_a_thread_of_its_own_and_its_result_or_error_comes_back() -> None:
    with open_loop() as loop:
        first, second = call(loop, find_thread), call(loop, find_thread)
        assert first == second != threading.get_ident()
        with pytest.raises(LookupError, match="not today"):
            call(loop, refuse)


def test_a_call_runs_in_a_copy_of_its_callers_context() -> None:
    async def look() -> str:
        before = place.get()
        place.set("on the loop")
        return before

    place.set("here")
    with open_loop() as loop:
        assert [call(loop, look), call(loop, look)] == ["here", "here"]
    assert place.get() == "here"


def test_calls_of_many_threads_are_under_way_at_once() -> None:
    met: list[asyncio.Barrier] = []

    async def make() -> None:
        met.append(asyncio.Barrier(8))

    async def meet() -> None:
        await met[0].wait()

    with open_loop() as loop, ThreadPoolExecutor(8) as pool:
        call(loop, make)
        calls = [pool.submit(call, loop, meet) for _ in range(8)]
        assert [one.result(PATIENCE_SECONDS) for one in calls] == [None] * 8


def test_a_call_before_the_loop_runs_waits_for_it() -> None:
    # The thread has just been started: nothing says that it has come to run.
    for _ in range(20):
        with open_loop() as loop:
            assert call(loop, find_thread) != threading.get_ident()


def test_what_is_posted_runs_in_order_on_the_loop_and_after_its_end_at_once() -> None:
    ran: list[int] = []
    threads: set[int] = set()

    def note(number: int) -> None:
        ran.append(number)
        threads.add(threading.get_ident())

    with open_loop() as loop:
        for number in range(100):
            loop.post(partial(note, number))
        where = call(loop, find_thread)
    assert ran == list(range(100))
    assert threads == {where}
    loop.post(partial(note, 100))
    assert ran[-1] == 100
    assert threads == {where, threading.get_ident()}


def test_a_call_from_the_loops_own_thread_is_told_that_it_would_wait_for_itself() -> None:
    with open_loop() as loop:

        async def call_again() -> None:
            call(loop, find_thread)

        with pytest.raises(RuntimeError, match="would wait for itself"):
            call(loop, call_again)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking with threads is the point
def test_a_fork_cannot_call_and_the_process_goes_on() -> None:
    with open_loop() as loop:
        assert "make one in each process" in ask_in_fork(partial(call, loop, find_thread))
        assert call(loop, find_thread) != threading.get_ident()


# Its end


def test_a_call_after_the_end_is_refused() -> None:
    with open_loop() as loop:
        pass
    begun: list[int] = []

    async def begin() -> None:
        begun.append(1)

    with pytest.raises(SessionClosedError, match="session s is shut down"):
        call(loop, begin)
    assert begun == []


def test_a_call_under_way_comes_to_its_end_before_the_thread() -> None:
    begun, go = threading.Event(), threading.Event()

    async def work() -> str:
        begun.set()
        await asyncio.to_thread(go.wait, PATIENCE_SECONDS)
        return "done"

    with ThreadPoolExecutor(1) as pool:
        with open_loop() as loop:
            working = pool.submit(call, loop, work)
            assert begun.wait(PATIENCE_SECONDS)
            loop.stop()
            loop.stop()  # says nothing new
            assert not working.done()
            go.set()
        assert working.result(PATIENCE_SECONDS) == "done"


def test_calls_at_the_moment_of_the_end_are_answered_or_refused_and_none_hangs() -> None:
    for _ in range(20):
        with ThreadPoolExecutor(4) as pool:
            with open_loop() as loop:
                calls = [pool.submit(call, loop, find_thread) for _ in range(8)]
            for one in calls:
                assert one.exception(PATIENCE_SECONDS) is None or type(one.exception()) is SessionClosedError


def test_what_nothing_waits_for_is_run_and_its_failure_is_raised_at_the_end() -> None:
    async def start(function: Callable[[], Coroutine[Any, Any, object]]) -> None:
        loop.start_soon(function)

    async def say_closed() -> None:
        raise ProviderClosedError  # one of the client's own says nothing new

    with open_loop() as loop:
        call(loop, partial(start, say_closed))
    with pytest.raises(BaseExceptionGroup) as caught, open_loop() as loop:
        call(loop, partial(start, refuse))
    assert caught.group_contains(LookupError, match="not today")


# Interruption


def test_an_interrupted_call_is_cancelled_and_the_next_one_works() -> None:
    begun, ended = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(1000)
        finally:
            ended.set()

    with open_loop() as loop:
        with interrupt_call(begun):
            call(loop, work)
        assert ended.is_set()  # the interrupted caller has waited for that
        assert call(loop, find_thread) != threading.get_ident()


def test_ctrl_c_is_such_an_interruption() -> None:
    begun, ended = threading.Event(), threading.Event()
    main = threading.get_ident()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(1000)
        finally:
            ended.set()

    def press() -> None:
        assert begun.wait(PATIENCE_SECONDS)
        signal.pthread_kill(main, signal.SIGINT)

    with open_loop() as loop:
        pressing = threading.Thread(target=press)
        pressing.start()
        with pytest.raises(KeyboardInterrupt):
            call(loop, work)
        pressing.join()
        assert ended.is_set()


def test_a_result_that_comes_all_the_same_is_given_back_on_the_loop() -> None:
    begun = threading.Event()
    given: list[tuple[object, int]] = []

    async def work() -> str:
        begun.set()
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            return "too late for its caller"
        raise AssertionError

    def give_back(result: object) -> None:
        given.append((result, threading.get_ident()))

    with open_loop() as loop:
        where = call(loop, find_thread)
        with interrupt_call(begun):
            loop.call(work, make_closed_error, give_back)
    assert given == [("too late for its caller", where)]


def test_a_call_that_was_left_before_it_began_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "ABANDONED_SECONDS", 0.01)
    go = threading.Event()
    begun: list[int] = []

    async def begin() -> None:
        begun.append(1)

    with open_loop() as loop:
        loop.post(lambda: go.wait(PATIENCE_SECONDS))  # the loop does not come to the call
        with interrupt_call(open_event()):
            call(loop, begin)
        go.set()
        call(loop, find_thread)
    assert begun == []


def test_an_interrupted_call_does_not_disturb_those_of_other_threads() -> None:
    begun, other, go = threading.Event(), threading.Event(), threading.Event()

    async def work(event: threading.Event) -> str:
        event.set()
        await asyncio.to_thread(go.wait, PATIENCE_SECONDS)
        return "done"

    with ThreadPoolExecutor(1) as pool, open_loop() as loop:
        others = pool.submit(call, loop, partial(work, other))
        assert other.wait(PATIENCE_SECONDS)
        with interrupt_call(begun):
            call(loop, partial(work, begun))
        assert not others.done()
        go.set()
        assert others.result(PATIENCE_SECONDS) == "done"
