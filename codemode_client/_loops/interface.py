"""The interface to event loops: waiting, callbacks, tasks, timers, shielding.

The core of the client changes its state only in synchronous functions. All differences between trio and asyncio are
behind `Loop`, with one implementation for each (`on_asyncio`, `on_trio`); a provider makes one when it is entered, and
everything under the provider uses it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from types import TracebackType
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

uninterruptible: list[Callable[..., Any]] = []
"""The functions marked by `protect_from_interrupt`."""


def protect_from_interrupt(function: F) -> F:
    """Mark an async function in which KeyboardInterrupt must not be raised.

    Trio raises KeyboardInterrupt at any instruction unless a function is protected; `TrioLoop` protects the functions
    marked here. `asyncio.run` cancels the main task instead.
    """
    uninterruptible.append(function)
    return function


def check_process(process: int) -> None:
    """Raise RuntimeError in a fork of the process to which a provider belongs."""
    if os.getpid() != process:
        raise RuntimeError(
            f"the provider belongs to process {process}, of which this is a fork: make one in each process"
        )


class Waiter(Protocol):
    """One sleep of one task: made by the task and awaited once."""

    def done(self) -> bool:
        """Return whether the task was woken or its sleep cancelled."""

    def cancelled(self) -> bool:
        """Return whether the sleep was cancelled."""

    def set_result(self, value: None, /) -> None:
        """Wake the task, unless `done`."""

    def __await__(self) -> Generator[Any, Any, None]: ...


class Closable(Protocol):
    """A registered callback."""

    def close(self) -> None:
        """Unregister it. Idempotent. A watched descriptor must be closed after this."""


class Task(Protocol):
    """A started task."""

    def cancel(self) -> object: ...


class Loop(Protocol):
    """One provider's use of an event loop.

    Callbacks run on the loop, one at a time and never within a function that registers them.
    """

    current: Callable[[], object]
    """Return the running loop, which is `identity` on this one. May raise RuntimeError where no loop runs."""
    identity: object

    async def enter(self) -> None:
        """Prepare for starting tasks."""

    async def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Wait for every task. The arguments and the result are those of an `__aexit__`."""

    def check(self) -> None:
        """Raise RuntimeError unless this loop runs the caller, in the process in which it was entered."""

    def time(self) -> float:
        """Return the loop's clock, in seconds."""

    def waiter(self, on_cancelled: Callable[[], object] | None = None) -> Waiter:
        """Return a waiter for the running task.

        Args:
            on_cancelled: Called if the sleep is cancelled, in the same step as the cancellation, before the task runs.
        """

    async def checkpoint(self) -> None:
        """Let other tasks run; raise a pending cancellation."""

    async def checkpoint_if_cancelled(self) -> None:
        """Raise a pending cancellation, on loops whose cancellation is level-triggered."""

    async def shield(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await a function to its end even if the caller is cancelled; then raise the cancellation."""

    def start(self, function: Callable[[], Coroutine[Any, Any, object]], context: Context | None = None) -> Task:
        """Start a task, in a copy of `context` or of the caller's; an exception in it ends the provider's block."""

    def call_later(self, seconds: float, function: Callable[[], object]) -> Closable:
        """Call a function once after this many seconds."""

    def when_readable(self, fd: int, function: Callable[[], object]) -> Closable:
        """Call a function whenever a descriptor can be read, until the result is closed."""

    def when_writable(self, fd: int, function: Callable[[], object]) -> Closable:
        """Call a function whenever a descriptor can be written to, until the result is closed."""

    def call_from_thread(self, function: Callable[[], object]) -> None:
        """Call a function on the loop. Any thread may ask; after the loop's end nothing happens."""

    def is_cancellation(self, error: BaseException) -> bool:
        """Return whether an exception is the loop's cancellation of a task."""
