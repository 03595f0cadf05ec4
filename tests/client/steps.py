"""Doing something before each step of a coroutine: cancelling it at the Nth, on any event loop."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


@types.coroutine
def run_stepped(coroutine: Coroutine[Any, Any, T], before_step: Callable[[], None]) -> Generator[Any, Any, T]:
    """Run a coroutine within the caller's task, and call a function before each of its steps."""
    step: Callable[[], Any] = partial(coroutine.send, None)
    while True:
        before_step()
        try:
            waits_for = step()
        except StopIteration as end:
            result: T = end.value
            return result
        try:
            step = partial(coroutine.send, (yield waits_for))
        except BaseException as error:
            step = partial(coroutine.throw, error)


async def run_until_step(step: int, coroutine: Coroutine[Any, Any, object], cancel: Callable[[], object]) -> None:
    """Run a coroutine, and call `cancel` just before its Nth step; never if `step` is 0."""
    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            cancel()

    await run_stepped(coroutine, count)


async def cancel_at_step(step: int, coroutine: Coroutine[Any, Any, object]) -> bool:
    """Run a coroutine and cancel it just before its Nth step; return whether it came to that."""
    with anyio.CancelScope() as scope:
        await run_until_step(step, coroutine, scope.cancel)
    return scope.cancelled_caught


async def cancel_task_at_step(step: int, coroutine: Coroutine[Any, Any, object]) -> bool:
    """Do the same with a task of asyncio's and its own `cancel`, which is an exception once, and does not last."""

    def cancel() -> None:
        task.cancel()

    task = asyncio.create_task(run_until_step(step, coroutine, cancel))
    await asyncio.wait([task])
    return task.cancelled() or bool(task.result())
