"""Cells and hosts that are ended from outside: what becomes of them, and who is told."""

from __future__ import annotations

import os
import signal

import pytest
import trio

from codemode_client import hosts
from codemode_client.hosts import (
    CellNotFoundError,
    HostGoneError,
    HostSilentError,
    end_cells,
    end_host,
    report,
)
from codemode_protocol.messages import (
    DelegateCancel,
    DelegateRequest,
    OperationResponse,
    Terminate,
    Wait,
)
from codemode_protocol.values import Terminated, WaitRequest
from tests.host.controlled import ENDLESS, find_socket, make_request, wait_for_cell, wait_until_closed
from tests.host.program import read_texts, run_program, wait_until


@pytest.mark.parametrize(
    "source", ["text('one'); yield_control(); text('two'); while (true) {}", f"text('one'); {ENDLESS}"]
)
async def test_whoever_observes_a_cell_is_told_that_it_was_terminated(folder: str, source: str) -> None:
    async with run_program("--control", folder) as host:
        await host.open()
        number, cell = await host.start(source, yield_ms=60_000)
        where = await find_socket(folder, host.pid)
        if "yield_control" in source:
            assert read_texts(await host.first(number)) == ["one"]
            await host.stdin.send_all(host.connection.send(make_request(host, Wait("s", WaitRequest(cell, 60_000)))))
            await wait_until(lambda: (report(where).cells[0].cpu_ms or 0) >= 100)  # it loops
        else:
            await wait_for_cell(where, cell, "waiting", "nothing")
        await wait_until(lambda: report(where).cells[0].observed)
        (ended,) = end_cells(where, "s", cell).cells
        assert (ended.session_id, ended.cell_id, ended.how) == ("s", cell, "terminated")
        if "yield_control" in source:
            answer = await host.receive(lambda message: isinstance(message, OperationResponse))
            response = answer.result.value.outcome.outcome.response  # type: ignore[union-attr]
        else:
            response = await host.first(number)
        assert isinstance(response, Terminated)
        assert read_texts(response) == (["two"] if "yield_control" in source else ["one"])
        await wait_until_closed(host, cell)
        assert read_texts(await host.run("text('still here')")) == ["still here"]
    assert f"session s cell {cell}: ended from outside, by process {os.getpid()} of user" in host.stderr.decode()


async def test_an_observer_whose_time_is_over_while_the_cell_is_being_ended_hears_of_the_end(folder: str) -> None:
    async with run_program("--control", folder) as host:
        await host.open()
        _, cell = await host.start(ENDLESS, yield_ms=0)
        where = await find_socket(folder, host.pid)
        await wait_for_cell(where, cell, "waiting", "nothing")
        zygote = host.zygote
        os.kill(zygote, signal.SIGSTOP)  # which kills cells, and now does not
        await host.stdin.send_all(host.connection.send(make_request(host, Wait("s", WaitRequest(cell, 100)))))
        (ended,) = end_cells(where, "s", cell).cells  # has waited for much longer than that
        assert ended.how == "terminating"
        os.kill(zygote, signal.SIGCONT)
        answer = await host.receive(lambda message: isinstance(message, OperationResponse))
        assert isinstance(answer.result.value.outcome.outcome.response, Terminated)  # type: ignore[union-attr]
        await wait_until_closed(host, cell)


async def test_the_calls_of_a_cell_that_is_ended_are_cancelled(folder: str) -> None:
    async with run_program("--control", folder) as host:
        await host.open()
        _, cell = await host.start("await tools.a({})", "s", "a", yield_ms=0)
        call = await host.receive(lambda message: isinstance(message, DelegateRequest))
        assert isinstance(call, DelegateRequest)
        end_cells(await find_socket(folder, host.pid), "s", cell)
        await host.receive(lambda message: message == DelegateCancel(call.id))


