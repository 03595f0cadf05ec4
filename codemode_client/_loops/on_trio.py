"""The client on trio. Imported only there."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context
from types import TracebackType
from typing import Any, TypeVar

import trio
from trio.lowlevel import Abort

from codemode_client._loops.interface import Closable, Loop, check_process, uninterruptible

T = TypeVar("T")


class TrioLoop(Loop):
    """One provider's use of the trio run that runs the caller."""

    def __init__(self) -> None:
        for function in uninterruptible:
            trio.lowlevel.enable_ki_protection(function)
        self._token = trio.lowlevel.current_trio_token()
        self.identity: object = self._token
        self.current: Callable[[], object] = trio.lowlevel.current_trio_token
        self._process = os.getpid()
        self._manager = trio.open_nursery()
        self._nursery: trio.Nursery | None = None
        self.time: Callable[[], float] = trio.current_time

    async def enter(self) -> None:
        self._nursery = await self._manager.__aenter__()

    async def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        # The nursery would wrap the caller's own exception in a group, so it is not told of it. A cancellation may be
        # the nursery's own, after a task crashed, so it is passed on.
        if isinstance(error, trio.Cancelled) or (
            isinstance(error, BaseExceptionGroup) and error.subgroup(trio.Cancelled) is not None
        ):
            return await self._manager.__aexit__(kind, error, traceback)
        await self._manager.__aexit__(None, None, None)
        return None

    def check(self) -> None:
        check_process(self._process)  # first: in a fork no run is this one
        try:
            token = trio.lowlevel.current_trio_token()
        except RuntimeError:
            token = None
        if token is not self._token:
            raise RuntimeError("the provider belongs to another event loop: enter a provider in each that uses one")

    def waiter(self, on_cancelled: Callable[[], object] | None = None) -> Waiter:
        return Waiter(on_cancelled)

    async def checkpoint(self) -> None:
        await trio.lowlevel.checkpoint()

    async def checkpoint_if_cancelled(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()

    async def shield(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        results: list[T] = []
        with trio.CancelScope(shield=True):
            results.append(await function())
        return results[0]

    def start(
        self, function: Callable[[], Coroutine[Any, Any, object]], context: Context | None = None
    ) -> trio.CancelScope:
        assert self._nursery is not None
        scope = trio.CancelScope(shield=True)  # the provider ends its own tasks, in order
        if context is None:
            self._nursery.start_soon(_run_within, scope, function)
        else:
            context.run(self._nursery.start_soon, _run_within, scope, function)
        return scope

    def call_later(self, seconds: float, function: Callable[[], object]) -> Closable:
        async def call() -> None:
            await trio.sleep(seconds)
            function()

        return _Timer(self.start(call))

    def when_readable(self, fd: int, function: Callable[[], object]) -> Closable:
        return self._watch(fd, trio.lowlevel.wait_readable, function)

    def when_writable(self, fd: int, function: Callable[[], object]) -> Closable:
        return self._watch(fd, trio.lowlevel.wait_writable, function)

    def _watch(self, fd: int, wait: Callable[[int], Awaitable[None]], function: Callable[[], object]) -> Closable:
        watch = _Watch(fd, wait, function)
        self.start(watch.run)
        return watch

    def call_from_thread(self, function: Callable[[], object]) -> None:
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function)

    def is_cancellation(self, error: BaseException) -> bool:
        return isinstance(error, trio.Cancelled)


class Waiter:
    """A sleep through trio's low-level rescheduling."""

    __slots__ = ("_cancelled", "_done", "_on_cancelled", "_task")

    def __init__(self, on_cancelled: Callable[[], object] | None) -> None:
        self._task = trio.lowlevel.current_task()
        self._on_cancelled = on_cancelled
        self._done = False
        self._cancelled = False

    def done(self) -> bool:
        return self._done

    def cancelled(self) -> bool:
        return self._cancelled

    def set_result(self, value: None, /) -> None:
        self._done = True
        trio.lowlevel.reschedule(self._task)

    def __await__(self) -> Generator[Any, Any, None]:
        return trio.lowlevel.wait_task_rescheduled(self._cancel).__await__()  # noqa: ASYNC105 awaited by the caller

    def _cancel(self, _: object) -> Abort:
        self._done = self._cancelled = True
        if self._on_cancelled is not None:
            self._on_cancelled()
        return Abort.SUCCEEDED


class _Timer:
    __slots__ = ("_scope",)

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope

    def close(self) -> None:
        self._scope.cancel()


class _Watch:
    """A task that waits for a descriptor and calls back."""

    __slots__ = ("_closed", "_fd", "_function", "_wait")

    def __init__(self, fd: int, wait: Callable[[int], Awaitable[None]], function: Callable[[], object]) -> None:
        self._fd = fd
        self._wait = wait
        self._function = function
        self._closed = False

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        with suppress(trio.ClosedResourceError):
            while not self._closed:
                await self._wait(self._fd)
                if not self._closed:
                    self._function()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._fd)


@trio.lowlevel.enable_ki_protection
async def _run_within(scope: trio.CancelScope, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
    with scope:
        await function()
