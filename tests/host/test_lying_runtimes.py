"""Cells whose runtimes lie: what is no call, no output and no end is a panic, and nothing of it is passed on."""

from __future__ import annotations

import os
import resource
import signal

import msgspec
import pytest
import trio
import trio.testing

from codemode_host.cells.answers import CellRequestError
from codemode_host.cells.cell_states import CellState
from codemode_host.cells.session import ENGINE_PANIC, MAX_YIELD_TIME_MS, Cell, CellSession
from codemode_host.runtimes import link
from codemode_protocol.exit_status import HostExitStatus
from codemode_protocol.limits import MAX_ITEM_JSON_BYTES, MAX_JSON_DEPTH, Limits
from codemode_protocol.values import (
    ExecuteRequest,
    LiveCell,
    MissingCell,
    Outcome,
    Terminated,
    Yielded,
)
from tests.host.program import define_tool
from tests.host.stage import Stage, settle, stage
from tests.processes import list_descriptors

NEVER: list[object] = []
"""What those are told whose cell is refused: nothing."""

DONE = b'{"error":null,"stored":{}}'


async def check_panic(on_stage: Stage, cell: Cell, cause: str) -> None:
    """The cell is lost, its process killed, and the failure reported with what it was."""
    await settle()
    (failure,) = on_stage.owner.failures
    assert failure.cause.startswith(f"a runtime broke the link's rules: {cause}")
    assert (failure.status, failure.session_id, failure.cell_id) == (HostExitStatus.ENGINE_PANIC, "s", cell.id)
    assert on_stage.killed() == [cell.runtime.serial]
    assert cell.runtime.closed
    assert on_stage.result.error_text == ENGINE_PANIC
    assert cell.state is CellState.CLOSED
    assert on_stage.heard.closed == [cell.id]


async def test_a_runtime_that_tells_the_truth_is_believed() -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start()
        liar.say(link.CALL, b'1 1 {"a":1}', liar.writer.text("before"))
        liar.say(link.NOTIFY, "é".encode())
        await settle()
        ((call, invocation),) = on_stage.heard.calls
        assert (invocation.cell_id, invocation.runtime_tool_call_id, invocation.tool_name.name) == (
            "1",
            "tool-1",
            "tool1",
        )
        assert bytes(invocation.input) == b'{"a":1}'
        call.resolve(msgspec.Raw(b"7"))
        assert liar.hear() == [(link.SETTLE, b"[[1,true,7]]")]
        liar.say(link.DONE, b'{"error":"mine","stored":{"k":"1"}}', liar.writer.text("after"))
        await settle()
        assert on_stage.answers == []  # a notification is still under way
        on_stage.heard.notes[0][0].delivered()
        assert (on_stage.result.error_text, on_stage.texts()) == ("mine", ["before", "after"])
        assert on_stage.session.stored.as_json == b'{"k":"1"}'
        assert (on_stage.owner.failures, on_stage.killed(), cell.state) == ([], [], CellState.CLOSED)


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"1", b"1 0", b"1  0 {}", b"one 0 {}", b"1 two {}", b"1 2 {}", b"1 -1 {}", b"-1 0 {}", b"+1 0 {}"),
        *(
            b"1_0 0 {}",
            b"1 0_0 {}",
            b" 1 0 {}",
            b"1 0 ",
            b"1 0 {",
            b"1 0 {} {}",
            b"1 0 \xff",
            b'1 0 "\xff"',
            b"1\n 0 {}",
        ),
        "١ 0 {}".encode(),
        b"1 99999999999999999999 {}",
    ],
)
async def test_what_is_no_tool_call_is_a_panic_and_nobody_is_called(payload: bytes) -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start()
        liar.say(link.CALL, payload)
        await check_panic(on_stage, cell, "a malformed tool call")
        assert on_stage.heard.calls == []


async def test_without_tools_there_is_none_to_call() -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start(tools=0)
        liar.say(link.CALL, b"1 0 {}")
        await check_panic(on_stage, cell, "a malformed tool call")


@pytest.mark.parametrize("depth", [MAX_JSON_DEPTH, MAX_JSON_DEPTH + 1])
async def test_arguments_nested_deeper_than_a_client_can_read_are_refused_and_others_are_not(depth: int) -> None:
    async with stage() as on_stage:
        _, liar = on_stage.start()
        liar.say(link.CALL, b"1 0 " + b"[" * depth + b"]" * depth)
        await settle()
        assert on_stage.owner.failures == []
        if depth > MAX_JSON_DEPTH:
            ((kind, payload),) = liar.hear()
            assert kind == link.SETTLE
            assert b"[[1,false," in payload
            assert b"levels deep" in payload
            assert on_stage.heard.calls == []
        else:
            assert len(on_stage.heard.calls) == 1


