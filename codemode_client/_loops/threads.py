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

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

IDLE_SECONDS = 10.0
"""An idle thread ends after this time."""


class Threads:
    """The threads of one toolbox.

    Args:
        most: The number of functions that may run at once on each event loop. Further calls wait in order.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"threads: {most} is less than 1")
        self._most = most
        self._by_loop: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        """`_Workers` by asyncio loop, or capacity limiters by trio token."""

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function in a thread, in a copy of the caller's context, and return its result.

        If the caller is cancelled, a function that has begun continues and its result is dropped.
        """
        trio = sys.modules.get("trio")
        if trio is not None and trio.lowlevel.in_trio_run():
            token = trio.lowlevel.current_trio_token()
            if (limiter := self._by_loop.get(token)) is None:
                limiter = self._by_loop[token] = trio.CapacityLimiter(self._most)
            result: T = await trio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=limiter)
            return result
        import asyncio

        loop = asyncio.get_running_loop()
        if (workers := self._by_loop.get(loop)) is None:
            workers = self._by_loop[loop] = _Workers(self._most)
        job = _Job(function, loop)
        workers.add(job)
        return await job.future


class _Job(Generic[T]):
    """A function to run and the future of its result."""

    __slots__ = ("_context", "_function", "_loop", "future")

    def __init__(self, function: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self._function = function
        self._context: Context = copy_context()
        self._loop = loop
        self.future: asyncio.Future[T] = loop.create_future()

    def run(self) -> None:
        """Run the function unless its caller was cancelled before. Called in a worker thread."""
        if self.future.cancelled():
            return
        try:
            result = self._context.run(self._function)
        except StopIteration:
            self._tell(self._fail, RuntimeError("the function raised StopIteration"))  # which no future accepts
        except BaseException as error:  # noqa: BLE001 - passed to the caller
            self._tell(self._fail, error)
        else:
            self._tell(self._succeed, result)

    def _tell(self, function: Callable[[Any], None], value: object) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function, value)

    def _succeed(self, result: T) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def _fail(self, error: BaseException) -> None:
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
