"""One host at a time, started when it is needed, gone when the provider is."""

from __future__ import annotations

import os
import signal
import sys

import anyio
import pytest
from msgspec import Raw

from codemode_client import CodeModeProvider, Session
from codemode_client._session import multiplexer
from codemode_protocol.errors import (
    HostStartError,
    ProviderClosedError,
    RequestFailedError,
    RequestTooLargeError,
    SessionClosedError,
)
from codemode_protocol.messages import DelegateResponse, Execute, OpenSession
from codemode_protocol.values import ExecuteRequest, ToolInvocation, WaitRequest
from tests.client.puppet import open_puppets, result
from tests.client.recorder import Recorder

CELL = ExecuteRequest("call", [], "")


async def test_no_host_is_started_before_it_is_needed() -> None:
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        await anyio.wait_all_tasks_blocked()
        assert provider.host_pid is None
        assert provider.counters.hosts_started == 0


async def test_concurrent_first_calls_start_one_host() -> None:
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        async with anyio.create_task_group() as nursery:
            for _ in range(10):
                nursery.start_soon(provider.open_session, Recorder())
            host = await hosts.next()
            for _ in range(10):
                await host.open_session()
        with anyio.move_on_after(0.05) as scope:
            await hosts.next()
        assert scope.cancelled_caught


async def test_callers_that_are_cancelled_do_not_stop_the_start_that_others_wait_for() -> None:
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        async with anyio.create_task_group() as nursery:
            scope = anyio.CancelScope()

            async def impatient() -> None:
                with scope:
                    await provider.open_session(Recorder())

            nursery.start_soon(impatient)
            host = await hosts.next()
            nursery.start_soon(provider.open_session, Recorder())
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            await host.open_session()
        assert len(hosts.started) == 1


async def test_an_error_at_start_reaches_everybody_who_waited_for_it() -> None:
    errors: list[HostStartError] = []

    async def fail(provider: CodeModeProvider) -> None:
        with pytest.raises(HostStartError) as caught:
            await provider.open_session(Recorder())
        errors.append(caught.value)

    async with (
        open_puppets() as hosts,
        CodeModeProvider(hosts.command) as provider,
        anyio.create_task_group() as nursery,
    ):
        for _ in range(3):
            nursery.start_soon(fail, provider)
        host = await hosts.next()
        await host.receive()
        os.kill(host.pid, signal.SIGKILL)
    assert len({id(error) for error in errors}) == 3


async def test_a_host_that_works_again_is_forgiven() -> None:
    async with (
        open_puppets() as hosts,
        CodeModeProvider(hosts.command, start_attempts=2, first_backoff=0.01) as provider,
    ):
        for _ in range(3):
            async with anyio.create_task_group() as nursery:

                async def fail() -> None:
                    with pytest.raises(HostStartError):
                        await provider.open_session(Recorder())

                nursery.start_soon(fail)
                await (await hosts.next()).leave()
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(provider.open_session, Recorder())
                host = await hosts.next()
                await host.open_session()
                await host.leave()
                await provider.host_gone()


async def test_calls_after_the_end_say_that_it_is_closed() -> None:
    async with open_puppets() as hosts:
        async with CodeModeProvider(hosts.command) as provider:
            session = await _open(provider, hosts.next)
        for call in (
            session.execute(CELL),
            session.wait(WaitRequest("1", 0)),
            session.terminate("1"),
        ):
            with pytest.raises(SessionClosedError, match="session s is shut down"):
                await call
        with pytest.raises(ProviderClosedError):
            await provider.open_session(Recorder())
        await session.shutdown()
        await provider.aclose()


async def _open(
    provider: CodeModeProvider, next_host: object, name: str = "s", delegate: Recorder | None = None
) -> Session:
    sessions: list[Session] = []

    async def open_session() -> None:
        sessions.append(await provider.open_session(delegate or Recorder(), name))

    async with anyio.create_task_group() as nursery:
        nursery.start_soon(open_session)
        await (await next_host()).open_session()  # type: ignore[operator]
    return sessions[0]


async def test_calls_under_way_when_the_provider_closes_say_that_it_is_closed() -> None:
    async with open_puppets() as hosts, anyio.create_task_group() as nursery:

        async def fail(session: Session) -> None:
            with pytest.raises(SessionClosedError):
                await session.execute(CELL)

        async def fail_to_open(provider: CodeModeProvider) -> None:
            with pytest.raises(ProviderClosedError):
                await provider.open_session(Recorder())

        async with CodeModeProvider(hosts.command) as provider:
            session = await _open(provider, hosts.next)
            nursery.start_soon(fail, session)
            nursery.start_soon(fail_to_open, provider)
            await anyio.wait_all_tasks_blocked()


async def test_closing_while_the_host_starts_is_quick() -> None:
    async with open_puppets() as hosts, anyio.create_task_group() as nursery:

        async def fail_to_open(provider: CodeModeProvider) -> None:
            with pytest.raises(ProviderClosedError):
                await provider.open_session(Recorder())

        async with CodeModeProvider(hosts.command) as provider:
            nursery.start_soon(fail_to_open, provider)
            await hosts.next()


