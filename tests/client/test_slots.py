"""Handing one value to those who wait for it."""

from __future__ import annotations

import anyio
import pytest

from codemode_client._loops.slots import Slot


async def test_a_value_reaches_everybody_who_waits_and_everybody_who_asks_later() -> None:
    slot: Slot[int] = Slot()
    got: list[int] = []

    async def ask() -> None:
        got.append(await slot.get())

    async with anyio.create_task_group() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        slot.resolve(7)
    assert await slot.get() == 7
    assert got == [7, 7, 7]


async def test_the_first_setting_counts() -> None:
    slot: Slot[int] = Slot()
    slot.fail(lambda: ValueError("first"))
    slot.resolve(7)
    slot.fail(lambda: ValueError("second"))
    with pytest.raises(ValueError, match="first"):
        await slot.get()


async def test_each_task_raises_an_error_of_its_own() -> None:
    slot: Slot[int] = Slot()
    slot.fail(lambda: ValueError("no"))
    errors = []
    for _ in range(2):
        try:
            await slot.get()
        except ValueError as error:
            errors.append(error)
    assert errors[0] is not errors[1]


async def test_the_last_waiter_that_is_cancelled_abandons_the_value_at_once() -> None:
    slot: Slot[int] = Slot()
    scopes = [anyio.CancelScope(), anyio.CancelScope()]
    abandoned: list[str] = []

    async def ask(scope: anyio.CancelScope) -> None:
        with scope:
            await slot.get(lambda: abandoned.append("now"))

    async with anyio.create_task_group() as nursery:
        for scope in scopes:
            nursery.start_soon(ask, scope)
        await anyio.wait_all_tasks_blocked()
        scopes[0].cancel()
        assert abandoned == []
        scopes[1].cancel()
        assert abandoned == ["now"]
    assert not slot.awaited


async def test_a_value_that_was_handed_over_survives_a_cancellation_in_the_same_moment() -> None:
    slot: Slot[int] = Slot()
    got: list[int] = []
    abandoned: list[str] = []

    async def ask() -> None:
        got.append(await slot.get(lambda: abandoned.append("now")))

    async with anyio.create_task_group() as nursery:
        nursery.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        slot.resolve(7)
        nursery.cancel_scope.cancel()
    assert got == [7]
    assert abandoned == []


async def test_a_value_that_is_there_already_is_not_consumed_by_a_cancelled_call() -> None:
    slot: Slot[int] = Slot()
    slot.resolve(7)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await slot.get()
    assert scope.cancelled_caught
    assert await slot.get() == 7