async def test_a_notification_that_is_no_text_is_a_panic() -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start()
        liar.say(link.NOTIFY, b"\xff")
        await check_panic(on_stage, cell, "a malformed notification")
        assert on_stage.heard.notes == []


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"{", b"null", b"{}", b'{"error":null}', b'{"stored":{}}', b'{"error":1,"stored":{}}'),
        *(b'{"error":null,"stored":{"k":1}}', b'{"error":null,"stored":[]}', b'{"error":null,"stored":{},"more":1}'),
        *(b'{"error":"\xff","stored":{}}', b"[" * 100_000 + b"]" * 100_000),
    ],
)
async def test_what_is_no_end_is_a_panic_and_stores_nothing(payload: bytes) -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start()
        await liar.say_at_length(link.DONE, payload)
        await check_panic(on_stage, cell, "a malformed end")
        assert on_stage.session.stored.as_json == b"{}"


@pytest.mark.parametrize(("more", "panic"), [(256, False), (257, True)])
async def test_an_error_text_that_is_longer_than_a_cell_cuts_it_is_a_panic(more: int, panic: bool) -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start()
        text = b"x" * (link.MAX_ERROR_TEXT + more)
        payload = b'{"error":"' + text + b'","stored":{}}'
        await liar.say_at_length(link.DONE, payload)
        if panic:
            await check_panic(on_stage, cell, f"an error text of {len(text)} characters")
        else:
            await settle()
            assert on_stage.result.error_text == text.decode()


@pytest.mark.parametrize("kind", [link.YIELD, link.FLUSH, link.DONE])
@pytest.mark.parametrize("end", [link.OUTPUT_BYTES + 4, link.OUTPUT_START + 2])
async def test_an_end_of_the_output_that_cannot_be_is_a_panic(kind: int, end: int) -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start()
        liar.say(kind, DONE if kind == link.DONE else b"", end)
        await check_panic(on_stage, cell, f"output memory written up to {end}")


async def test_a_record_that_nothing_can_be_made_of_is_a_panic_when_it_is_looked_at() -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start(yield_time_ms=0)
        liar.writer.text("before")
        liar.writer.record(7, b"")
        cell.observe(on_stage.answers.append, 0)
        await check_panic(on_stage, cell, "output record of unknown kind 7")
        assert len(on_stage.owner.failures) == 1


async def test_a_runtime_that_dies_after_such_a_panic_is_reported_once() -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start(yield_time_ms=0)
        liar.writer.record(7, b"")
        cell.observe(on_stage.answers.append, 0)
        liar.end(signal.SIGSEGV)
        await settle()
        assert len(on_stage.owner.failures) == 1
        assert len(on_stage.answers) == 2


@pytest.mark.parametrize("kind", [link.CALL, link.NOTIFY, link.YIELD, link.FLUSH, link.DONE])
async def test_a_frame_before_the_output_was_read_is_a_panic(kind: int) -> None:
    async with stage(Limits(spare_runtimes=0, output_bytes=1)) as on_stage:
        cell, liar = on_stage.start(yield_time_ms=0)
        liar.say(link.FLUSH, b"", liar.writer.text("full"))
        await settle()
        assert cell.output_full
        liar.say(kind)
        await settle()
        cell.observe(on_stage.answers.append, 60_000)
        await check_panic(on_stage, cell, f"a link frame of kind {kind}")
        assert on_stage.texts() == ["full"]


async def test_a_cell_that_is_being_terminated_is_terminated_whatever_its_runtime_says() -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start()
        answers: list[Outcome] = []
        on_stage.session.terminate(cell.id, answers.append)
        liar.say(link.CALL, b"1 0 {}")
        liar.say(link.DONE, DONE)
        liar.say(99)
        await settle()
        assert on_stage.heard.calls == []
        (outcome,) = answers
        assert isinstance(outcome, LiveCell)
        assert isinstance(outcome.response, Terminated)
        assert isinstance(on_stage.answers[0], Terminated)
        assert cell.state is CellState.CLOSED


# What does not begin


async def test_tools_of_one_name_in_javascript_refuse_the_cell_and_nothing_is_started() -> None:
    async with stage() as on_stage:
        for names in (["a-b", "a_b"], ["same", "same"]):
            with pytest.raises(CellRequestError, match=r"a_b|same"):
                on_stage.session.execute(
                    ExecuteRequest("call", [define_tool(name) for name in names], "1"), NEVER.append, NEVER.append
                )
        assert (len(on_stage.owner.pool.alive), on_stage.session.cells, on_stage.owner.cells) == (0, {}, 0)
        cell, _ = on_stage.start()
        assert cell.id == "1"
        assert NEVER == []


