"""One value that comes later, and the tasks that wait for it: where an answer passes to its caller.

At each moment an answer belongs either to a caller or to the connection. A caller has it when its task runs again with
the value. If the last task that waits is cancelled without it, `abandoned` is called in the same step as the
cancelling, so that whatever is called next comes after it. On asyncio a task can also be cancelled after it was woken
and before it runs: then `abandoned` is called when it runs, and although the slot is `done` the value was not taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from codemode_client._loops.interface import Loop, Waiter, protect_from_interrupt

T = TypeVar("T")


class Slot(Generic[T]):
    """Empty, then for good a value or an error. Later settings are ignored, so that the first cause wins."""

    __slots__ = ("_loop", "_make_error", "_taken", "_value", "_waiters", "_waiting", "done")

    def __init__(self, loop: Loop) -> None:
        self.done: bool = False
        self._loop = loop
        self._value: T | None = None
        self._make_error: Callable[[], Exception] | None = None
        self._waiters: list[Waiter] = []
        """Tasks that sleep until the slot is done."""
        self._waiting = 0
        """Tasks that have asked and have not got the value yet, whether or not they were woken."""
        self._taken = False
        """A task has got the value."""

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
        """Set an error. `make_error` is called once for each task that asks: a traceback belongs to one task."""
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
        """Wait for the value.

        Args:
            abandoned: Called if the last task that waits is cancelled and no task has got the value.

        Raises:
            Exception: What `fail` was given.
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
            if not waiter.cancelled():  # else it has left already
                leave()
            raise
        self._waiting -= 1

    def _abandon(self, abandoned: Callable[[], None] | None) -> None:
        if abandoned is not None and not self._waiting and not self._taken:
            abandoned()

    @protect_from_interrupt
    async def wait(self, seconds: float) -> bool:
        """Wait until the slot is done, or for so many seconds; return whether it is done. Takes nothing."""
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
