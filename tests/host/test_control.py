"""What a host that is asked from outside says of itself and its cells."""

from __future__ import annotations

import os
import socket

from msgspec import Raw

from codemode_client.hosts import (
    report,
)
from codemode_protocol.control import EndCells, ListCells, encode
from codemode_protocol.messages import DelegateRequest, DelegateResponse, InvokeTool, Success, ToolResult
from tests.host.controlled import ENDLESS, find_socket, wait_for_cell
from tests.host.program import run_program, wait_until


async def test_each_state_is_told_and_what_is_waited_for(folder: str) -> None:
    async with run_program("--control", folder, "--output-mib", "2") as host:
        await host.open()
        for source, state, waits in (
            ("while (true) {}", "running", ()),
            ("await Promise.all([tools.a({}), tools.b({}), tools.a({})])", "waiting", ("calls",)),
            ("await new Promise((done) => setTimeout(done, 1e6))", "waiting", ("timer",)),
            ("setTimeout(() => {}, 1e6); await tools.a({})", "waiting", ("calls", "timer")),
            (ENDLESS, "waiting", ("nothing",)),
            ("for (;;) text('x'.repeat(1e5))", "paused", ("output",)),
            ("notify('on my way')", "draining", ("notifications",)),
            ("text('done')", "finished", ()),
        ):
            _, number = await host.start(source, "s", "a", "b", yield_ms=0)
            cell = await wait_for_cell(await find_socket(folder, host.pid), number, state, *waits)
            assert (cell.session_id, cell.cell_id, cell.call_id) == ("s", number, "call")
            assert (cell.finished_ms is not None) == (state == "finished")
            assert cell.notifications == (state == "draining")
            assert (cell.output_bytes > 2_000_000) == (state == "paused")
            if number == "2":
                assert [(calls.tool, calls.count) for calls in cell.calls] == [("a", 2), ("b", 1)]
                assert all(0 <= calls.oldest_ms <= cell.age_ms for calls in cell.calls)


async def test_the_facts_are_those_of_the_process(folder: str) -> None:
    async with run_program("--control", folder, "--memory-mib", "200") as host:
        await host.open()
        await host.open("t")
        _, number = await host.start(f"globalThis.kept = new Uint8Array(5e7).fill(1); {ENDLESS}", yield_ms=60_000)
        where = await find_socket(folder, host.pid)
        cell = await wait_for_cell(where, number, "waiting", "nothing")
        assert cell.pid in host.runtimes()
        assert cell.memory_bytes is not None
        assert cell.resident_bytes is not None
        assert 4.9e7 <= cell.memory_bytes < 1e8  # less what its start had filled and it needs no more
        assert cell.resident_bytes > cell.memory_bytes
        assert cell.observed
        _, looping = await host.start("for (;;) {}", "t", yield_ms=0)
        await wait_until(lambda: (report(where).cells[1].cpu_ms or 0) >= 30)
        known = report(where)
        assert [(one.session_id, one.cell_id, one.observed) for one in known.cells] == [
            ("s", number, True),
            ("t", looping, False),
        ]
        assert (known.pid, known.client_pid, known.sessions) == (host.pid, os.getpid(), 2)
        assert known.memory_limit_bytes == 200 << 20
        assert known.age_ms >= known.cells[0].age_ms >= known.cells[1].age_ms


async def test_many_calls_and_long_names_are_told_in_few_words(folder: str) -> None:
    async with run_program("--control", folder) as host:
        await host.open("s" * 5_000)
        names = [f"{'n' * 300}{number}" for number in range(30)]
        source = "await Promise.all(ALL_TOOLS.flatMap(({ name }) => [1, 2].map(() => tools[name]({}))))"
        _, number = await host.start(source, "s" * 5_000, *names, yield_ms=0)
        where = await find_socket(folder, host.pid)
        await wait_until(lambda: [calls.count for calls in report(where).cells[0].calls] == [2] * 20)
        cell = await wait_for_cell(where, number, "waiting", "calls")
        assert len(cell.session_id) == 1000
        assert [(len(calls.tool), calls.count) for calls in cell.calls] == [(200, 2)] * 20


async def test_nothing_that_a_script_a_tool_or_a_caller_wrote_is_told_but_names(folder: str) -> None:
    async with run_program("--control", folder) as host:
        await host.open()
        source = (
            "/* s3cr3t */ text('s3cr' + '3t'); store('s3cr' + '3t', 's3cr' + '3t'); notify('s3cr' + '3t');"
            " const answer = await tools.a({ s3cr3t: 1 }); text(answer); await tools.b({ s3cr3t: 1 })"
        )
        number, cell = await host.start(source, "s", "a", "b", yield_ms=0)
        await host.first(number)
        call = await host.receive(lambda message: isinstance(message, DelegateRequest) and is_call_of(message, "a"))
        assert isinstance(call, DelegateRequest)
        answer = DelegateResponse(call.id, Success(ToolResult(Raw(b'"s3cr3t"'))))
        await host.stdin.send_all(host.connection.send(answer))
        where = await find_socket(folder, host.pid)
        await wait_for_cell(where, cell, "waiting", "calls")
        await wait_until(lambda: [calls.tool for calls in report(where).cells[0].calls] == ["b"])
        told = b""
        for request in (ListCells(), EndCells("s", "7"), EndCells("s", cell)):
            told = b""
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(f"{folder}/{where.name}")
                connection.sendall(encode(request) + b"\n")
                while data := connection.recv(1 << 16):
                    told += data
            assert told.startswith(b'{"type":')
            assert b"s3cr3t" not in told
        assert b'"how":"terminated"' in told
    assert b"s3cr3t" not in host.stderr


def is_call_of(message: DelegateRequest, tool: str) -> bool:
    return isinstance(message.request, InvokeTool) and message.request.invocation.tool_name.name == tool
