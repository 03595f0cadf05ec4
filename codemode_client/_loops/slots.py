"""One value that comes later, and the tasks that wait for it.

This is where ownership of an answer passes to a caller. A task that is woken with a value has it: trio does
not cancel a task between its wake-up and its next checkpoint, and `get` has none after waking. A task that
is cancelled instead has nothing, and `abandoned` is called at that very moment, in the same synchronous
step, if nobody else waits. So at each moment an answer belongs either to a caller or to the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import trio
from trio.lowlevel import Abort, Task

T = TypeVar("T")


class Slot(Generic[T]):
    """Empty, then once and for all a value or an error; later settings are ignored, so that the first cause wins."""

    __slots__ = ("_make_error", "_tasks", "_value", "done")

    def __init__(self) -> None:
        self.done = False
        self._value: T | None = None
        self._make_error: Callable[[], Exception] | None = None
        self._tasks: list[Task] = []

    @property
    def awaited(self) -> bool:
        """Somebody waits for the value now."""
        return bool(self._tasks)

    def resolve(self, value: T) -> None:
        if not self.done:
            self._value = value
            self._finish()

    def fail(self, make_error: Callable[[], Exception]) -> None:
        """`make_error` is called once for each task that asks, for a traceback belongs to one task alone."""
        if not self.done:
            self._make_error = make_error
            self._finish()

    def _finish(self) -> None:
        self.done = True
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            trio.lowlevel.reschedule(task)

    @trio.lowlevel.enable_ki_protection
    async def get(self, abandoned: Callable[[], None] | None = None) -> T:
        """Wait for the value. `abandoned` is called if the last task that waits is cancelled before there is one."""
        if self.done:
            # No turn for the other tasks: what was waited for to get here has given them one.
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            task = trio.lowlevel.current_task()
            self._tasks.append(task)

            def abort(_: object) -> Abort:
                self._tasks.remove(task)
                if abandoned is not None and not self._tasks:
                    abandoned()
                return Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(abort)
        if self._make_error is not None:
            raise self._make_error()
        return self._value  # type: ignore[return-value]
