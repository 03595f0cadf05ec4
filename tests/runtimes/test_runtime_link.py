"""The host's end of a link, and what a runtime that lies on it is told: nothing that it says is taken unseen."""

from __future__ import annotations

import os
import signal

import pytest
import trio
import trio.testing

from codemode_host.runtimes import link
from codemode_host.runtimes.host_side.output import LinkError
from codemode_host.runtimes.host_side.runtimes import LEAVE_SECONDS, Frame, Runtime, RuntimeExit, RuntimePool
from tests.processes import list_descriptors
from tests.runtimes.lying import Liar, LyingZygote, lying_pool

KINDS = sorted(link.MAX_PAYLOADS)


def start(pool: RuntimePool, zygote: LyingZygote) -> tuple[Runtime, Liar]:
    """A runtime that has its script, and its other side."""
    runtime = pool.take()
    runtime.start(b"source", b"[]", b"{}")
    return runtime, zygote.play(runtime)


def test_each_kind_of_frame_has_a_bound_and_those_that_say_nothing_have_no_payload() -> None:
    assert set(KINDS) == {link.CALL, link.NOTIFY, link.YIELD, link.FLUSH, link.DONE}
    assert link.MAX_PAYLOADS[link.YIELD] == link.MAX_PAYLOADS[link.FLUSH] == 0
    assert max(link.MAX_PAYLOADS.values()) <= 96 * link.MIB


async def test_a_script_is_handed_over_with_its_tools_and_values() -> None:
    async with lying_pool() as (pool, zygote, _):
        runtime, liar = start(pool, zygote)
        assert runtime.started
        assert liar.hear() == [(link.START, link.START_LENGTHS.pack(6, 2, 2) + b"source[]{}")]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_frame_that_is_longer_than_its_kind_may_be_is_refused_by_its_header_alone(kind: int) -> None:
    async with lying_pool() as (pool, zygote, _):
        runtime, liar = start(pool, zygote)
        liar.say(kind, length=link.MAX_PAYLOADS[kind] + 1)
        assert runtime.receive()
        with pytest.raises(LinkError, match=f"kind {kind} and {link.MAX_PAYLOADS[kind] + 1} bytes"):
            runtime.next_frame()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_frame_of_the_greatest_length_is_waited_for(kind: int) -> None:
    async with lying_pool() as (pool, zygote, _):
        runtime, liar = start(pool, zygote)
        liar.say(kind, length=link.MAX_PAYLOADS[kind])
        assert runtime.receive()
        frame = runtime.next_frame()
        assert frame == (Frame(kind, 0, b"") if link.MAX_PAYLOADS[kind] == 0 else None)


@pytest.mark.parametrize("kind", [0, 6, link.START, link.SETTLE, link.FLUSHED, 255])
async def test_a_kind_that_no_cell_may_send_is_refused_even_if_it_is_empty(kind: int) -> None:
    async with lying_pool() as (pool, zygote, _):
        runtime, liar = start(pool, zygote)
        liar.say(kind)
        assert runtime.receive()
        with pytest.raises(LinkError, match=f"kind {kind} and 0 bytes"):
            runtime.next_frame()


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_may_be_said_before_there_is_a_script(kind: int) -> None:
    async with lying_pool() as (pool, zygote, _):
        runtime = pool.take()
        zygote.play(runtime).say(kind)
        assert runtime.receive()
        with pytest.raises(LinkError, match="may not come now"):
            runtime.next_frame()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("last", [link.DONE, link.FLUSH])
async def test_nothing_may_be_said_after_the_end_or_while_the_output_is_being_read(last: int, kind: int) -> None:
    async with lying_pool() as (pool, zygote, _):
        runtime, liar = start(pool, zygote)
        liar.say(last)
        liar.say(kind)
        assert runtime.receive()
        frame = runtime.next_frame()
        assert frame is not None
        assert frame.kind == last
        with pytest.raises(LinkError, match="may not come now"):
            runtime.next_frame()


@pytest.mark.parametrize("kind", [link.CALL, link.NOTIFY, link.YIELD])
async def test_after_what_is_no_end_more_may_be_said(kind: int) -> None:
    async with lying_pool() as (pool, zygote, _):
        runtime, liar = start(pool, zygote)
        liar.say(kind)
        liar.say(link.DONE, b"{}", 12)
        assert runtime.receive()
        assert [runtime.next_frame(), runtime.next_frame(), runtime.next_frame()] == [
            Frame(kind, 0, b""),
            Frame(link.DONE, 12, b"{}"),
            None,
        ]


async def test_once_the_output_has_been_read_a_runtime_may_go_on() -> None:
    async with lying_pool() as (pool, zygote, _):
        runtime, liar = start(pool, zygote)
        liar.say(link.FLUSH)
        assert runtime.receive()
        assert runtime.next_frame() == Frame(link.FLUSH, 0, b"")
        runtime.send(link.SETTLE, b"[[1,true,null]]")
        liar.say(link.YIELD)
        assert runtime.receive()
        with pytest.raises(LinkError):
            runtime.next_frame()
        runtime.send(link.FLUSHED)
        assert runtime.next_frame() == Frame(link.YIELD, 0, b"")
        assert [kind for kind, _ in liar.hear()] == [link.START, link.SETTLE, link.FLUSHED]


