"""The client on asyncio, and on any loop with its interface (uvloop). Imported only there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from types import TracebackType
from typing import Any, TypeVar

from codemode_client._loops.interface import Closable, Loop, check_process

T = TypeVar("T")


class AsyncioLoop(Loop):
    """One provider's use of the asyncio loop that runs the caller."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.identity: object = self._loop
        self.current: Callable[[], object] = asyncio._get_running_loop
        self._process = os.getpid()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._owner: asyncio.Task[Any] | None = None
        """The task that has entered the provider; None before and after."""
        self._failures: list[BaseException] = []
        """The exceptions of background tasks."""
        self.time: Callable[[], float] = self._loop.time

    async def enter(self) -> None:
        self._owner = asyncio.current_task()

    async def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        owner, self._owner = self._owner, None
        cancelled_owner = owner is not None and bool(self._failures)
        try:
            await self.shield(self._finish)
        finally:
            if self._failures:
                # As in a task group, the failures are raised instead of the cancellation that they caused.
                if owner is not None and cancelled_owner:
                    owner.uncancel()
                raise BaseExceptionGroup("the client's own tasks failed", self._failures)

    async def _finish(self) -> None:
        while self._tasks:
            ended, _ = await asyncio.wait(self._tasks)
            self._tasks -= ended  # a task that was cancelled before it began has not removed itself

    def check(self) -> None:
        check_process(self._process)  # first: in a fork no loop is this one
        if asyncio._get_running_loop() is not self._loop:
            raise RuntimeError(
                "the provider belongs to another event loop: enter a provider in each loop that uses one"
            )

    def waiter(self, on_cancelled: Callable[[], object] | None = None) -> Waiter:
        return Waiter(self._loop, on_cancelled)

    async def checkpoint(self) -> None:
        await asyncio.sleep(0)

    async def checkpoint_if_cancelled(self) -> None:
        """Do nothing: asyncio raises a cancellation at the next await that suspends."""

    async def shield(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task = self._loop.create_task(function())
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                with _shielded_from_anyio() if cancelled is not None else contextlib.nullcontext():
                    await asyncio.wait((task,))
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            task.cancelled() or task.exception()  # retrieved, so that asyncio does not warn about it
            raise cancelled
        return task.result()

    def start(
        self, function: Callable[[], Coroutine[Any, Any, object]], context: Context | None = None
    ) -> asyncio.Task[Any]:
        # A copy, since a task writes to the context that it is given.
        own = None if context is None else context.copy()
        task = self._loop.create_task(self._run(function), context=own)
        self._tasks.add(task)
        return task

    async def _run(self, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run a task and its clean-up: a done callback would cost another iteration of the loop."""
        task = asyncio.current_task()
        assert task is not None
        try:
            await function()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - raised again by `leave`
            self._fail(error)
        except BaseException as error:  # KeyboardInterrupt or SystemExit: asyncio raises it from its run
            self._fail(error)
            task.add_done_callback(asyncio.Task.exception)  # retrieved, so that asyncio does not warn about it
            raise
        finally:
            self._tasks.discard(task)

    def _fail(self, error: BaseException) -> None:
        self._failures.append(error)
        if self._owner is not None and len(self._failures) == 1:
            self._owner.cancel()

    def call_later(self, seconds: float, function: Callable[[], object]) -> Closable:
        return _Timer(self._loop.call_later(seconds, function))

    def when_readable(self, fd: int, function: Callable[[], object]) -> Closable:
        self._loop.add_reader(fd, function)
        return _Watch(self._loop.remove_reader, fd)

    def when_writable(self, fd: int, function: Callable[[], object]) -> Closable:
        self._loop.add_writer(fd, function)
        return _Watch(self._loop.remove_writer, fd)

    def call_from_thread(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function)

    def is_cancellation(self, error: BaseException) -> bool:
        return isinstance(error, asyncio.CancelledError)


class Waiter(asyncio.Future[None]):
    """A future that calls back at once when the task that awaits it is cancelled."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_cancelled: Callable[[], object] | None) -> None:
        super().__init__(loop=loop)
        self._on_cancelled = on_cancelled

    def cancel(self, msg: Any = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled and self._on_cancelled is not None:
            self._on_cancelled()
        return cancelled


class _Timer:
    __slots__ = ("close",)

    def __init__(self, handle: asyncio.TimerHandle) -> None:
        self.close = handle.cancel


class _Watch:
    __slots__ = ("_fd", "_remove")

    def __init__(self, remove: Callable[[int], object], fd: int) -> None:
        self._remove: Callable[[int], object] | None = remove
        self._fd = fd

    def close(self) -> None:
        remove, self._remove = self._remove, None
        if remove is not None:
            remove(self._fd)


def _shielded_from_anyio() -> contextlib.AbstractContextManager[object]:
    """Shield from a cancel scope of anyio, which repeats its cancellation until it is raised."""
    anyio = sys.modules.get("anyio")
    if anyio is None:
        return contextlib.nullcontext()
    shield: contextlib.AbstractContextManager[object] = anyio.CancelScope(shield=True)
    return shield
