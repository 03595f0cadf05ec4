"""What zygote and runtimes say on standard error: whose it is, how much is kept, and that nothing waits for it."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from codemode_host.runtimes.host_side.stderr_lines import MAX_LINE_BYTES, PAUSE_SECONDS, TAIL_LINES, Complaints


@asynccontextmanager
async def complaints() -> AsyncIterator[tuple[Complaints, int]]:
    """Such a reader, and the end to write to; the test may close it and say so by closing the reader."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    lines = Complaints(reading)
    try:
        yield lines, writing
    finally:
        lines.close()
        lines.close()
        os.close(writing)


async def test_lines_belong_to_the_process_whose_number_they_have() -> None:
    async with complaints() as (lines, writing):
        os.write(writing, b"[12] first\nof nobody\n[13] second\n[12] third\n" + b"x" * 64 + b"[12] too far\n")
        assert lines.tail() == ("[12] first", "of nobody", "[13] second", "[12] third", "x" * 64 + "[12] too far")
        assert lines.tail(13) == ("of nobody", "[13] second", "x" * 64 + "[12] too far")
        assert lines.of(12) == ("[12] first", "[12] third")
        assert lines.of(None) == lines.of(14) == ()


async def test_the_last_lines_are_kept() -> None:
    async with complaints() as (lines, writing):
        os.write(writing, b"".join(b"%d\n" % number for number in range(3 * TAIL_LINES)))
        assert lines.tail() == tuple(map(str, range(2 * TAIL_LINES, 3 * TAIL_LINES)))
        os.write(writing, b"one\n" * 3)
        assert lines.tail()[-4:] == (str(3 * TAIL_LINES - 1), "one", "one", "one")
        assert len(lines.tail()) == TAIL_LINES


async def test_a_line_is_whole_only_with_its_end_or_when_it_is_too_long_or_the_last() -> None:
    async with complaints() as (lines, writing):
        os.write(writing, b"be")
        assert lines.read_now()
        assert lines.tail() == ()
        os.write(writing, b"gun\n")
        assert lines.tail() == ("begun",)
        os.write(writing, b"x" * MAX_LINE_BYTES)
        assert lines.tail() == ("begun",)
        os.write(writing, b"x")
        assert lines.tail() == ("begun", "x" * MAX_LINE_BYTES)
        os.write(writing, b"caf\xe9 and last")
        assert len(lines.tail()) == 2
        other, _ = os.pipe()
        os.dup2(other, writing)
        os.close(other)
        assert lines.tail()[-1] == "caf\\xe9 and last"
        assert not lines.read_now()


async def test_no_more_is_read_at_a_time_than_so_many_pieces() -> None:
    async with complaints() as (lines, writing):
        os.write(writing, b"x" * 65000 + b"\n")
        assert lines.read_now(1)
        assert lines.read_now(0)
        os.write(writing, b"second\n")
        assert lines.read_now(1)
        assert lines.tail()[-1] == "second"


async def test_each_line_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with complaints() as (lines, writing):
            os.write(writing, b"one\n\ntwo\n")
            lines.read_now()
    assert [record.message for record in caplog.records] == ["runtime: one", "runtime: ", "runtime: two"]


async def test_reading_goes_on_until_the_pipe_ends_a_piece_at_a_time(autojump_clock: trio.testing.MockClock) -> None:
    async with complaints() as (lines, writing), trio.open_nursery() as nursery:
        nursery.start_soon(lines.read)
        begun = trio.current_time()
        for number in range(3):
            os.write(writing, b"%d\n" % number)
            await trio.sleep(10 * PAUSE_SECONDS)
        assert trio.current_time() - begun == pytest.approx(30 * PAUSE_SECONDS)
        os.write(writing, b"%d" % 3)
        other, _ = os.pipe()
        os.dup2(other, writing)
        os.close(other)
    assert lines._lines[-1][1] == "3"


async def test_closing_ends_the_reading(autojump_clock: trio.testing.MockClock) -> None:
    async with complaints() as (lines, _), trio.open_nursery() as nursery:
        nursery.start_soon(lines.read)
        await trio.testing.wait_all_tasks_blocked()
        lines.close()
        assert not lines.read_now()
        assert lines.tail() == ()
