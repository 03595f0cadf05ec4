"""Many cells, many calls, large frames."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest
from msgspec import Raw

from codemode_client import CodeModeProvider
from codemode_protocol.errors import RequestFailedError, RequestTooLargeError
from codemode_protocol.values import ExecuteRequest, InputText, Result, ToolInvocation, Yielded
from tests.client.host_process import require_host_pid
from tests.client.recorder import Recorder, define_tool

MEBIBYTE = 1024 * 1024


@pytest.mark.loops("asyncio")  # it is the host that this is about
async def test_two_hundred_cells_live_at_once_all_end(host_command: list[str]) -> None:
    release = anyio.Event()

    async def gate(_: ToolInvocation) -> Raw:
        await release.wait()
        return Raw(b"1")

    recorder = Recorder(gate=gate)
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        results: list[str | None] = []

        async def run() -> None:
            response = await session.run("text(await tools.gate())", [define_tool("gate")])
            assert isinstance(response, Result)
            results.append(response.error_text)

        async with anyio.create_task_group() as nursery:
            for _ in range(200):
                nursery.start_soon(run)
            await recorder.until(lambda: len(recorder.calls) == 200)
            release.set()
        assert results == [None] * 200
        await recorder.until(lambda: len(recorder.closed) == 200)
    assert recorder.errors == []


async def test_ten_thousand_calls_in_flight_at_once_all_come_back(own_host_command: list[str]) -> None:
    # The reference host ends over so many.
    release = anyio.Event()
    waiting = 0

    async def gate(invocation: ToolInvocation) -> Raw:
        nonlocal waiting
        waiting += 1
        if waiting == 10_000:
            release.set()
        await release.wait()
        return invocation.input

    async with CodeModeProvider(own_host_command) as provider, provider.session(Recorder(gate=gate)) as session:
        response = await session.run(
            "const all = await Promise.all(Array.from({length: 10000}, (_, index) => tools.gate(index)));"
            "text(all.every((value, index) => value === index))",
            [define_tool("gate")],
        )
    assert response.content_items == [InputText("true")]


async def test_twenty_megabytes_of_output_arrive_whole(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        response = await session.run("for (let i = 0; i < 20; i++) text(String(i % 10).repeat(1e6))")
    assert [item.text for item in response.content_items if isinstance(item, InputText)] == [
        str(index % 10) * 1_000_000 for index in range(20)
    ]


async def test_large_inputs_and_results_of_tools_pass_both_ways_at_once(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        response = await session.run(
            "const big = 'x'.repeat(2e6);"
            "const all = await Promise.all(Array.from({length: 8}, () => tools.echo(big)));"
            "text(all.every(value => value === big))",
            [define_tool("echo")],
        )
    assert response.content_items == [InputText("true")]


async def test_a_source_that_does_not_fit_in_a_frame_fails_alone(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        started = await session.execute(ExecuteRequest("call", [], "yield_control(); text('still here')"))
        assert isinstance(await started.initial_response(), Yielded | Result)
        with pytest.raises(RequestTooLargeError, match="67108864"):
            await session.execute(ExecuteRequest("call", [], "x" * (64 * MEBIBYTE)))
        assert isinstance(await session.run("text(1)"), Result)


async def test_a_tool_result_that_does_not_fit_in_a_frame_is_a_rejection(host_command: list[str]) -> None:
    async def big(_: ToolInvocation) -> Raw:
        return Raw(b'"%s"' % (b"x" * (64 * MEBIBYTE)))

    async with CodeModeProvider(host_command) as provider, provider.session(Recorder(big=big)) as session:
        response = await session.run("try { await tools.big() } catch (e) { text(String(e)) }", [define_tool("big")])
        (item,) = response.content_items
        assert isinstance(item, InputText)
        assert "exceeds" in item.text
        assert isinstance(await session.run("text(1)"), Result)


@pytest.mark.loops("asyncio")  # it is the host that this is about
async def test_three_hundred_cells_one_after_the_other_are_all_reported(host_command: list[str]) -> None:
    recorder = Recorder()
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
        for _ in range(300):
            await session.run("text(1)")
        await recorder.until(lambda: len(recorder.closed) == 300)
        assert provider.open_count == 1  # the session
        assert provider.counters.cells_live == 0


@pytest.mark.loops("asyncio")  # it is the host that this is about
async def test_output_that_does_not_fit_in_a_frame_is_an_error_and_the_session_goes_on(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        try:
            response = await session.run("text('x'.repeat(65 * 1024 * 1024))")
        except RequestFailedError as error:  # what the reference host makes of it
            assert "exceeds the IPC frame limit" in str(error)  # noqa: PT017 one host raises, the other does not
        else:
            assert isinstance(response, Result)
            assert response.error_text == "a text or an image takes more than 25165824 bytes"
        response = await session.run("text(1)")
        assert response.content_items == [InputText("1")]
        assert session.generation == 1


@pytest.mark.soak
@pytest.mark.time_limit(600)
async def test_five_thousand_cells_leave_memory_flat_on_both_sides(host_command: list[str]) -> None:
    recorder = Recorder()
    async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:

        async def run(cells: int) -> None:
            for _ in range(cells):
                # What the test itself remembers is not what is measured.
                recorder.calls.clear()
                recorder.closed.clear()
                recorder.running.clear()
                await session.run("text(await tools.echo('x'.repeat(10000)))", [define_tool("echo")])

        await run(1000)
        host = require_host_pid(provider)
        before = [resident_bytes(os.getpid()), resident_bytes(host)]
        await run(4000)
        after = [resident_bytes(os.getpid()), resident_bytes(host)]
        assert provider.open_count == 1  # the session
    grown = [later - earlier for earlier, later in zip(before, after, strict=True)]
    assert max(grown) < 8 * MEBIBYTE, f"grown by {grown} bytes (client, host)"


def resident_bytes(pid: int) -> int:
    """What a process has in memory."""
    return int(Path("/proc", str(pid), "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