@pytest.mark.parametrize("how", ["wait", "terminate"])
async def test_a_cell_that_nobody_observes_keeps_its_output_and_its_end_for_the_next_who_asks(
    folder: str, how: str
) -> None:
    async with run_program("--control", folder) as host:
        await host.open()
        _, loops = await host.start("text('one'); while (true) {}", yield_ms=0)
        _, drains = await host.start("text('one'); store('never', 1); notify('x')", yield_ms=0)
        where = await find_socket(folder, host.pid)
        await wait_for_cell(where, drains, "draining", "notifications")
        assert [end.how for end in end_cells(where, "s").cells] == ["terminated", "terminated"]
        for cell in (loops, drains):
            await wait_for_cell(where, cell, "finished")
            response = await (host.wait(cell) if how == "wait" else host.terminate(cell))
            assert isinstance(response, Terminated)
            assert read_texts(response) == ["one"]
            await wait_until_closed(host, cell)
        assert report(where).cells == []
        assert read_texts(await host.run("text(load('never') === undefined)")) == ["true"]


async def test_an_end_that_nobody_took_is_dropped(folder: str) -> None:
    async with run_program("--control", folder) as host:
        await host.open()
        _, cell = await host.start("text('x')", yield_ms=0)
        where = await find_socket(folder, host.pid)
        await wait_for_cell(where, cell, "finished")
        assert [end.how for end in end_cells(where, "s").cells] == ["dropped"]
        await wait_until_closed(host, cell)
        assert report(where).cells == []
        missing = await host.wait(cell)
        assert getattr(missing, "error_text", None) == f"exec cell {cell} not found"


async def test_a_session_whose_cells_are_ended_stays_open(folder: str) -> None:
    async with run_program("--control", folder) as host:
        await host.open()
        await host.open("t")
        assert (await host.run("store('kept', 5)")).error_text is None
        cells = [(await host.start("while (true) {}", yield_ms=60_000))[1] for _ in range(3)]
        _, other = await host.start(ENDLESS, "t", yield_ms=0)
        where = await find_socket(folder, host.pid)
        assert {(end.cell_id, end.how) for end in end_cells(where, "s").cells} == {
            (cell, "terminated") for cell in cells
        }
        assert [cell.cell_id for cell in report(where).cells] == [other]
        assert read_texts(await host.run("text(load('kept'))")) == ["5"]
        assert end_cells(where, "s").cells == []


async def test_what_is_not_there_cannot_be_ended(folder: str) -> None:
    async with run_program("--control", folder) as host:
        await host.open()
        where = await find_socket(folder, host.pid)
        with pytest.raises(CellNotFoundError, match="session s has no cell 7"):
            end_cells(where, "s", "7")
        with pytest.raises(CellNotFoundError, match="the host has no session t"):
            end_cells(where, "t")


async def test_a_cell_that_is_being_terminated_already_is_left_to_that(folder: str) -> None:
    async with run_program("--control", folder) as host:
        await host.open()
        _, cell = await host.start("while (true) {}", yield_ms=0)
        where = await find_socket(folder, host.pid)
        zygote = host.zygote
        os.kill(zygote, signal.SIGSTOP)
        try:
            await host.stdin.send_all(host.connection.send(make_request(host, Terminate("s", cell))))
            await wait_for_cell(where, cell, "terminating")
            assert [end.how for end in end_cells(where, "s", cell).cells] == ["terminating"]
        finally:
            os.kill(zygote, signal.SIGCONT)
        await wait_until_closed(host, cell)


async def test_a_host_is_ended_and_nothing_of_it_is_left(folder: str) -> None:
    async with run_program("--control", folder) as host:
        await host.open()
        await host.start("while (true) {}", yield_ms=0)
        where = await find_socket(folder, host.pid)
        await wait_until(lambda: len(host.runtimes()) >= 2)
        host.remember_family()
        assert await trio.to_thread.run_sync(end_host, where) == "terminated"
        assert await host.ended() == -signal.SIGTERM
        await wait_until(lambda: not host.left(), 2)
        assert os.listdir(folder) == []
        with pytest.raises(HostGoneError):
            end_host(where)


async def test_a_host_that_stands_still_is_said_to_and_is_killed(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(hosts, "TERMINATE_SECONDS", 0.2)
    async with run_program("--control", folder) as host:
        where = await find_socket(folder, host.pid)
        os.kill(host.pid, signal.SIGSTOP)
        with pytest.raises(HostSilentError, match=r"does not answer within 0.2 s: is it stopped\?"):
            report(where)
        assert await trio.to_thread.run_sync(end_host, where) == "killed"
        assert await host.ended() == -signal.SIGKILL