async def test_frames_come_out_whole_however_their_bytes_are_cut() -> None:
    async with lying_pool() as (pool, zygote, _):
        runtime, liar = start(pool, zygote)
        sent = [Frame(link.CALL, 8, b"1 0 {}"), Frame(link.YIELD, 300, b""), Frame(link.NOTIFY, 1 << 31, b"text")]
        data = b"".join(link.HEADER.pack(len(one.payload), one.kind, one.end) + one.payload for one in sent)
        came = []
        for at in range(len(data)):
            os.write(liar.writing, data[at : at + 1])
            assert runtime.receive()
            while (frame := runtime.next_frame()) is not None:
                came.append(frame)
        assert came == sent


async def test_an_empty_link_is_no_end_and_a_closed_one_is() -> None:
    async with lying_pool() as (pool, zygote, _):
        runtime, liar = start(pool, zygote)
        assert runtime.receive()
        assert runtime.next_frame() is None
        liar.hang_up()
        assert not runtime.receive()
        assert runtime.next_frame() is None


# What is sent to a runtime


async def test_what_a_pipe_does_not_take_is_sent_later_in_order_and_counts_until_then() -> None:
    async with lying_pool() as (pool, zygote, _):
        runtime, liar = start(pool, zygote)
        sent = [b"%d" % number * 50_000 for number in range(6)]
        for payload in sent:
            runtime.send(link.SETTLE, payload)
        assert sum(map(len, sent[1:])) > runtime.unread > sum(map(len, sent[2:]))
        heard = liar.hear()
        while len(heard) < 1 + len(sent):
            await trio.testing.wait_all_tasks_blocked()
            heard += liar.hear()
        assert heard[1:] == [(link.SETTLE, payload) for payload in sent]
        assert runtime.unread == 0
        runtime.send(link.SETTLE, b"once more")
        assert liar.hear() == [(link.SETTLE, b"once more")]
        assert runtime.unread == 0


async def test_a_runtime_that_is_gone_takes_whatever_it_is_sent() -> None:
    async with lying_pool() as (pool, zygote, failures):
        runtime, liar = start(pool, zygote)
        runtime.send(link.SETTLE, bytes(200_000))
        assert runtime.unread > 0
        liar.hang_up()
        with trio.fail_after(10):
            while runtime.unread:
                await trio.testing.wait_all_tasks_blocked()
        runtime.send(link.FLUSHED)
        assert (runtime.unread, failures) == (0, [])


async def test_letting_go_of_a_runtime_drops_what_it_has_not_taken_and_keeps_no_descriptor() -> None:
    before = list_descriptors().keys()
    async with lying_pool() as (pool, zygote, _):
        held = list_descriptors().keys()
        runtime, liar = start(pool, zygote)
        runtime.send(link.SETTLE, bytes(200_000))
        await trio.testing.wait_all_tasks_blocked()
        runtime.close()
        runtime.close()
        assert runtime.unread == 0
        liar.end()
        await runtime.exited.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert list_descriptors().keys() == held
    assert list_descriptors().keys() == before


async def test_a_kill_is_asked_for_once_and_of_what_has_ended_never() -> None:
    async with lying_pool() as (pool, zygote, _):
        runtime, liar = start(pool, zygote)
        runtime.kill()
        runtime.kill()
        other, ended = start(pool, zygote)
        ended.end()
        await other.exited.wait()
        other.kill()
        zygote.listen()
        assert zygote.kills == [runtime.serial]
        assert other.exit == RuntimeExit(0)
        liar.end(signal.SIGKILL, asked=True, cpu=1_500_000)
        await runtime.exited.wait()
        assert runtime.exit == RuntimeExit(-signal.SIGKILL, cpu_time=1.5, asked=True)


# A runtime that does not leave


async def test_a_runtime_that_ignores_the_end_of_its_link_is_killed_a_little_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with lying_pool() as (pool, zygote, _):
        runtimes = [start(pool, zygote)[0] for _ in range(3)]
        for runtime in runtimes:
            runtime.close()
        await trio.sleep(LEAVE_SECONDS - 0.1)
        zygote.listen()
        assert zygote.kills == []
        await trio.sleep(0.2)
        zygote.listen()
        assert zygote.kills == [runtime.serial for runtime in runtimes]
        zygote.liars[runtimes[0].serial].end(signal.SIGKILL, asked=True)
        late, _ = start(pool, zygote)
        late.close()
        await trio.sleep(LEAVE_SECONDS + 0.1)
        zygote.listen()
        assert zygote.kills[3:] == [late.serial]


async def test_a_runtime_that_leaves_in_time_is_not_killed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with lying_pool() as (pool, zygote, _):
        runtime, liar = start(pool, zygote)
        runtime.close()
        liar.end()
        await runtime.exited.wait()
        await trio.sleep(2 * LEAVE_SECONDS)
        zygote.listen()
        assert zygote.kills == []


async def test_the_end_of_a_runtime_is_told_to_whoever_waits_for_it() -> None:
    async with lying_pool() as (pool, zygote, _):
        runtime, liar = start(pool, zygote)
        told = []
        runtime.on_end = lambda: told.append(runtime.exit)
        liar.end(7 << 8)
        await runtime.exited.wait()
        assert told == [RuntimeExit(7)]
