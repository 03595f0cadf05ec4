"""Runtimes from the host's side: a real zygote, real forks, real confinement."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from codemode_host.runtimes import link
from codemode_host.runtimes.host_side.runtimes import Runtime, RuntimePool
from codemode_host.runtimes.host_side.spawn import ZygoteOptions, spawn_zygote
from codemode_host.runtimes.zygote.main import FORKS_AT_ONCE
from codemode_protocol.values import ContentItem, InputText


@asynccontextmanager
async def running_pool(options: ZygoteOptions | None = None, spares: int = 1) -> AsyncIterator[RuntimePool]:
    def failed(cause: str, refused: bool) -> None:
        raise AssertionError(f"{cause}: {pool.stderr.tail()}")

    zygote = spawn_zygote(options or ZygoteOptions())
    try:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                pool = RuntimePool(zygote, nursery, spares=spares, on_failure=failed)
                nursery.start_soon(pool.serve)
                try:
                    await pool.ready.wait()
                    yield pool
                finally:
                    await pool.aclose()
                    nursery.cancel_scope.cancel()
    finally:
        pool.close()
        for runtime in pool.alive:
            runtime.close()


async def finish(runtime: Runtime) -> tuple[list[ContentItem], str | None]:
    """Follow a script to its end: what it wrote, and its error."""
    items: list[ContentItem] = []
    while True:
        await runtime.wait_readable()
        assert runtime.receive(), "the runtime ended before its script did"
        while (frame := runtime.next_frame()) is not None:
            items += runtime.output.take(frame.end)
            if frame.kind == link.FLUSH:
                runtime.output.rewind()
                runtime.send(link.FLUSHED)
            elif frame.kind == link.CALL:
                sequence = frame.payload.split(b" ", 1)[0]
                runtime.send(link.SETTLE, b'[[%s,true,"answer"]]' % sequence)
            elif frame.kind == link.DONE:
                await runtime.exited.wait()
                runtime.close()
                return items, msgspec.json.decode(frame.payload)["error"]


async def run(pool: RuntimePool, source: str, tools: bytes = b"[]") -> tuple[list[ContentItem], str | None]:
    runtime = pool.take()
    runtime.start(source.encode(), tools, b"{}")
    return await finish(runtime)


async def test_a_script_runs_on_a_process_of_its_own() -> None:
    async with running_pool() as pool:
        assert await run(pool, "text(6 * 7)") == ([InputText("42")], None)
        needed = link.READY_SINGLE_THREADED | link.READY_NATIVE_JOBS | link.READY_UNPRIVILEGED
        assert pool.flags & needed == needed


@pytest.mark.parametrize(
    "options",
    [
        ZygoteOptions(single_threaded=False),
        ZygoteOptions(confined=False),
        ZygoteOptions(single_threaded=False, confined=False),
    ],
    ids=["initialise after the fork", "unconfined", "both"],
)
async def test_every_way_of_making_runtimes_gives_the_same_answers(options: ZygoteOptions) -> None:
    source = """
        let order = [];
        const timer = new Promise((resolve) => setTimeout(() => resolve(order.push("timer")), 1));
        Promise.resolve().then(() => order.push("job"));
        order.push(await tools.ask({}));
        await timer;
        let garbage = [];
        for (let i = 0; i < 3e5; i++) { garbage.push({ i }); if (garbage.length > 1e4) garbage = []; }
        text(order.sort().join());
        text(new Intl.NumberFormat("de-DE").format(1234.5));
    """
    async with running_pool(options) as pool:
        items, error = await run(pool, source, b'[{"name":"ask","description":""}]')
        assert (items, error) == ([InputText("answer,job,timer"), InputText("1.234,5")], None)
        expected = 0 if not options.single_threaded else link.READY_SINGLE_THREADED
        assert pool.flags & link.READY_SINGLE_THREADED == expected


async def test_output_larger_than_the_memory_comes_through_whole() -> None:
    async with running_pool() as pool:
        items, error = await run(
            pool, "for (let i = 0; i < 40; i++) text('é'.repeat(100_000) + i); text('€'.repeat(900_000))"
        )
        assert error is None
        assert items[:40] == [InputText("é" * 100_000 + str(i)) for i in range(40)]
        assert items[40] == InputText("€" * 900_000)


async def test_what_a_cell_wrote_before_it_was_killed_in_a_loop_is_there() -> None:
    async with running_pool() as pool:
        runtime = pool.take()
        runtime.start(b"text('before'); notify('looping'); while (true) {}", b"[]", b"{}")
        await runtime.wait_readable()
        runtime.kill()
        await runtime.exited.wait()
        assert runtime.output.take(runtime.output.written) == [InputText("before")]
        assert runtime.exit is not None
        assert (runtime.exit.status, runtime.exit.asked) == (-signal.SIGKILL, True)
        runtime.close()


async def test_spare_runtimes_are_as_many_as_asked_for_and_all_of_them_end() -> None:
    async with running_pool(spares=5) as pool:
        pool.replenish()
        assert len(pool.alive) == 5
        pool.replenish()
        assert len(pool.alive) == 5
    assert len(pool.alive) == 0


async def test_many_runtimes_at_once_all_answer() -> None:
    async with running_pool() as pool:
        runtimes = [pool.take() for _ in range(60)]
        for number, runtime in enumerate(runtimes):
            runtime.start(b"text(%d)" % number, b"[]", b"{}")
        for number, runtime in enumerate(runtimes):
            assert await finish(runtime) == ([InputText(str(number))], None)


async def test_runtimes_that_are_killed_as_soon_as_they_are_asked_for_end_and_the_others_do_not() -> None:
    async with running_pool(spares=0) as pool:
        # The zygote finds them all waiting: kills behind the forks that they are about, others before and after.
        runtimes = [pool.take() for _ in range(2 * FORKS_AT_ONCE + 3)]
        for runtime in runtimes[::2]:
            runtime.kill()
        for number, runtime in enumerate(runtimes[1::2]):
            runtime.start(b"text(%d)" % number, b"[]", b"{}")
        for number, runtime in enumerate(runtimes[1::2]):
            assert await finish(runtime) == ([InputText(str(number))], None)
        for runtime in runtimes[::2]:
            await runtime.exited.wait()
            assert runtime.exit is not None
            assert runtime.exit.asked
            runtime.close()


async def test_a_runtime_has_nothing_of_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "of the caller")
    async with running_pool() as pool:
        runtime = pool.take()
        while runtime.pid is None:
            await trio.lowlevel.checkpoint()
        process = Path("/proc") / str(runtime.pid)
        runtime.start(b"notify('on'); await new Promise(() => {})", b"[]", b"{}")
        await runtime.wait_readable()
        assert (process / "environ").read_bytes() == b""
        assert b"of the caller" not in (process / "cmdline").read_bytes()
        # Standard input is the null device, output and error are one pipe, and the link is all that is left.
        links = {int(fd.name): os.readlink(fd) for fd in (process / "fd").iterdir()}
        assert sorted(links) == [0, 1, 2, 3, 4]
        assert links[0] == os.devnull
        assert links[1] == links[2]
        assert links[3].startswith("pipe:")
        assert links[4].startswith("pipe:")
        assert len({links[2], links[3], links[4]}) == 3
        status = (process / "status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status
        runtime.kill()
        await runtime.exited.wait()
        runtime.close()