async def test_limits_refuse_a_cell_before_it_has_a_number() -> None:
    limits = Limits(spare_runtimes=0, source_bytes=1 << 20, cells_per_session=2, cells=3)
    async with stage(limits) as on_stage:
        request = ExecuteRequest("call", [], "é" * (1 << 19))
        on_stage.session.execute(request, lambda _: None, on_stage.answers.append)
        with pytest.raises(CellRequestError, match="the source takes 1048577 bytes, more than 1 MiB"):
            on_stage.session.execute(ExecuteRequest("call", [], request.source + "x"), NEVER.append, NEVER.append)
        on_stage.start()
        with pytest.raises(CellRequestError, match="session s has 2 cells already"):
            on_stage.start()
        other = CellSession("t", on_stage.owner, on_stage.heard)
        other.execute(ExecuteRequest("call", [], "1"), lambda _: None, on_stage.answers.append)
        with pytest.raises(CellRequestError, match="the host has 3 cells already"):
            other.execute(ExecuteRequest("call", [], "1"), NEVER.append, NEVER.append)
        assert sorted(on_stage.session.cells) == ["1", "2"]
        assert NEVER == []


async def test_a_machine_without_room_for_a_runtime_refuses_the_cell() -> None:
    async with stage() as on_stage:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, list_descriptors())) + 1, hard))
        fillers = []
        try:
            with pytest.raises(OSError, match="Too many open files"):
                while True:
                    fillers.append(os.dup(0))
            with pytest.raises(CellRequestError, match="no process can be started for the cell: Too many open files"):
                on_stage.session.execute(ExecuteRequest("call", [], "1"), NEVER.append, NEVER.append)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in fillers:
                os.close(fd)
        assert on_stage.session.cells == {}


# What ends a cell


async def test_answers_that_are_not_read_end_the_cell_once_its_process_is_gone() -> None:
    async with stage(Limits(spare_runtimes=0, answer_bytes=1)) as on_stage:
        cell, liar = on_stage.start()
        payload = b"x" * 100_000
        liar.say(link.CALL, b"1 0 {}")
        liar.say(link.CALL, b"2 0 {}")
        liar.say(link.CALL, b"3 0 {}")
        await settle()
        for call, _ in on_stage.heard.calls[:2]:
            call.reject(payload.decode())
        assert cell.state is CellState.FAILING
        assert on_stage.killed() == [cell.runtime.serial]
        assert on_stage.session.cells
        liar.end(signal.SIGKILL, asked=True)
        await settle()
        assert on_stage.result.error_text is not None
        assert "of answers to its tool calls unread" in on_stage.result.error_text
        assert on_stage.heard.cancelled == [on_stage.heard.calls[2][0]]


