"""A slot: one future value, through which an answer passes to its caller.

At each moment an answer belongs either to a caller or to the connection. A caller has it when its task runs again with
the value. If the last waiting task is cancelled, `abandoned` is called in the same step as the cancellation, before
anything else runs. On asyncio a task can also be cancelled after it was woken and before it runs: then `abandoned` is
called when it runs, and although the slot is `done` the value was not taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from codemode_client._loops.interface import Loop, Waiter, protect_from_interrupt

T = TypeVar("T")


class Slot(Generic[T]):
    """A value or an error, set once. Later settings are ignored, so that the first cause wins."""

    __slots__ = ("_loop", "_make_error", "_taken", "_value", "_waiters", "_waiting", "done")

    def __init__(self, loop: Loop) -> None:
        self.done: bool = False
        self._loop = loop
        self._value: T | None = None
        self._make_error: Callable[[], Exception] | None = None
        self._waiters: list[Waiter] = []
        """Sleeping tasks."""
        self._waiting = 0
        """The number of tasks in `get` without the value, sleeping or woken."""
        self._taken = False
        """A task has received the value."""

    @property
    def has_waiters(self) -> bool:
        """Whether a task waits for the value."""
        return self._waiting > 0

    @property
    def succeeded(self) -> bool:
        """Whether there is a value."""
        return self.done and self._make_error is None

    def resolve(self, value: T) -> None:
        """Set the value and wake every task that waits."""
        if not self.done:
            self._value = value
            self._wake()

    def fail(self, make_error: Callable[[], Exception]) -> None:
        """Set an error. `make_error` is called for each `get`, because a traceback belongs to one task."""
        if not self.done:
            self._make_error = make_error
            self._wake()

    def _wake(self) -> None:
        self.done = True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    @protect_from_interrupt
    async def get(self, abandoned: Callable[[], None] | None = None) -> T:
        """Wait for the value and return it, or raise the error that was set.

        Args:
            abandoned: Called if the last waiting task is cancelled and no task has received the value.
        """
        if self.done:
            try:
                # Every caller has already passed a checkpoint.
                await self._loop.checkpoint_if_cancelled()
            except BaseException:
                self._abandon(abandoned)
                raise
        else:
            await self._sleep(abandoned)
        self._taken = True
        if self._make_error is not None:
            raise self._make_error()
        return self._value  # type: ignore[return-value]

    async def _sleep(self, abandoned: Callable[[], None] | None) -> None:
        def leave() -> None:
            self._waiting -= 1
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            self._abandon(abandoned)

        waiter = self._loop.waiter(leave)
        self._waiters.append(waiter)
        self._waiting += 1
        try:
            await waiter
        except BaseException:
            if not waiter.cancelled():  # else the waiter has called `leave`
                leave()
            raise
        self._waiting -= 1

    def _abandon(self, abandoned: Callable[[], None] | None) -> None:
        if abandoned is not None and not self._waiting and not self._taken:
            abandoned()

    @protect_from_interrupt
    async def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` until the slot is done; return whether it is. Does not take the value."""
        if not self.done and seconds > 0:
            waiter = self._loop.waiter()
            self._waiters.append(waiter)

            def give_up() -> None:
                if not waiter.done():
                    waiter.set_result(None)

            timer = self._loop.call_later(seconds, give_up)
            try:
                await waiter
            finally:
                timer.close()
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return self.done
