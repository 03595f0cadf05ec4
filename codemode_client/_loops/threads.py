"""Worker threads for plain functions, limited in number on each event loop.

They are daemon threads, so that a function that does not return cannot keep the interpreter from exiting. Trio has such
threads; asyncio's are joined at exit, so on asyncio the threads are made here.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from codemode_client._loops.turns import Turns

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

IDLE_SECONDS = 10.0
"""An idle thread ends after this time."""


class Threads:
    """The threads of one toolbox.

    Args:
        most: The number of functions that may run at once on each event loop. Further calls wait for their turn, so
            that the calls of one session do not hold up another's.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"threads: {most} is less than 1")
        self._most = most
        self._by_loop: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        """Turns by trio token; turns and `_Workers` by asyncio loop."""

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function in a thread, in a copy of the caller's context, and return its result.

        If the caller is cancelled, a function that has begun continues and its result is dropped.
        """
        trio = sys.modules.get("trio")
        if trio is not None and trio.lowlevel.in_trio_run():
            token = trio.lowlevel.current_trio_token()
            if (turns := self._by_loop.get(token)) is None:
                turns = self._by_loop[token] = Turns(self._most)
            result: T = await trio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=turns)
            return result
        import asyncio

        loop = asyncio.get_running_loop()
        if (found := self._by_loop.get(loop)) is None:
            found = self._by_loop[loop] = Turns(self._most), _Workers(self._most)
        turns, workers = found
        await turns.take()
        job = _Job(function, loop, turns.give)
        workers.add(job)
        return await job.future


class _Job(Generic[T]):
    """A function to run and the future of its result."""

    __slots__ = ("_context", "_function", "_loop", "_on_end", "future")

    def __init__(self, function: Callable[[], T], loop: asyncio.AbstractEventLoop, on_end: Callable[[], None]) -> None:
        self._function = function
        self._on_end = on_end
        self._context: Context = copy_context()
        self._loop = loop
        self.future: asyncio.Future[T] = loop.create_future()

    def run(self) -> None:
        """Run the function, in a thread, unless its caller was cancelled before; then call `on_end` on the loop."""
        if self.future.cancelled():
            self._tell(self._on_end)
            return
        try:
            result = self._context.run(self._function)
        except StopIteration:
            self._tell(self._fail, RuntimeError("the function raised StopIteration"))  # no future takes it
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            self._tell(self._fail, error)
        else:
            self._tell(self._succeed, result)

    def _tell(self, function: Callable[..., None], *values: object) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function, *values)

    def _succeed(self, result: T) -> None:
        self._on_end()
        if not self.future.done():
            self.future.set_result(result)

    def _fail(self, error: BaseException) -> None:
        self._on_end()
        if not self.future.done():
            self.future.set_exception(error)


class _Workers:
    """Threads that take jobs from one queue."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: SimpleQueue[_Job[Any]] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        """The number of waiting threads minus the number of queued jobs."""

    def add(self, job: _Job[Any]) -> None:
        """Queue a job, and start a thread if none is idle and there may be one more."""
        with self._lock:
            self._idle -= 1
            start = self._idle < 0 and self._threads < self._most
            if start:
                self._threads += 1
                self._idle += 1
        self._jobs.put(job)
        if start:
            threading.Thread(target=self._work, name="codemode tool", daemon=True).start()

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._idle > 0:  # else a job is being queued for this thread
                        self._idle -= 1
                        self._threads -= 1
                        return
                continue
            job.run()
            del job  # release its references while this thread waits
            with self._lock:
                self._idle += 1
