"""What the client needs of an event loop: to wait, to be called back, to start a task, a deadline, a shield.

The core of the client changes its state in synchronous functions alone. Everything in which trio and asyncio differ is
behind `Loop`, of which there is one implementation for each (`on_asyncio`, `on_trio`); a provider makes one when it is
entered, and everything under the provider uses it.
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
"""The async functions that Ctrl-C must not leave halfway; see `protect_from_interrupt`."""


def protect_from_interrupt(function: F) -> F:
    """Mark an async function in whose state changes no KeyboardInterrupt may be raised.

    Trio raises KeyboardInterrupt wherever the program stands, unless a function says otherwise; its implementation of
    `Loop` says so for each function marked here. `asyncio.run` cancels the main task instead.
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
    """One sleep of one task: made in the task, and awaited once by it."""

    def done(self) -> bool:
        """Return whether the task was woken, or its sleep cancelled."""

    def cancelled(self) -> bool:
        """Return whether its sleep was cancelled."""

    def set_result(self, value: None, /) -> None:
        """Wake the task, unless `done`."""

    def __await__(self) -> Generator[Any, Any, None]: ...


class Closable(Protocol):
    """A callback that is still to come."""

    def close(self) -> None:
        """Call it no more. Idempotent; for a watched descriptor it must come before the descriptor is closed."""


class Task(Protocol):
    """A task that was started."""

    def cancel(self) -> object: ...


class Loop(Protocol):
    """An event loop, as one provider uses it.

    Callbacks run on the loop, one at a time and never within a function that registers them.
    """

    current: Callable[[], object]
    """Returns what runs the caller; `identity` on this loop. May raise RuntimeError where no loop runs."""
    identity: object

    async def enter(self) -> None:
        """Begin: from here on tasks can be started."""

    async def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Wait for every task. The arguments and the result are those of an `__aexit__`."""

    def check(self) -> None:
        """Raise RuntimeError unless this loop runs the caller, in the process in which it was entered."""

    def time(self) -> float:
        """Return the loop's clock, in seconds."""

    def waiter(self, on_cancelled: Callable[[], object] | None = None) -> Waiter:
        """Return what lets the running task sleep until it is woken.

        Args:
            on_cancelled: Called if the sleep is cancelled, in the same step as the cancelling, before the task runs.
        """

    async def checkpoint(self) -> None:
        """Let other tasks run, and be cancelled if the caller is."""

    async def checkpoint_if_cancelled(self) -> None:
        """Be cancelled if the caller is, where a loop has cancellation that lasts."""

    async def shield(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await a function to its end, whatever cancels the caller meanwhile; the cancellation comes after it."""

    def start(self, function: Callable[[], Coroutine[Any, Any, object]], context: Context | None = None) -> Task:
        """Start a task, in a copy of `context` or of the caller's; an exception in it ends the provider's block."""

    def call_later(self, seconds: float, function: Callable[[], object]) -> Closable:
        """Call a function once, so many seconds from now."""

    def when_readable(self, fd: int, function: Callable[[], object]) -> Closable:
        """Call a function whenever a descriptor can be read, until that is closed."""

    def when_writable(self, fd: int, function: Callable[[], object]) -> Closable:
        """Call a function whenever a descriptor can be written to, until that is closed."""

    def call_from_thread(self, function: Callable[[], object]) -> None:
        """Have a function called on the loop. Any thread may ask; after the loop's end nothing happens."""

    def is_cancellation(self, error: BaseException) -> bool:
        """Return whether an exception is the loop's way to cancel a task."""
