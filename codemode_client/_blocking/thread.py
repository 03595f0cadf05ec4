"""A provider on an asyncio loop in a background thread, and calls to it from other threads.

A `Call` belongs to its caller until an exception (Ctrl-C) makes the caller disown it. If the call has also ended, its
result goes back to the session, on the loop: an answer is kept for the next wait, a cell whose id was not returned is
terminated, a session is shut down. A lock decides which came first, the end or the disowning.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import itertools
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from codemode_client._loops.interface import check_process
from codemode_client._process.child import KILL_SECONDS, TERMINATE_SECONDS
from codemode_client._session.provider import CodeModeProvider
from codemode_protocol.errors import CodeModeError

T = TypeVar("T")

ABANDONED_SECONDS = 5.0
"""How long to wait for the end of a disowned call. It ends at once, unless something is broken."""

_numbers = itertools.count(1)


class Call(Generic[T]):
    """A call of an async function on the background loop, in a copy of its caller's context.

    Args:
        function: The function.
        closed: Makes the error for a call after the provider's end.
        give_back: Called on the loop with the result of a disowned call.
    """

    def __init__(
        self,
        function: Callable[[], Coroutine[Any, Any, T]],
        closed: Callable[[], CodeModeError],
        give_back: Callable[[T], object] | None,
    ) -> None:
        self._ended = threading.Lock()
        """Released once the call has ended."""
        self._ended.acquire()
        self._function = function
        self._closed = closed
        self._give_back = give_back
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._task: asyncio.Task[None] | None = None
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._disowned = False
        self._began = False
        self._over = False

    # for the caller, on its thread

    def wait(self) -> None:
        """Wait until the call has ended."""
        self._ended.acquire()

    def result(self) -> T:
        """Return the result or raise the error; after `wait`."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # break the cycle through its traceback
        return self._results[0]

    def disown(self, loop: BackgroundLoop) -> None:
        """Cancel the call if it runs, and give its result back if it has one."""
        with self._lock:
            self._disowned = True
            over = self._over
        loop.post(self._return if over else self._cancel)
        # With a limit, because the exception may have come before the call was posted.
        if not over:
            self._ended.acquire(timeout=ABANDONED_SECONDS)

    # on the loop

    def start(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        """Run the call as a task."""
        self._task = task = loop.create_task(self._run(), context=self._context)
        return task

    def refuse(self) -> None:
        """End the call without running it, because the provider is closed."""
        self._error = self._closed()
        self._end()

    async def _run(self) -> None:
        self._began = True
        try:
            if not self._disowned:
                self._results.append(await self._function())
        except asyncio.CancelledError:
            self._error = self._closed()
        except BaseException as error:  # noqa: BLE001 - raised by `result`
            self._error = error
        finally:
            self._end()

    def _cancel(self) -> None:
        # A task that has not begun checks `_disowned` when it does; asyncio would never run it once cancelled.
        if self._task is not None and self._began:
            self._task.cancel()

    def _end(self) -> None:
        with self._lock:
            self._over = True
            disowned = self._disowned
        if disowned:
            self._return()
        self._ended.release()

    def _return(self) -> None:
        if self._results and self._give_back is not None:
            self._give_back(self._results[0])


class BackgroundLoop:
    """A thread that runs an asyncio loop with an entered provider until `stop`."""

    def __init__(self, provider: CodeModeProvider) -> None:
        self._provider = provider
        self._lock = threading.Lock()
        """Held only for a few assignments, never while waiting."""
        self._loop: asyncio.AbstractEventLoop | None = None
        """Set while calls can be made."""
        self._waiting: list[Callable[[], object]] = []
        """Functions posted while there is no loop."""
        self._calls: set[asyncio.Task[None]] = set()
        self._ended = False
        self._failure: BaseException | None = None
        self._stopping = False
        self._stop: asyncio.Event | None = None
        self._host_gone = threading.Event()
        self._process = os.getpid()
        # A daemon, because the interpreter must not join it before `_at_exit` runs, nor wait for a tool after that.
        self._thread = threading.Thread(target=self._live, name=f"codemode-provider-{next(_numbers)}", daemon=True)
        self._thread.start()
        atexit.register(self._at_exit)

    # from any thread

    def call(
        self,
        function: Callable[[], Coroutine[Any, Any, T]],
        closed: Callable[[], CodeModeError],
        give_back: Callable[[T], object] | None = None,
    ) -> T:
        """Run an async function on the loop and wait for it; disown the call if Ctrl-C comes first."""
        self.check()
        call = Call(function, closed, give_back)
        try:
            self.post(lambda: self._start(call))
            call.wait()
        except BaseException:
            call.disown(self)
            raise
        return call.result()

    def _start(self, call: Call[T]) -> None:
        if self._loop is None:
            call.refuse()
        else:
            task = call.start(self._loop)
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    def check(self) -> None:
        """Raise RuntimeError in the loop's own thread and in a fork of the process, where calls cannot be made."""
        if threading.get_ident() == self._thread.ident:
            raise RuntimeError(
                "a call from the provider's own loop would wait for itself: make the tool a plain function, which "
                "runs in a worker thread"
            )
        check_process(self._process)

    def post(self, function: Callable[[], object]) -> None:
        """Call a function on the loop, in the order of posting; after the loop's end, in this thread."""
        with self._lock:
            if not self._ended:
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(function)
                else:
                    self._waiting.append(function)
                return
        function()

    def start_soon(self, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Start an async function in the background. Called on the loop."""

        async def run() -> None:
            with contextlib.suppress(CodeModeError):
                await function()

        if self._loop is not None:
            self._provider.loop.start(run)

    def stop(self) -> None:
        """Close the provider, let its calls end, and end the thread, without waiting."""
        self.post(self._set_stopping)

    def _set_stopping(self) -> None:
        self._stopping = True
        if self._stop is not None:
            self._stop.set()

    def join(self) -> None:
        """Wait for the thread's end, and raise its exception if it failed."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _at_exit(self) -> None:
        """Stop the host of a program that exits without leaving the provider; tools that run are left alone."""
        if os.getpid() == self._process:
            self.stop()
            self._host_gone.wait(self._provider.close_timeout + TERMINATE_SECONDS + KILL_SECONDS)

    # the thread

    def _live(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - raised by `join`
            self._failure = error
        with self._lock:
            self._ended = True
            waiting, self._waiting = self._waiting, []
        for function in waiting:
            function()
        self._host_gone.set()
        atexit.unregister(self._at_exit)

    async def _main(self) -> None:
        async with self._provider:
            self._stop = asyncio.Event()
            self._open()
            try:
                if not self._stopping:
                    await self._stop.wait()
                closing = asyncio.create_task(self._provider.aclose())
                await self._provider.host_gone()
                self._host_gone.set()
                await closing
            finally:
                with self._lock:
                    self._loop = None  # calls from now on are refused at the end
                while self._calls:  # these fail now, because the provider is closed
                    await asyncio.wait([*self._calls])

    def _open(self) -> None:
        with self._lock:
            self._loop = asyncio.get_running_loop()
            waiting, self._waiting = self._waiting, []
        for function in waiting:
            function()