async def test_a_notification_that_would_not_fit_into_a_frame_ends_the_cell_and_is_not_sent() -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start()
        text = b"\0" * (MAX_ITEM_JSON_BYTES // 6 + 1)
        await liar.say_at_length(link.NOTIFY, text)
        await settle()
        assert on_stage.heard.notes == []
        assert cell.state is CellState.FAILING
        liar.end(signal.SIGKILL, asked=True)
        await settle()
        assert on_stage.result.error_text == f"a notification takes more than {MAX_ITEM_JSON_BYTES} bytes as JSON"
        assert on_stage.owner.failures == []


@pytest.mark.parametrize("status", [signal.SIGSEGV, signal.SIGKILL, 70 << 8, 0])
async def test_a_runtime_that_ends_without_a_word_is_a_panic_that_says_how(status: int) -> None:
    async with stage() as on_stage:
        _, liar = on_stage.start()
        liar.writer.text("before")
        liar.end(status, cpu=1_500_000)
        await settle()
        (failure,) = on_stage.owner.failures
        assert failure.cause.startswith("a runtime ended: ")
        assert failure.cause.endswith("processor time 1.50 s")
        assert (on_stage.result.error_text, on_stage.texts()) == (ENGINE_PANIC, ["before"])


async def test_a_runtime_that_could_not_be_forked_is_told_as_that() -> None:
    async with stage() as on_stage:
        _, liar = on_stage.start()
        on_stage.zygote.report(link.FORK_FAILED, liar.serial, 11)
        liar.hang_up()
        await settle()
        assert on_stage.result.error_text is not None
        assert "no process could be started" in on_stage.result.error_text
        assert on_stage.owner.failures == []


async def test_a_cell_that_is_ended_from_outside_keeps_what_it_wrote_for_the_next_who_asks() -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start(yield_time_ms=0)
        liar.say(link.CALL, b"1 0 {}", liar.writer.text("before"))
        await settle()
        assert cell.end()
        liar.end(signal.SIGKILL, asked=True)
        await settle()
        assert on_stage.heard.cancelled == [on_stage.heard.calls[0][0]]
        assert cell.state is CellState.COMPLETED
        cell.observe(on_stage.answers.append, 60_000)
        assert isinstance(on_stage.answers[-1], Terminated)
        assert on_stage.texts() == ["before"]
        assert on_stage.heard.closed == [cell.id]


async def test_of_a_cell_that_is_over_only_its_result_is_dropped_from_outside() -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start(yield_time_ms=0)
        liar.say(link.DONE, DONE)
        await settle()
        assert not cell.end()
        assert on_stage.heard.closed == [cell.id]
        assert on_stage.owner.cells == 0


async def test_a_result_whose_notifications_are_under_way_is_there_once_it_is_ended_from_outside() -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start()
        liar.say(link.NOTIFY, b"n")
        liar.say(link.DONE, DONE)
        await settle()
        assert cell.state is CellState.DELIVERING
        assert cell.end()
        assert isinstance(on_stage.answers[-1], Terminated)
        assert on_stage.heard.cancelled == [on_stage.heard.notes[0][0]]


# Who asks, and for how long


async def test_an_observer_that_was_forgotten_leaves_no_deadline_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start(yield_time_ms=100)
        await settle()
        cell.forget_observer()
        await trio.sleep(10)
        assert (on_stage.answers, cell.observed, cell.state) == ([], False, CellState.RUNNING)
        cell.observe(on_stage.answers.append, 100)
        liar.writer.text("late")
        await trio.sleep(10)
        assert isinstance(on_stage.answers[-1], Yielded)
        assert on_stage.texts() == ["late"]
        liar.say(link.DONE, DONE)
        await settle()
        assert cell.state is CellState.COMPLETED
        assert on_stage.owner.failures == []


@pytest.mark.parametrize(("asked", "seconds"), [(9_999, 9.999), (10_000, 11.0), (None, 11.0), (12_345, 13.345)])
async def test_an_observation_of_ten_seconds_or_more_lasts_one_longer(
    autojump_clock: trio.testing.MockClock, asked: int | None, seconds: float
) -> None:
    async with stage() as on_stage:
        cell, _ = on_stage.start(asked)
        for answers in (1, 2):
            begun = trio.current_time()
            while len(on_stage.answers) < answers:  # noqa: ASYNC110 - the clock jumps
                await trio.sleep(0.1)
            assert trio.current_time() - begun == pytest.approx(seconds, abs=0.2)
            if asked is None:
                return  # a wait always says how long
            on_stage.session.wait(cell.id, asked, lambda outcome: on_stage.answers.append(outcome.response))


async def test_an_observers_time_is_as_long_as_it_says(autojump_clock: trio.testing.MockClock) -> None:
    async with stage() as on_stage:
        cell, _ = on_stage.start(yield_time_ms=1500)
        await trio.sleep(1.4)
        assert on_stage.answers == []
        await trio.sleep(0.2)
        assert len(on_stage.answers) == 1
        cell.observe(on_stage.answers.append, 10**30)
        await trio.sleep(MAX_YIELD_TIME_MS / 1000 - 1)
        assert len(on_stage.answers) == 1
        await trio.sleep(2)
        assert len(on_stage.answers) == 2


async def test_a_cell_has_one_observer_at_a_time_and_one_who_terminates_it() -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start()
        with pytest.raises(CellRequestError, match="already has an active observer"):
            cell.observe(on_stage.answers.append, 0)
        answers: list[Outcome] = []
        on_stage.session.terminate(cell.id, answers.append)
        with pytest.raises(CellRequestError, match="already terminating"):
            on_stage.session.terminate(cell.id, answers.append)
        assert on_stage.session.wait(cell.id, 0, answers.append) is None
        assert isinstance(answers.pop(), MissingCell)
        liar.end(signal.SIGKILL, asked=True)
        await settle()
        assert isinstance(on_stage.answers[-1], Terminated)
        assert len(answers) == 1


async def test_a_yield_that_nobody_waits_for_answers_nobody() -> None:
    async with stage() as on_stage:
        cell, liar = on_stage.start(yield_time_ms=0)
        liar.say(link.YIELD, b"", liar.writer.text("first"))
        await settle()
        assert len(on_stage.answers) == 1
        cell.observe(on_stage.answers.append, 60_000)
        liar.say(link.YIELD, b"", liar.writer.text("second"))
        await settle()
        assert isinstance(on_stage.answers[-1], Yielded)
        assert on_stage.texts() == ["first", "second"]


async def test_a_session_that_is_shut_down_is_closed_when_the_last_of_its_cells_is() -> None:
    async with stage() as on_stage:
        closed: list[str] = []
        running, first = on_stage.start(yield_time_ms=0)
        over, second = on_stage.start(yield_time_ms=0)
        leaving, third = on_stage.start(yield_time_ms=0)
        second.say(link.DONE, DONE)
        await settle()
        on_stage.session.terminate(leaving.id, lambda _: None)
        on_stage.session.shutdown(lambda: closed.append("closed"))
        assert (over.state, closed) == (CellState.CLOSED, [])
        first.end(signal.SIGKILL, asked=True)
        await settle()
        assert (running.state, closed) == (CellState.CLOSED, [])
        third.end(signal.SIGKILL, asked=True)
        await settle()
        assert closed == ["closed"]
        assert on_stage.owner.cells == 0


async def test_a_dropped_cells_output_counts_no_more() -> None:
    mib = 1 << 20
    async with stage(Limits(spare_runtimes=0, output_bytes=8 * mib, total_output_bytes=5 * mib)) as on_stage:
        cells = [on_stage.start(yield_time_ms=0) for _ in range(2)]
        text = "x" * (mib - 1000)
        for cell, liar in cells:
            while not cell.output_full:
                liar.writer.at = link.OUTPUT_START
                liar.say(link.FLUSH, b"", liar.writer.text(text))
                await settle()
        dropped, other = cells
        dropped[0].terminate(None)
        dropped[1].end(signal.SIGKILL, asked=True)
        await settle()
        assert dropped[0].state is CellState.CLOSED
        assert not other[0].output_full
        assert (link.FLUSHED, b"") in other[1].hear()


async def test_a_cell_at_its_limit_of_calls_is_not_listened_to_until_one_is_answered() -> None:
    async with stage(Limits(spare_runtimes=0, calls=2)) as on_stage:
        cell, liar = on_stage.start()
        for number in range(1, 5):
            liar.say(link.CALL, b"%d 0 {}" % number)
        liar.say(link.DONE, DONE)
        await settle()
        assert len(on_stage.heard.calls) == 2
        on_stage.heard.calls[0][0].resolve(msgspec.Raw(b"1"))
        await settle()
        assert len(on_stage.heard.calls) == 3
        on_stage.heard.calls[0][0].resolve(msgspec.Raw(b"1"))
        await settle()
        assert len(on_stage.heard.calls) == 3
        for call, _ in on_stage.heard.calls[1:]:
            call.resolve(msgspec.Raw(b"1"))
        await settle()
        assert on_stage.result.error_text is None
        assert on_stage.heard.cancelled == [on_stage.heard.calls[3][0]]
        assert cell.state is CellState.CLOSED


async def test_a_cell_of_many_calls_waits_while_its_session_has_too_many_and_one_of_few_does_not() -> None:
    async with stage(Limits(spare_runtimes=0, calls_per_session=100)) as on_stage:
        _, many = on_stage.start()
        for number in range(1, 121):
            many.say(link.CALL, b"%d 0 {}" % number)
        await settle()
        calls = on_stage.heard.calls
        assert len(calls) == 100
        _, few = on_stage.start()
        for number in range(1, 11):
            few.say(link.CALL, b"%d 0 {}" % number)
        await settle()
        assert len(calls) == 110
        for call, _ in calls[50:60]:
            call.resolve(msgspec.Raw(b"1"))
        await settle()
        assert len(calls) == 110
        for call, _ in calls[60:65]:
            call.resolve(msgspec.Raw(b"1"))
        await settle()
        assert len(calls) == 115
        few.say(link.DONE, DONE)  # which cancels ten
        await settle()
        assert len(calls) == 125


async def test_a_crash_at_the_limit_of_calls_is_seen_at_once() -> None:
    async with stage(Limits(spare_runtimes=0, calls=1)) as on_stage:
        _, liar = on_stage.start()
        liar.say(link.CALL, b"1 0 {}")
        liar.say(link.CALL, b"2 0 {}")
        await settle()
        liar.end(signal.SIGSEGV)
        await settle()
        assert len(on_stage.owner.failures) == 1
        assert on_stage.result.error_text == ENGINE_PANIC
