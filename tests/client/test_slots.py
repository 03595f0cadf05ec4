"""Handing one value to the tasks that wait for it."""

from __future__ import annotations

import anyio
import pytest

from codemode_client._loops.slots import Slot
from tests.client.loops import enter_loop


async def test_a_value_reaches_every_task_that_waits_and_every_one_that_asks_later() -> None:
    async with enter_loop() as loop:
        slot: Slot[int] = Slot(loop)
        got: list[int] = []

        async def ask() -> None:
            got.append(await slot.get())

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            assert slot.has_waiters
            slot.resolve(7)
        assert await slot.get() == 7
        assert got == [7, 7, 7]
        assert not slot.has_waiters


async def test_the_first_setting_counts() -> None:
    async with enter_loop() as loop:
        slot: Slot[int] = Slot(loop)
        slot.fail(lambda: ValueError("first"))
        slot.resolve(7)
        slot.fail(lambda: ValueError("second"))
        assert slot.done
        assert not slot.succeeded
        with pytest.raises(ValueError, match="first"):
            await slot.get()


async def test_each_task_raises_an_error_of_its_own() -> None:
    async with enter_loop() as loop:
        slot: Slot[int] = Slot(loop)
        slot.fail(lambda: ValueError("no"))
        errors = []
        for _ in range(2):
            try:
                await slot.get()
            except ValueError as error:
                errors.append(error)
        assert errors[0] is not errors[1]


async def test_the_last_waiter_that_is_cancelled_abandons_the_value_at_once() -> None:
    async with enter_loop() as loop:
        slot: Slot[int] = Slot(loop)
        scopes = [anyio.CancelScope(), anyio.CancelScope()]
        abandoned: list[str] = []

        async def ask(scope: anyio.CancelScope) -> None:
            with scope:
                await slot.get(lambda: abandoned.append("now"))

        async with anyio.create_task_group() as group:
            for scope in scopes:
                group.start_soon(ask, scope)
            await anyio.wait_all_tasks_blocked()
            scopes[0].cancel()
            assert abandoned == []
            scopes[1].cancel()
            assert abandoned == ["now"]
        assert not slot.has_waiters


async def test_a_value_whose_task_is_cancelled_in_the_same_moment_is_taken_or_abandoned_and_never_both() -> None:
    async with enter_loop() as loop:
        slot: Slot[int] = Slot(loop)
        got: list[int] = []
        abandoned: list[int] = []

        async def ask() -> None:
            got.append(await slot.get(lambda: abandoned.append(7)))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            slot.resolve(7)
            group.cancel_scope.cancel()
        assert [*got, *abandoned] == [7]


async def test_a_value_that_is_set_while_its_cancelled_task_has_not_run_is_abandoned_once() -> None:
    async with enter_loop() as loop:
        slot: Slot[int] = Slot(loop)
        abandoned: list[bool] = []

        async def ask() -> None:
            await slot.get(lambda: abandoned.append(slot.done))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
            slot.resolve(7)
        assert abandoned == [False]


async def test_a_value_that_one_of_two_tasks_got_is_not_abandoned_by_the_other() -> None:
    async with enter_loop() as loop:
        slot: Slot[int] = Slot(loop)
        abandoned: list[str] = []
        scope = anyio.CancelScope()
        got: list[int] = []

        async def ask() -> None:
            got.append(await slot.get(lambda: abandoned.append("first")))

        async def ask_in_scope() -> None:
            with scope:
                await slot.get(lambda: abandoned.append("second"))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            group.start_soon(ask_in_scope)
            await anyio.wait_all_tasks_blocked()
            slot.resolve(7)
            scope.cancel()
        assert got == [7]
        assert abandoned == []


async def test_waiting_for_a_limited_time_takes_nothing() -> None:
    async with enter_loop() as loop:
        slot: Slot[int] = Slot(loop)
        assert not await slot.wait(0.001)
        assert not await slot.wait(-1)

        async def wait() -> None:
            assert await slot.wait(60)

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert not slot.has_waiters
            slot.resolve(7)
        assert await slot.wait(0)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await Slot(loop).wait(60)
        assert scope.cancelled_caught


@pytest.mark.loops("trio")
async def test_a_value_that_is_there_already_is_not_taken_by_a_cancelled_call() -> None:
    async with enter_loop() as loop:
        slot: Slot[int] = Slot(loop)
        slot.resolve(7)
        abandoned: list[str] = []
        with anyio.CancelScope() as scope:
            scope.cancel()
            await slot.get(lambda: abandoned.append("now"))
        assert scope.cancelled_caught
        assert abandoned == ["now"]
        assert await slot.get() == 7
