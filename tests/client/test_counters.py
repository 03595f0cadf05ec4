"""What a provider counts, on real hosts."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import anyio
import msgspec
import pytest
from msgspec import Raw

from codemode_client import CodeModeProvider, Session
from codemode_client.counters import Counters
from codemode_host.supervision import memory_limit_text
from codemode_protocol.errors import (
    HostLostError,
    HostStartError,
    RequestFailedError,
    RequestTooLargeError,
    StaleCellError,
    ToolError,
)
from codemode_protocol.limits import MIB, Limits, limit_named_in
from codemode_protocol.values import ExecuteRequest, Result, ToolInvocation, WaitRequest
from tests.client.host_process import kill_host
from tests.client.recorder import Recorder, define_tool, forever

# The loops differ below sessions, where others prove it on each.
pytestmark = pytest.mark.loops("asyncio")

OWN_HOST = pytest.mark.skipif("CODEMODE_TEST_HOST" in os.environ, reason="its limits are told by our own host's texts")
FOREVER = ExecuteRequest("call", [], "await new Promise(() => {})", 0)


def check_sums(counters: Counters) -> None:
    """What is started is live, or has ended in one of the ways that there are."""
    ends = (
        counters.cells_completed,
        counters.cells_failed,
        counters.cells_limited,
        counters.cells_terminated,
        counters.cells_lost,
    )
    assert counters.cells_started == counters.cells_live + sum(ends)
    answers = (counters.tool_calls_succeeded, counters.tool_calls_failed, counters.tool_calls_cancelled)
    assert counters.tool_calls == counters.tool_calls_running + sum(answers)


def test_a_new_provider_has_counted_nothing() -> None:
    counters = CodeModeProvider().counters
    numbers = msgspec.to_builtins(counters)
    assert {value for value in numbers.values() if not isinstance(value, dict)} == {0}
    assert counters.hosts_ended == counters.limits_met == {}


async def test_each_cell_is_counted_by_the_way_it_ended(host_command: list[str]) -> None:
    recorder = Recorder()
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        await session.run("text(1); text(2); notify('n')")
        await session.run("throw new Error('no')")
        cell = await session.execute(FOREVER)
        assert provider.counters.cells_live == 1
        await session.terminate(cell.cell_id)
        await recorder.until(lambda: len(recorder.closed) == 3)
        counters = provider.counters
        assert counters.cells_live == 0
        assert (counters.cells_completed, counters.cells_failed, counters.cells_terminated) == (1, 1, 1)
        assert (counters.output_items, counters.notifications) == (2, 1)
        # One that nobody ends is ended by the session.
        await session.execute(FOREVER)
    counters = provider.counters
    assert (counters.cells_terminated, counters.cells_live) == (2, 0)
    assert (counters.hosts_started, counters.hosts_ready, counters.respawns) == (1, 1, 0)
    assert counters.hosts_ended == {"closed": 1}
    assert counters.sessions_opened == 1
    check_sums(counters)


async def test_each_call_is_counted_by_what_came_of_it(host_command: list[str]) -> None:
    async def refuse(_: ToolInvocation) -> Raw:
        raise ToolError("no")

    async def crash(_: ToolInvocation) -> Raw:
        raise ValueError("no")

    async def answer_nonsense(_: ToolInvocation) -> Raw:
        return Raw(b"{")

    recorder = Recorder(refuse=refuse, crash=crash, nonsense=answer_nonsense, hang=forever)
    names = ["good", *recorder.tools]
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        source = "void tools.hang(); await tools.good(); " + "".join(
            f"await tools.{name}().catch(() => {{}}); " for name in ("refuse", "crash", "nonsense")
        )
        response = await session.run(source, [define_tool(name) for name in names])
        assert isinstance(response, Result)
        assert response.error_text is None
        await recorder.until(lambda: recorder.closed)
        counters = provider.counters
    assert counters.tool_calls == 5
    assert counters.tool_calls_running == 0
    assert (counters.tool_calls_succeeded, counters.tool_calls_failed, counters.tool_calls_cancelled) == (1, 3, 1)
    check_sums(counters)


async def test_a_lost_host_its_cells_and_the_one_after_it_are_counted(host_command: list[str]) -> None:
    recorder = Recorder()
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        cell = await session.execute(FOREVER)
        await cell.initial_response()
        kill_host(provider)
        with pytest.raises((HostLostError, StaleCellError)):
            await session.wait(WaitRequest(cell.cell_id, 60_000))
        await session.run("")
        with pytest.raises(StaleCellError):
            await session.terminate(cell.cell_id)
        counters = provider.counters
    assert counters.hosts_ended == {"SIGKILL": 1}
    assert (counters.hosts_started, counters.hosts_ready, counters.respawns) == (2, 2, 1)
    assert (counters.sessions_opened, counters.sessions_rebound) == (1, 1)
    assert counters.cells_lost == 1
    assert counters.stale_cells_refused >= 1
    check_sums(counters)


@pytest.mark.parametrize(
    ("mode", "way"),
    [
        ("dies-at-start", "exit_3"),
        ("silent", "handshake_timeout"),
        ("rejects-version", "rejected"),
        ("garbage", "protocol_violation"),
    ],
)
async def test_the_way_a_host_ended_has_a_name(misbehaving: Callable[[str], list[str]], mode: str, way: str) -> None:
    seconds = 0.05 if mode == "silent" else 10
    async with CodeModeProvider(misbehaving(mode), handshake_timeout=seconds) as provider:
        with pytest.raises(HostStartError):
            await provider.open_session(Recorder())
        assert provider.counters.hosts_ended == {way: 1}


async def test_a_program_that_cannot_be_run_is_a_host_that_did_not_start() -> None:
    async with CodeModeProvider(["/does/not/exist"]) as provider:
        with pytest.raises(HostStartError):
            await provider.open_session(Recorder())
        counters = provider.counters
    assert (counters.hosts_started, counters.hosts_ready) == (1, 0)
    assert counters.hosts_ended == {"not_spawned": 1}


@pytest.mark.loops("asyncio", "trio")
async def test_a_cell_whose_caller_was_cancelled_is_counted_as_abandoned(host_command: list[str]) -> None:
    recorder = Recorder()
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(session.run, "notify('here'); await new Promise(() => {})")
            await recorder.until(lambda: recorder.notifications)
            nursery.cancel_scope.cancel()
        await recorder.until(lambda: recorder.closed)
        counters = provider.counters
    assert (counters.cells_abandoned, counters.cells_terminated) == (1, 1)


async def test_counters_are_read_by_another_thread_while_cells_run(host_command: list[str]) -> None:
    over = threading.Event()
    seen: list[Counters] = []
    recorder = Recorder()
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:

        def look() -> None:
            while not over.is_set():
                seen.append(provider.counters)

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(anyio.to_thread.run_sync, look)
            for _ in range(5):
                await session.run("await Promise.all([tools.echo(), tools.echo()])", [define_tool("echo")])
            over.set()
    for counters in seen:
        assert counters.cells_live >= 0
        assert counters.tool_calls_running >= 0
    assert provider.counters.cells_completed == 5
    assert provider.counters.tool_calls_succeeded == 10


# Limits


@OWN_HOST
async def test_limits_are_counted_by_their_names(host_command: list[str]) -> None:
    flags = ("--memory-mib", "8", "--cells-per-session", "1", "--source-mib", "1", "--stored-values", "1")
    recorder = Recorder()
    async with (
        CodeModeProvider([*host_command, *flags], max_frame_bytes=3 * MIB) as provider,
        provider.session(recorder) as session,
    ):

        async def met(source: str) -> None:
            response = await session.run(source)
            assert isinstance(response, Result)
            assert response.error_text is not None

        async def refused(session: Session, source: str, error: type[Exception]) -> None:
            with pytest.raises(error):
                await session.execute(ExecuteRequest("call", [], source))

        await met("const all = []; for (;;) all.push(new Array(10000).fill(0.5))")
        await met("store('a', 1); store('b', 2)")
        await met("store('a', 1); store('b', 2); throw new Error('and this')")
        await refused(session, " " * (MIB + 1), RequestFailedError)
        await refused(session, " " * 4 * MIB, RequestTooLargeError)
        cell = await session.execute(FOREVER)
        await refused(session, "", RequestFailedError)
        await session.terminate(cell.cell_id)
        counters = provider.counters
        assert counters.limits_met == {
            "memory_bytes": 1,
            "stored_values": 2,
            "source_bytes": 1,
            "frame_bytes": 1,
            "cells_per_session": 1,
        }
        assert counters.cells_limited == 3
        check_sums(counters)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (memory_limit_text(Limits()), "memory_bytes"),
        (memory_limit_text(Limits(memory_bytes=None)), "memory_bytes"),
        ("cell exceeded its processor time limit of 1 s", "cpu_seconds"),
        ("cell left more than 256 MiB of answers to its tool calls unread", "answer_bytes"),
        ("a text or an image takes more than 25165824 bytes", "item_bytes"),
        ("a text or an image takes more than 46137344 bytes as JSON", "item_bytes"),
        ("a notification takes more than 46137344 bytes as JSON", "item_bytes"),
        ("the machine ran out of memory, and its kernel stopped the cell", "machine_memory"),
        ("no process could be started for the cell: fork: Resource temporarily unavailable", "processes"),
        ("no process can be started for the cell: Too many open files", "processes"),
        ("the host has 1000 cells already, as many as it may have", "cells"),
        ("Error: x\n@exec:1:1\nnothing was stored: the session's values would take more than 64 MiB", "stored_bytes"),
        ("Error: cell exceeded its memory limit of 512 MiB", None),
        ("cell exceeded its memory limit of 512 MiB" + "!" * 10_000, None),
        ("ReferenceError: x is not defined", None),
        ("", None),
    ],
)
def test_a_limit_is_told_by_the_text_of_its_error(text: str, name: str | None) -> None:
    assert limit_named_in(text) == name