async def test_closing_while_a_start_is_put_off_does_not_wait_for_it() -> None:
    async with anyio.create_task_group() as nursery:

        async def fail_to_open(provider: CodeModeProvider, kind: type[Exception]) -> None:
            with pytest.raises(kind):
                await provider.open_session(Recorder())

        async with CodeModeProvider(["/nowhere/host"], first_backoff=1000, max_backoff=1000) as provider:
            await fail_to_open(provider, HostStartError)
            nursery.start_soon(fail_to_open, provider, ProviderClosedError)
            await anyio.wait_all_tasks_blocked()


async def test_an_exception_of_the_block_comes_out_as_it_is() -> None:
    async with open_puppets() as hosts:
        with pytest.raises(KeyError, match="mine"):
            async with CodeModeProvider(hosts.command) as provider:
                await _open(provider, hosts.next)
                raise KeyError("mine")


async def test_cancelling_the_block_still_ends_the_host() -> None:
    async with open_puppets() as hosts:
        with anyio.CancelScope() as scope:
            async with CodeModeProvider(hosts.command) as provider:
                await _open(provider, hosts.next)
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught


async def test_a_session_that_the_host_refuses_is_an_error_with_the_hosts_words() -> None:
    async with (
        open_puppets() as hosts,
        CodeModeProvider(hosts.command) as provider,
        anyio.create_task_group() as nursery,
    ):

        async def fail() -> None:
            with pytest.raises(RequestFailedError, match=r"^not today$"):
                await provider.open_session(Recorder())

        nursery.start_soon(fail)
        host = await hosts.next()
        await host.handshake()
        await host.refuse(await host.request(OpenSession), "not today")


async def test_a_request_over_the_frame_limit_fails_for_its_caller_alone() -> None:
    async with open_puppets() as hosts, CodeModeProvider(hosts.command, max_frame_bytes=1000) as provider:
        session = await _open(provider, hosts.next)
        with pytest.raises(RequestTooLargeError, match="more than the 1000 bytes"):
            await session.execute(ExecuteRequest("call", [], "x" * 1000))
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(session.execute, CELL)
            await hosts.started[0].start_cell("1")


async def test_a_cell_is_executed_when_there_is_room_for_what_was_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiplexer, "QUEUE_LIMIT_BYTES", 1000)
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        session = await _open(provider, hosts.next)
        [host] = hosts.started
        scope = anyio.CancelScope()

        async def give_up() -> None:
            with scope:
                await session.execute(ExecuteRequest("given up", [], ""))

        async with anyio.create_task_group() as group:
            group.start_soon(session.execute, ExecuteRequest("large", [], "x" * 5_000_000))
            await anyio.wait_all_tasks_blocked()
            group.start_soon(give_up)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()  # while it waits: the host never hears of it
            group.start_soon(session.execute, ExecuteRequest("small", [], ""))
            for number, call in enumerate(("large", "small"), 1):
                request = await host.start_cell(str(number))
                assert isinstance(request.request, Execute)
                assert request.request.request.tool_call_id == call


async def test_a_call_is_begun_after_the_cells_that_waited_for_room_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiplexer, "QUEUE_LIMIT_BYTES", 1000)
    recorder = Recorder()
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        session = await _open(provider, hosts.next, delegate=recorder)
        [host] = hosts.started
        async with anyio.create_task_group() as group:
            group.start_soon(session.execute, CELL)
            await host.start_cell("1")
            group.start_soon(session.execute, CELL)
            second = await host.start_cell("2")
            for name in ("large", "waits"):
                group.start_soon(session.execute, ExecuteRequest(name, [], "x" * 5_000_000))
                await anyio.wait_all_tasks_blocked()
            await host.call_tool("1")
            await host.initial(second, result("2"))
            await host.cell_closed("2")
            await recorder.until(lambda: recorder.closed)  # the call came before that
            await anyio.wait_all_tasks_blocked()
            await host.start_cell("3")
            await host.start_cell("4")
            assert isinstance(await host.receive(), DelegateResponse)


async def test_a_provider_must_be_entered_and_only_once() -> None:
    provider = CodeModeProvider([sys.executable])
    with pytest.raises(RuntimeError, match="async context manager"):
        await provider.open_session(Recorder())
    async with provider:
        pass
    with pytest.raises(RuntimeError, match="only once"):
        async with provider:
            pass


@pytest.mark.parametrize("command", ["codemode-host", []])
def test_a_command_is_a_list(command: object) -> None:
    with pytest.raises(ValueError, match="command is a list"):
        CodeModeProvider(command)  # type: ignore[arg-type]


async def test_a_blank_session_id_is_refused() -> None:
    async with CodeModeProvider([sys.executable]) as provider:
        with pytest.raises(ValueError, match="blank"):
            await provider.open_session(Recorder(), " ")


@pytest.mark.loops("trio")  # asyncio raises such an exception out of its run: tests/e2e/test_callers.py
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_a_tool_that_ends_the_program_ends_the_provider_too(kind: type[BaseException]) -> None:
    async def tool(_: ToolInvocation) -> Raw:
        raise kind

    recorder = Recorder(tool=tool)
    async with open_puppets() as hosts:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with CodeModeProvider(hosts.command) as provider, anyio.create_task_group() as nursery:

                async def run() -> None:
                    session = await provider.open_session(recorder, "s")
                    await session.run("")

                nursery.start_soon(run)
                host = await hosts.next()
                await host.open_session()
                await host.start_cell("1")
                await host.call_tool("1")
                await anyio.sleep_forever()
    assert caught.value.subgroup(kind) is not None
    assert recorder.closed == ["1"]
