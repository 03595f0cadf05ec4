"""Turns: so many at once, and in rotation between those who share them, whatever is cancelled."""

from __future__ import annotations

from collections import Counter

import anyio
import anyio.lowlevel

from codemode_client._loops.turns import SHARE, Turns


async def test_the_lines_of_all_shares_are_served_in_rotation() -> None:
    turns, order = Turns(1), list[str]()

    async def work(share: str) -> None:
        SHARE.set(share)
        await turns.take()
        order.append(share)
        turns.give()

    await turns.take()
    async with anyio.create_task_group() as group:
        for share in "aaaabbc":
            group.start_soon(work, share)
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        turns.give()
    assert order == list("abcabaa")


async def test_no_more_turns_are_taken_than_there_are_and_a_cancelled_one_is_not_lost() -> None:
    turns, running, most = Turns(3), Counter[str](), 0

    async def work(number: int) -> None:
        nonlocal most
        with anyio.CancelScope() as scope:
            if number % 3 == 0:
                scopes.append(scope)
            await turns.take()
            running["now"] += 1
            most = max(most, running["now"])
            try:
                await anyio.lowlevel.checkpoint()
            finally:
                running["now"] -= 1
                turns.give()

    scopes: list[anyio.CancelScope] = []
    for _ in range(3):
        await turns.take()
    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(work, number)
        await anyio.wait_all_tasks_blocked()
        for scope in scopes[::2]:
            scope.cancel()  # in line
        for _ in range(3):
            turns.give()
        for scope in scopes[1::2]:
            scope.cancel()  # in line, or with a turn that it does not know of yet
    assert most <= 3
    for _ in range(3):
        with anyio.fail_after(5):
            await turns.take()
