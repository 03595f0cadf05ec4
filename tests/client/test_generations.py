"""A logical session survives its host; its cells do not."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable

import anyio
import pytest
from msgspec import Raw

from codemode_client import CodeModeProvider, Session, StartedCell
from codemode_protocol.errors import HostLostError, HostStartError, SessionClosedError, StaleCellError
from codemode_protocol.messages import Execute, OpenSession, ShutdownSession, Terminate, Wait
from codemode_protocol.values import ExecuteRequest, LiveCell, MissingCell, ToolInvocation, WaitRequest
from tests.client.puppet import Puppet, Puppets, missing, open_puppets, result, terminated, yielded
from tests.client.recorder import Recorder, forever

CELL = ExecuteRequest("call", [], "")


async def _open(
    provider: CodeModeProvider, hosts: Puppets, recorder: Recorder, name: str = "s"
) -> tuple[Session, Puppet]:
    sessions: list[Session] = []
    async with anyio.create_task_group() as nursery:

        async def open_session() -> None:
            sessions.append(await provider.open_session(recorder, name))

        nursery.start_soon(open_session)
        host = await hosts.next()
        await host.open_session()
    return sessions[0], host


async def _start(session: Session, host: Puppet, cell_id: str) -> StartedCell:
    cells: list[StartedCell] = []
    async with anyio.create_task_group() as nursery:

        async def execute() -> None:
            cells.append(await session.execute(CELL))

        nursery.start_soon(execute)
        request = await host.start_cell(cell_id)
        await host.initial(request, yielded(cell_id))
    return cells[0]


async def _lose(host: Puppet, recorder: Recorder, *cells: str) -> None:
    """Kill the host and wait until its cells were reported closed."""
    os.kill(host.pid, signal.SIGKILL)
    await recorder.until(lambda: set(cells) <= set(recorder.closed))


async def test_the_second_generation_has_ids_of_its_own_everywhere() -> None:
    recorder = Recorder()
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        session, host = await _open(provider, hosts, recorder)
        cell = await _start(session, host, "1")
        assert (session.generation, cell.cell_id) == (1, "1")
        await _lose(host, recorder, "1")
        assert session.generation == 2

        cells: list[StartedCell] = []
        async with anyio.create_task_group() as nursery:

            async def execute() -> None:
                cells.append(await session.execute(CELL))

            nursery.start_soon(execute)
            host = await hosts.next()
            await host.open_session()
            request = await host.start_cell("1")
        assert cells[0].cell_id == "g2:1"
        await host.call_tool("1")
        await recorder.until(lambda: recorder.calls)
        assert recorder.calls[0].cell_id == "g2:1"
        await host.receive()  # the call's answer
        await host.initial(request, yielded("1"))
        assert (await cells[0].initial_response()).cell_id == "g2:1"

        outcomes = []
        async with anyio.create_task_group() as nursery:

            async def observe() -> None:
                outcomes.append(await session.wait(WaitRequest("g2:1", 10)))
                outcomes.append(await session.wait(WaitRequest("g2:7", 10)))
                outcomes.append(await session.terminate("g2:1"))

            nursery.start_soon(observe)
            await host.outcome(await host.expect_wait("1"), yielded("1"))
            await host.outcome(await host.expect_wait("7"), missing("7"))
            await host.outcome(await host.expect_terminate("1"), terminated("1"))
            await host.cell_closed("1")
        assert outcomes == [LiveCell(yielded("g2:1")), missing("g2:7"), LiveCell(terminated("g2:1"))]
        await recorder.until(lambda: recorder.closed == ["1", "g2:1"])
    assert recorder.errors == []


async def test_a_cell_of_another_generation_is_refused_before_anything_is_sent() -> None:
    recorder = Recorder()
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        session, host = await _open(provider, hosts, recorder)
        for stale in ("g2:1", "g9:1"):
            with pytest.raises(StaleCellError):
                await session.wait(WaitRequest(stale, 10))
        await _start(session, host, "1")
        await _lose(host, recorder, "1")
        # Before a new host is there, and without starting one.
        with pytest.raises(
            StaleCellError, match="cell 1 belongs to host generation 1, but the session is at generation 2"
        ):
            await session.wait(WaitRequest("1", 10))
        with pytest.raises(StaleCellError):
            await session.terminate("1")
        assert len(hosts.started) == 1
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(session.execute, CELL)
            host = await hosts.next()
            await host.open_session()
            await host.start_cell("1")
        # And when the new host has a cell with the same plain id.
        for call in (session.terminate("1"), session.wait(WaitRequest("1", 10))):
            with pytest.raises(StaleCellError):
                await call
        with pytest.raises(StaleCellError) as caught:
            await session.terminate("g3:1")
        assert (caught.value.cell_id, caught.value.cell_generation, caught.value.current_generation) == ("g3:1", 3, 2)
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(session.shutdown)
            await host.request(ShutdownSession)
            await host.leave()


@pytest.mark.parametrize("phase", ["open", "execute", "initial response", "wait", "terminate", "tool call"])
async def test_a_call_under_way_fails_with_the_cause_of_the_loss(phase: str) -> None:
    recorder = Recorder(tool=forever)
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        if phase == "open":
            async with anyio.create_task_group() as nursery:

                async def fail_to_open() -> None:
                    with pytest.raises(HostLostError, match="SIGKILL"):
                        await provider.open_session(recorder)

                nursery.start_soon(fail_to_open)
                host = await hosts.next()
                await host.handshake()
                await host.request(OpenSession)
                os.kill(host.pid, signal.SIGKILL)
            return
        session, host = await _open(provider, hosts, recorder)
        cell = None if phase == "execute" else await _start(session, host, "1")
        async with anyio.create_task_group() as nursery:

            async def fail() -> None:
                with pytest.raises(HostLostError, match="SIGKILL") as caught:
                    match phase:
                        case "execute":
                            await session.execute(CELL)
                        case "initial response":
                            await (await session.execute(CELL)).initial_response()
                        case "wait" | "tool call":
                            await session.wait(WaitRequest("1", 60_000))
                        case "terminate":
                            await session.terminate("1")
                assert caught.value.exit_status == -signal.SIGKILL

            nursery.start_soon(fail)
            match phase:
                case "execute":
                    await host.request(Execute)
                case "initial response":
                    await host.start_cell("2")
                case "wait":
                    await host.request(Wait)
                case "terminate":
                    await host.request(Terminate)
                case "tool call":
                    await host.request(Wait)
                    await host.call_tool("1")
                    await recorder.until(lambda: recorder.calls)
            os.kill(host.pid, signal.SIGKILL)
        if cell is not None:
            # What had been answered before the loss is still there.
            assert (await cell.initial_response()).cell_id == "1"
            await recorder.until(lambda: "1" in recorder.closed)
    assert len(recorder.cancelled) == len(recorder.calls)
    assert recorder.errors == []


async def test_shutting_down_a_session_whose_host_is_lost_is_a_success() -> None:
    recorder = Recorder()
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        session, host = await _open(provider, hosts, recorder)
        await _start(session, host, "1")
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(session.shutdown)
            await host.request(ShutdownSession)
            os.kill(host.pid, signal.SIGKILL)
        assert recorder.closed == ["1"]
        with pytest.raises(SessionClosedError):
            await session.execute(CELL)
        await session.shutdown()


async def test_an_idle_loss_is_noticed_and_the_next_call_starts_a_host() -> None:
    recorder = Recorder()
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        session, host = await _open(provider, hosts, recorder)
        await _start(session, host, "1")
        await _lose(host, recorder, "1")
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(session.execute, CELL)
            host = await hosts.next()
            await host.open_session()
            await host.start_cell("1")
        assert session.generation == 2
        assert (provider.counters.hosts_started, provider.host_pid) == (2, host.pid)


async def test_each_session_counts_its_own_generations() -> None:
    recorder = Recorder()
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        first, host = await _open(provider, hosts, recorder, "first")
        await _start(first, host, "1")
        await _lose(host, recorder, "1")
        second, host = await _open(provider, hosts, recorder, "second")
        cells: list[StartedCell] = []
        async with anyio.create_task_group() as nursery:

            async def execute() -> None:
                cells.append(await first.execute(CELL))
                cells.append(await second.execute(CELL))

            nursery.start_soon(execute)
            await host.open_session()
            await host.start_cell("1")
            await host.start_cell("1")
        assert [cell.cell_id for cell in cells] == ["g2:1", "1"]


async def test_many_calls_at_once_after_a_loss_bind_the_session_once() -> None:
    recorder = Recorder()
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        session, host = await _open(provider, hosts, recorder)
        await _start(session, host, "1")
        await _lose(host, recorder, "1")
        cells: list[str] = []
        async with anyio.create_task_group() as nursery:

            async def execute() -> None:
                cells.append((await session.execute(CELL)).cell_id)

            for _ in range(5):
                nursery.start_soon(execute)
            host = await hosts.next()
            await host.open_session()
            for number in range(1, 6):
                await host.run_cell(str(number))
        assert sorted(cells) == [f"g2:{number}" for number in range(1, 6)]
        assert len(hosts.started) == 2


async def test_a_host_lost_while_a_session_is_bound_again_does_not_use_up_a_generation() -> None:
    recorder = Recorder()
    async with open_puppets() as hosts, CodeModeProvider(hosts.command, first_backoff=0.01) as provider:
        session, host = await _open(provider, hosts, recorder)
        await _start(session, host, "1")
        await _lose(host, recorder, "1")
        async with anyio.create_task_group() as nursery:

            async def fail() -> None:
                with pytest.raises((HostLostError, HostStartError)):
                    await session.execute(CELL)

            nursery.start_soon(fail)
            host = await hosts.next()
            await host.handshake()
            await host.request(OpenSession)
            await host.leave()
        assert session.generation == 2
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(session.execute, CELL)
            host = await hosts.next()
            await host.open_session()
            await host.start_cell("1")
        assert session.generation == 2


async def test_a_plain_id_that_was_never_given_is_the_hosts_to_refuse() -> None:
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        session, host = await _open(provider, hosts, Recorder())
        outcomes = []
        async with anyio.create_task_group() as nursery:

            async def wait() -> None:
                outcomes.append(await session.wait(WaitRequest("no such cell", 10)))

            nursery.start_soon(wait)
            await host.outcome(await host.expect_wait("no such cell"), missing("no such cell"))
        assert isinstance(outcomes[0], MissingCell)


async def test_output_that_was_kept_for_a_cell_ends_with_its_host() -> None:
    recorder = Recorder()
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        session, host = await _open(provider, hosts, recorder)
        await _start(session, host, "1")
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(session.wait, WaitRequest("1", 60_000))
                request = await host.expect_wait("1")
                scope.cancel()
        await host.receive()
        await host.outcome(request, result("1", "a"))
        await host.cell_closed("1")
        await recorder.until(lambda: recorder.closed == ["1"])
        os.kill(host.pid, signal.SIGKILL)
        await provider.host_gone()
        with pytest.raises(StaleCellError):
            await session.wait(WaitRequest("1", 0))


async def test_shutting_down_waits_for_the_calls_of_earlier_generations() -> None:
    cleaning = anyio.Event()
    clean = anyio.Event()

    async def tool(_: ToolInvocation) -> Raw:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                cleaning.set()
                await clean.wait()
        raise AssertionError

    recorder = Recorder(tool=tool)
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        session, host = await _open(provider, hosts, recorder)
        await _start(session, host, "1")
        await host.call_tool("1")
        await recorder.until(lambda: recorder.calls)
        os.kill(host.pid, signal.SIGKILL)
        await cleaning.wait()
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(session.execute, CELL)
            host = await hosts.next()
            await host.open_session()
            await host.run_cell("1")
        await recorder.until(lambda: recorder.closed == ["g2:1"])
        over: list[str] = []
        async with anyio.create_task_group() as nursery:

            async def end(call: Callable[[], Awaitable[None]], what: str) -> None:
                await call()
                over.append(what)

            nursery.start_soon(end, session.shutdown, "session")
            await host.close_session()
            nursery.start_soon(end, provider.aclose, "provider")
            await anyio.wait_all_tasks_blocked()
            assert over == []
            clean.set()
        assert recorder.closed == ["g2:1", "1"]
        assert sorted(over) == ["provider", "session"]
    assert recorder.errors == []
