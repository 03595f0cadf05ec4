"""Runtimes whose zygote says what a test wants: what cannot be forked, what ends unasked, what does not end at all."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal

import pytest
import trio
import trio.testing

from codemode_host.runtimes import link
from codemode_host.runtimes.host_side.memory_group import MemoryGroup
from codemode_host.runtimes.host_side.memory_watch import (
    CLOSE_WATCH_SECONDS,
    LOOKS_OVER_LIMIT,
    WATCH_SECONDS,
    MemoryWatch,
)
from codemode_host.runtimes.host_side.runtimes import STOP_SECONDS, PoolClosedError, Runtime, RuntimeExit, RuntimePool
from tests.processes import list_descriptors
from tests.runtimes.lying import Failures, LyingZygote, lying_pool

MIB = link.MIB


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def serials(zygote: LyingZygote) -> list[int]:
    await settle()
    zygote.listen()
    return sorted(zygote.liars)


async def test_what_the_zygote_says_of_itself_and_of_a_fork_is_known() -> None:
    async with lying_pool() as (pool, zygote, _):
        runtime = pool.take()
        assert (pool.ready.is_set(), pool.flags) == (False, 0)
        zygote.report(link.READY, 21, 4711)
        zygote.report(link.FORKED, runtime.serial, 4712, 5 * MIB)
        await settle()
        assert (pool.ready.is_set(), pool.flags) == (True, 21)
        assert (runtime.pid, runtime.baseline) == (4712, 5 * MIB)
        assert runtime.exit is None


async def test_reports_of_a_runtime_that_nobody_knows_are_of_no_account() -> None:
    async with lying_pool() as (pool, zygote, failures):
        runtime = pool.take()
        for kind in (link.FORKED, link.EXITED, link.FORK_FAILED):
            zygote.report(kind, 999, 1)
        zygote.report(link.EXITED, runtime.serial, 0)
        zygote.report(link.EXITED, runtime.serial, 1 << 8)
        await settle()
        assert runtime.exit == RuntimeExit(0)
        assert (len(pool.alive), failures) == (0, [])


async def test_as_many_wait_as_should_and_each_is_taken_once() -> None:
    async with lying_pool(spares=2) as (pool, zygote, _):
        pool.replenish()
        pool.replenish()
        assert await serials(zygote) == [1, 2]
        assert (pool.has_spares, [pool.take().serial for _ in range(3)]) == (True, [1, 2, 3])
        assert (pool.has_spares, len(pool.alive)) == (False, 3)
        assert await serials(zygote) == [1, 2, 3]
        pool.replenish()
        assert await serials(zygote) == [1, 2, 3, 4, 5]
        assert len(pool.alive) == 5


async def test_a_fork_that_fails_fails_the_cell_that_has_it() -> None:
    async with lying_pool() as (pool, zygote, failures):
        runtime = pool.take()
        zygote.report(link.FORK_FAILED, runtime.serial, 11)
        await runtime.exited.wait()
        assert runtime.exit == RuntimeExit(0, not_started=os.strerror(11))
        assert (len(pool.alive), failures) == (0, [])


async def test_a_spare_that_cannot_be_forked_is_a_warning_and_no_panic(caplog: pytest.LogCaptureFixture) -> None:
    before = list_descriptors().keys()
    with caplog.at_level(logging.WARNING):
        async with lying_pool(spares=1) as (pool, zygote, failures):
            pool.replenish()
            zygote.report(link.FORK_FAILED, 1, 11)
            await settle()
            assert not pool.has_spares
            assert failures == []
    assert f"a spare runtime could not be started: {os.strerror(11)}" in caplog.text
    assert list_descriptors().keys() == before


class KillingGroup(MemoryGroup):
    """One whose kernel has killed a process."""

    def __init__(self) -> None:
        super().__init__("/nowhere", "", "")
        self.kills = 1

    def has_killed(self) -> bool:
        self.kills -= 1
        return self.kills >= 0


async def test_a_process_that_the_kernel_killed_for_what_all_have_together_is_no_panic(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for spare in (True, False):
        async with lying_pool(spares=1, group=KillingGroup()) as (pool, zygote, failures):
            pool.replenish()
            runtime = None if spare else pool.take()
            zygote.listen()
            zygote.liars[1].end(signal.SIGKILL)
            await settle()
            assert failures == []
            assert runtime is None or runtime.exit == RuntimeExit(-signal.SIGKILL, over_total=True)
            for number in ((signal.SIGKILL, False), (signal.SIGSEGV, False), (signal.SIGKILL, True)):
                pool.replenish()
                other = pool.take()
                zygote.listen()
                zygote.liars[other.serial].end(number[0], asked=number[1])
                await settle()
                assert other.exit == RuntimeExit(-number[0], asked=number[1])
    assert "a spare runtime could not be started: there is not enough memory" in caplog.text


async def test_a_spare_that_ends_unasked_is_a_panic() -> None:
    async with lying_pool(spares=1) as (pool, zygote, failures):
        pool.replenish()
        await serials(zygote)
        zygote.liars[1].end(signal.SIGSEGV)
        await settle()
        assert failures == [("a spare runtime ended before it was used: killed by SIGSEGV", False)]
        assert not pool.has_spares


async def test_a_spare_that_ends_at_the_end_of_all_is_none() -> None:
    async with lying_pool(spares=1) as (pool, zygote, failures):
        pool.replenish()
        await serials(zygote)
        pool.kill_runtimes()
        zygote.listen()
        assert zygote.kills == [1]
        zygote.liars[1].end(signal.SIGKILL, asked=True)
        await settle()
        assert failures == []


async def test_after_the_end_has_begun_nothing_can_be_run() -> None:
    async with lying_pool(spares=1) as (pool, zygote, _):
        assert (pool.is_open, pool.closing) == (True, False)
        pool.kill_runtimes()
        assert (pool.is_open, pool.closing) == (False, True)
        with pytest.raises(PoolClosedError, match="gone"):
            pool.take()
        pool.replenish()
        assert await serials(zygote) == []


async def test_a_process_without_room_for_more_descriptors_refuses_a_runtime_and_leaks_nothing() -> None:
    async with lying_pool(spares=1) as (pool, zygote, _):
        before = list_descriptors()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        for room in range(5):
            # The lowest free numbers are taken: from the limit on there is none.
            free = [number for number in range(soft) if number not in before][room]
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            try:
                with pytest.raises(OSError, match="Too many open files"):
                    pool.take()
                pool.replenish()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert list_descriptors() == before
        assert await serials(zygote) == []
        assert len(pool.alive) == 0
        assert pool.take().serial == 1


# The zygote's end


@pytest.mark.parametrize(("ready", "refused"), [(False, False), (True, False)])
async def test_a_zygote_that_hangs_up_ends_all_that_it_was_to_reap(ready: bool, refused: bool) -> None:
    async with lying_pool(spares=1) as (pool, zygote, failures):
        if ready:
            zygote.report(link.READY, 1, 2)
        pool.replenish()
        pool.replenish()
        runtime = pool.take()
        pool.replenish()
        zygote.hang_up()
        await runtime.exited.wait()
        await settle()
        assert runtime.exit == RuntimeExit(-signal.SIGKILL, zygote_lost=True)
        assert (len(pool.alive), pool.has_spares, pool.is_open) == (0, False, False)
        assert failures == [("the zygote ended: killed by SIGKILL", refused)]
        assert zygote.ended_by == signal.SIGKILL


async def test_where_its_end_is_the_end_of_all_no_cell_hears_of_it_first() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with lying_pool() as (pool, zygote, failures):
            failures.raised = LookupError()
            runtime = pool.take()
            zygote.hang_up()
            await trio.sleep_forever()
    assert raised.value.exceptions == (failures.raised,)
    assert (runtime.exit, runtime.exited.is_set()) == (None, False)


async def test_a_runtime_that_was_taken_is_closed_by_its_taker_alone() -> None:
    zygote = LyingZygote()
    async with trio.open_nursery() as nursery:
        pool = RuntimePool(zygote.handed_over, nursery, spares=1, on_failure=Failures().note)
        pool.replenish()
        runtime = pool.take()
        pool.replenish()
        pool.close()
        assert (runtime.closed, pool.has_spares) == (False, False)
        assert runtime.receive()  # there is nothing yet; its cell may be about to do just that
        runtime.close()
    zygote.close()


async def test_a_zygote_that_was_told_to_end_is_no_failure() -> None:
    async with lying_pool() as (pool, zygote, failures):
        pool.kill_zygote()
        assert zygote.ended_by == signal.SIGKILL
        zygote.hang_up()
        await settle()
        assert failures == []
        assert pool.kill_zygote() == -signal.SIGKILL


async def test_a_zygote_that_does_not_end_its_runtimes_is_ended_with_them_after_a_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with lying_pool() as (pool, zygote, failures):
        runtime = pool.take()
        begun = trio.current_time()
        await pool.aclose()
        assert trio.current_time() - begun == pytest.approx(STOP_SECONDS)
        assert zygote.ended_by == signal.SIGKILL
        zygote.listen()
        assert zygote.kills == [runtime.serial]
        assert failures == []


async def test_the_end_is_waited_for_even_by_one_who_was_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with lying_pool() as (pool, zygote, _):
        pool.take()
        with trio.CancelScope() as scope:
            scope.cancel()
            begun = trio.current_time()
            await pool.aclose()
            assert trio.current_time() - begun == pytest.approx(STOP_SECONDS)
        assert zygote.ended_by == signal.SIGKILL


async def test_a_zygote_whose_runtimes_have_ended_is_ended_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with lying_pool() as (pool, zygote, _):
        runtimes = [pool.take() for _ in range(3)]
        await serials(zygote)
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.aclose)
            for runtime in runtimes:
                assert zygote.ended_by is None
                zygote.liars[runtime.serial].end(signal.SIGKILL, asked=True)
                await settle()
        assert trio.current_time() == begun
        assert zygote.ended_by == signal.SIGKILL


async def test_a_retired_pool_ends_with_the_last_of_its_runtimes() -> None:
    async with lying_pool(spares=1) as (pool, zygote, failures):
        pool.replenish()
        first, second = pool.take(), pool.take()
        pool.replenish()
        await serials(zygote)
        pool.retire()
        pool.retire()
        assert (pool.is_open, pool.has_spares, pool.closing) == (False, False, False)
        with pytest.raises(PoolClosedError):
            pool.take()
        for serial in (3, first.serial):
            zygote.liars[serial].end()
            await settle()
        assert [zygote.ended_by] == [None]
        zygote.liars[second.serial].end()
        await settle()
        assert [zygote.ended_by] == [signal.SIGKILL]
        assert failures == []


async def test_requests_that_the_zygote_has_no_room_for_come_later_in_order_with_their_descriptors() -> None:
    gc.collect()  # what earlier tests left has descriptors, too
    before = list_descriptors().keys()
    async with lying_pool() as (pool, zygote, failures):
        runtimes = [pool.take() for _ in range(400)]
        runtimes[-1].kill()
        zygote.listen()
        assert len(zygote.liars) < 400
        with trio.fail_after(30):
            while not zygote.kills:
                await settle()
                zygote.listen()
        assert list(zygote.liars) == [runtime.serial for runtime in runtimes]
        assert zygote.kills == [400]
        assert failures == []
    assert list_descriptors().keys() == before


async def test_requests_that_were_never_taken_leave_no_descriptor() -> None:
    before = list_descriptors().keys()
    async with lying_pool() as (pool, zygote, _):
        runtimes = [pool.take() for _ in range(400)]
        zygote.hang_up()
        await settle()
        for runtime in runtimes:
            runtime.close()
    assert list_descriptors().keys() == before


# Memory that cells fill


class Filling:
    """A cell as the watch sees it: how much it has filled at each look."""

    def __init__(self, *filled: int, pid: int | None = 1, baseline: int = MIB) -> None:
        self.pid, self.baseline = pid, baseline
        self.filled = list(filled)
        self.looks_over_limit = 0
        self.over_memory = False
        self.killed_at: float | None = None
        self.looks: list[float] = []

    def look(self) -> int:
        self.looks.append(trio.current_time())
        return self.baseline + (self.filled.pop(0) if len(self.filled) > 1 else self.filled[0])

    def kill(self) -> None:
        self.killed_at = self.killed_at or trio.current_time()


@pytest.fixture
def filling(monkeypatch: pytest.MonkeyPatch) -> list[Filling]:
    """The cells that run; the kernel's word on their memory is the test's."""
    cells: list[Filling] = []
    monkeypatch.setattr(link, "filled_bytes", lambda pid: next(cell for cell in cells if cell.pid == pid).look())
    return cells


async def watch(cells: list[Filling], seconds: float, limit: int | None = 10 * MIB) -> MemoryWatch:
    async with trio.open_nursery() as nursery:
        watch = MemoryWatch(limit, lambda: cells)
        watch.start(nursery.start_soon)
        assert watch.watching
        await trio.sleep(seconds)
        cells.clear()
    return watch


async def test_a_cell_that_stays_over_its_limit_is_ended_at_the_last_of_some_looks(
    filling: list[Filling], autojump_clock: trio.testing.MockClock
) -> None:
    over, just, back = (
        Filling(11 * MIB),
        Filling(10 * MIB, pid=2),
        Filling(*[11 * MIB] * 3, MIB, *[11 * MIB] * 3, 0, pid=3),
    )
    filling += [over, just, back]
    begun = trio.current_time()
    assert not (await watch(filling, 3)).watching
    assert over.over_memory
    assert over.killed_at == pytest.approx(begun + WATCH_SECONDS + (LOOKS_OVER_LIMIT - 1) * CLOSE_WATCH_SECONDS)
    assert (just.over_memory, just.killed_at) == (False, None)
    assert (back.over_memory, back.killed_at) == (False, None)


async def test_a_cell_at_twice_its_limit_is_ended_at_the_first_look(
    filling: list[Filling], autojump_clock: trio.testing.MockClock
) -> None:
    at, above = Filling(20 * MIB), Filling(20 * MIB + 1, pid=2)
    filling += [at, above]
    begun = trio.current_time()
    await watch(filling, WATCH_SECONDS + CLOSE_WATCH_SECONDS / 2)
    assert above.killed_at == pytest.approx(begun + WATCH_SECONDS)
    assert above.over_memory
    assert at.killed_at is None


@pytest.mark.parametrize(("filled", "seconds"), [(5 * MIB, WATCH_SECONDS), (5 * MIB + 1, CLOSE_WATCH_SECONDS)])
async def test_a_cell_that_has_filled_half_of_what_it_may_is_looked_at_more_often(
    filling: list[Filling], autojump_clock: trio.testing.MockClock, filled: int, seconds: float
) -> None:
    cell = Filling(filled)
    filling.append(cell)
    await watch(filling, 2)
    assert cell.looks[2] - cell.looks[1] == pytest.approx(seconds)
    assert cell.killed_at is None


async def test_what_is_not_known_to_run_yet_is_not_judged(
    filling: list[Filling], autojump_clock: trio.testing.MockClock
) -> None:
    unforked, unknown, over = (
        Filling(99 * MIB, pid=None),
        Filling(99 * MIB, pid=2, baseline=0),
        Filling(99 * MIB, pid=3),
    )
    filling += [unforked, unknown, over]
    await watch(filling, 2)
    assert (unforked.looks, unknown.looks) == ([], [])
    assert over.over_memory


async def test_without_a_limit_nothing_is_looked_at(
    filling: list[Filling], autojump_clock: trio.testing.MockClock
) -> None:
    cell = Filling(99 * MIB)
    filling.append(cell)
    await watch(filling, 2, limit=None)
    assert cell.looks == []


async def test_the_watch_begins_with_the_first_cell_and_again_after_there_was_none(
    filling: list[Filling], autojump_clock: trio.testing.MockClock
) -> None:
    def take(pool: RuntimePool, zygote: LyingZygote) -> Runtime:
        runtime = pool.take()
        runtime.start(b"", b"[]", b"{}")
        zygote.report(link.FORKED, runtime.serial, 1, MIB)
        return runtime

    filling.append(Filling(99 * MIB))
    async with lying_pool(memory_limit=10 * MIB) as (pool, zygote, _):
        for _ in range(2):
            runtime = take(pool, zygote)
            spare = pool.take()  # has no script
            closed = take(pool, zygote)
            closed.close()
            await trio.sleep(2 * WATCH_SECONDS)
            assert (runtime.over_memory, spare.over_memory, closed.over_memory) == (True, False, False)
            await serials(zygote)
            for one in (runtime, spare, closed):
                zygote.liars[one.serial].end(signal.SIGKILL, asked=True)
            await runtime.exited.wait()
            assert runtime.exit is not None
            assert runtime.exit.over_memory
            await trio.sleep(2 * WATCH_SECONDS)
