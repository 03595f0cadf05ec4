"""Whoever awaited a call owns its result; when the caller is cancelled the connection does, and nothing is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import pytest
from anyio.abc import TaskGroup

from codemode_client import CodeModeProvider, Session, StartedCell
from codemode_protocol.errors import RequestFailedError
from codemode_protocol.messages import OpenSession, OperationCancel, OperationRequest, SessionReady
from codemode_protocol.values import ExecuteRequest, LiveCell, Outcome, WaitRequest
from tests.client.puppet import Puppet, missing, open_puppets, result, terminated, text, yielded
from tests.client.recorder import Recorder

CELL = ExecuteRequest("call", [], "")


class Stage:
    """A session on a host that the test plays."""

    def __init__(
        self, provider: CodeModeProvider, session: Session, host: Puppet, recorder: Recorder, nursery: TaskGroup
    ) -> None:
        self.provider = provider
        self.session = session
        self.host = host
        self.recorder = recorder
        self.nursery = nursery

    async def start_cell(self, cell_id: str) -> tuple[StartedCell, OperationRequest]:
        cells: list[StartedCell] = []
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_collect, cells, self.session.execute, CELL)
            request = await self.host.start_cell(cell_id)
        return cells[0], request

    async def yielded_cell(self, cell_id: str) -> StartedCell:
        """A cell that has yielded, with nothing written."""
        cell, request = await self.start_cell(cell_id)
        await self.host.initial(request, yielded(cell_id))
        await cell.initial_response()
        return cell

    async def cancelled(self, call: Callable[..., Awaitable[object]], *args: object) -> anyio.Event:
        """Make a call and cancel it once it waits for the host; the event tells that it has ended."""
        scope = anyio.CancelScope()
        over = anyio.Event()

        async def make() -> None:
            with scope:
                await call(*args)
            assert scope.cancelled_caught
            over.set()

        self.nursery.start_soon(make)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
        return over


T = TypeVar("T")


async def _collect(into: list[T], call: Callable[..., Awaitable[T]], *args: object) -> None:
    into.append(await call(*args))


@asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    recorder = Recorder()
    async with open_puppets() as hosts, anyio.create_task_group() as nursery:
        async with CodeModeProvider(hosts.command) as provider:
            sessions: list[Session] = []
            async with anyio.create_task_group() as opening:

                async def open_session() -> None:
                    sessions.append(await provider.open_session(recorder, "s"))

                opening.start_soon(open_session)
                host = await hosts.next()
                await host.open_session()
            yield Stage(provider, sessions[0], host, recorder, nursery)
        await host.nothing_more()
    assert recorder.errors == []


async def test_a_session_that_nobody_owns_any_more_is_shut_down_once_it_is_open() -> None:
    async with open_stage() as on:
        over = await on.cancelled(on.provider.open_session, Recorder(), "t")
        await over.wait()
        request = await on.host.request(OpenSession)
        await on.host.respond(request, SessionReady("t"))
        assert await on.host.close_session() == "t"


async def test_a_cell_that_nobody_owns_any_more_is_terminated_once_it_has_started() -> None:
    async with open_stage() as on:
        over = await on.cancelled(on.session.execute, CELL)
        await over.wait()
        request = await on.host.start_cell("1")
        terminate = await on.host.expect_terminate("1")
        await on.host.outcome(terminate, terminated("1", "lost on purpose"))
        await on.host.initial(request, terminated("1", "lost on purpose"))
        await on.host.cell_closed("1")
        await on.recorder.until(lambda: on.recorder.closed == ["1"])
        assert on.provider.counters.cells_terminated == 1


async def test_an_execute_that_is_refused_after_its_caller_went_away_is_forgotten() -> None:
    async with open_stage() as on:
        await on.cancelled(on.session.execute, CELL)
        request = await on.host.receive()
        assert isinstance(request, OperationRequest)
        await on.host.refuse(request, "no")
        cell, _ = await on.start_cell("1")
        assert cell.cell_id == "1"


async def test_an_error_in_place_of_an_initial_response_is_raised_each_time_it_is_asked_for() -> None:
    async with open_stage() as on:
        cell, request = await on.start_cell("1")
        await on.host.initial_failure(request, "the cell was lost")
        await on.host.cell_closed("1")
        for _ in range(2):
            with pytest.raises(RequestFailedError, match="the cell was lost"):
                await cell.initial_response()


async def test_an_initial_response_whose_caller_was_cancelled_goes_to_the_next_who_asks() -> None:
    async with open_stage() as on:
        cell, request = await on.start_cell("1")
        await on.cancelled(cell.initial_response)
        await on.host.initial(request, yielded("1", "a"))
        assert (await cell.initial_response()).content_items == text("a")
        # It was given once: a wait asks the host.
        got: list[Outcome] = []
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_collect, got, on.session.wait, WaitRequest("1", 1000))
            await on.host.outcome(await on.host.expect_wait("1"), yielded("1", "b"))
        assert got == [LiveCell(yielded("1", "b"))]


async def test_an_initial_response_whose_caller_was_cancelled_is_what_the_next_wait_gives() -> None:
    async with open_stage() as on:
        cell, request = await on.start_cell("1")
        await on.cancelled(cell.initial_response)
        got: list[Outcome] = []
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_collect, got, on.session.wait, WaitRequest("1", 60_000))
            await anyio.wait_all_tasks_blocked()
            await on.host.initial(request, yielded("1", "a"))
        assert got == [LiveCell(yielded("1", "a"))]


async def test_a_cancelled_wait_is_cancelled_on_the_host_and_the_next_is_held_back_until_that_is_settled() -> None:
    async with open_stage() as on:
        await on.yielded_cell("1")
        await on.cancelled(on.session.wait, WaitRequest("1", 60_000))
        first = await on.host.expect_wait("1")
        cancel = await on.host.receive()
        assert cancel == OperationCancel(first.id)
        got: list[Outcome] = []
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_collect, got, on.session.wait, WaitRequest("1", 60_000))
            await anyio.wait_all_tasks_blocked()
            await on.host.refuse(first, "code-mode request cancelled")
            second = await on.host.expect_wait("1")
            await on.host.outcome(second, yielded("1", "a"))
        assert got == [LiveCell(yielded("1", "a"))]


async def test_what_a_cancelled_wait_brings_all_the_same_goes_to_the_next_wait() -> None:
    async with open_stage() as on:
        await on.yielded_cell("1")
        await on.cancelled(on.session.wait, WaitRequest("1", 60_000))
        first = await on.host.expect_wait("1")
        await on.host.receive()
        got: list[Outcome] = []
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_collect, got, on.session.wait, WaitRequest("1", 60_000))
            await on.host.outcome(first, result("1", "a"))
            await on.host.cell_closed("1")
        assert got == [LiveCell(result("1", "a"))]
        got.clear()
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_collect, got, on.session.wait, WaitRequest("1", 60_000))
            await on.host.outcome(await on.host.expect_wait("1"), missing("1"))
        assert got == [missing("1")]


async def test_the_end_of_a_cell_that_a_cancelled_wait_brought_outlives_the_closing_of_the_cell() -> None:
    async with open_stage() as on:
        await on.yielded_cell("1")
        await on.cancelled(on.session.wait, WaitRequest("1", 60_000))
        first = await on.host.expect_wait("1")
        await on.host.receive()
        await on.host.outcome(first, result("1", "a"))
        await on.host.cell_closed("1")
        await on.recorder.until(lambda: on.recorder.closed == ["1"])
        assert await on.session.wait(WaitRequest("1", 0)) == LiveCell(result("1", "a"))


async def test_a_wait_that_is_held_back_answers_when_its_own_time_is_over() -> None:
    async with open_stage() as on:
        cell, request = await on.start_cell("1")
        await on.cancelled(cell.initial_response)
        assert await on.session.wait(WaitRequest("1", 20)) == LiveCell(yielded("1"))
        await on.host.initial(request, yielded("1", "a"))
        assert (await cell.initial_response()).content_items == text("a")


async def test_a_wait_cancelled_while_it_is_held_back_changes_nothing() -> None:
    async with open_stage() as on:
        await on.yielded_cell("1")
        await on.cancelled(on.session.wait, WaitRequest("1", 60_000))
        first = await on.host.expect_wait("1")
        await on.host.receive()
        over = await on.cancelled(on.session.wait, WaitRequest("1", 60_000))
        await over.wait()
        await on.host.outcome(first, yielded("1", "a"))
        assert await on.session.wait(WaitRequest("1", 60_000)) == LiveCell(yielded("1", "a"))


async def test_a_cancelled_terminate_goes_on_and_its_output_is_kept() -> None:
    async with open_stage() as on:
        await on.yielded_cell("1")
        over = await on.cancelled(on.session.terminate, "1")
        await over.wait()
        terminate = await on.host.expect_terminate("1")
        await on.host.outcome(terminate, terminated("1", "last words"))
        await on.host.cell_closed("1")
        await on.recorder.until(lambda: on.recorder.closed == ["1"])
        assert await on.session.wait(WaitRequest("1", 0)) == LiveCell(terminated("1", "last words"))


async def test_a_terminate_gives_what_a_cancelled_wait_had_brought_before() -> None:
    async with open_stage() as on:
        await on.yielded_cell("1")
        await on.cancelled(on.session.wait, WaitRequest("1", 60_000))
        first = await on.host.expect_wait("1")
        await on.host.receive()
        await on.host.outcome(first, yielded("1", "a"))
        got: list[Outcome] = []
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_collect, got, on.session.terminate, "1")
            await on.host.outcome(await on.host.expect_terminate("1"), terminated("1", "b"))
            await on.host.cell_closed("1")
        assert got == [LiveCell(terminated("1", "a", "b"))]


async def test_a_terminate_after_a_cancelled_wait_that_saw_the_end_gives_that_end() -> None:
    async with open_stage() as on:
        await on.yielded_cell("1")
        await on.cancelled(on.session.wait, WaitRequest("1", 60_000))
        first = await on.host.expect_wait("1")
        await on.host.receive()
        await on.host.outcome(first, result("1", "a"))
        await on.host.cell_closed("1")
        got: list[Outcome] = []
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_collect, got, on.session.terminate, "1")
            await on.host.outcome(await on.host.expect_terminate("1"), missing("1"))
        assert got == [LiveCell(result("1", "a"))]


async def test_the_same_last_words_are_not_given_twice() -> None:
    """A terminate and the observer that it ends carry the same content."""
    async with open_stage() as on:
        cell, request = await on.start_cell("1")
        await on.cancelled(cell.initial_response)
        got: list[Outcome] = []
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_collect, got, on.session.terminate, "1")
            await on.host.outcome(await on.host.expect_terminate("1"), terminated("1", "a"))
            await on.host.initial(request, terminated("1", "a"))
            await on.host.cell_closed("1")
        assert got == [LiveCell(terminated("1", "a"))]
        await on.recorder.until(lambda: on.recorder.closed == ["1"])
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_collect, got, on.session.wait, WaitRequest("1", 60_000))
            await on.host.outcome(await on.host.expect_wait("1"), missing("1"))
        assert got[1] == missing("1")


async def test_a_shutdown_goes_on_without_its_caller_and_others_may_wait_for_it() -> None:
    async with open_stage() as on:
        over = await on.cancelled(on.session.shutdown)
        await over.wait()
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(on.session.shutdown)
            nursery.start_soon(on.session.shutdown)
            await anyio.wait_all_tasks_blocked()
            assert await on.host.close_session() == "s"
        await on.session.shutdown()
        assert on.provider.open_count == 0


async def test_leaving_a_session_shuts_it_down_even_when_cancelled() -> None:
    async with open_stage() as on:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as nursery:

                async def answer() -> None:
                    with anyio.CancelScope(shield=True):
                        await on.host.close_session()

                nursery.start_soon(answer)
                async with on.session:
                    scope.cancel()
                    await anyio.sleep_forever()
        assert scope.cancelled_caught


async def test_closing_the_provider_goes_on_when_its_caller_is_cancelled() -> None:
    async with open_stage() as on:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await on.provider.aclose()
        assert scope.cancelled_caught
        await on.host.nothing_more()
        await on.provider.aclose()


async def test_an_error_for_a_cancelled_call_disturbs_nobody() -> None:
    async with open_stage() as on:
        await on.yielded_cell("1")
        await on.cancelled(on.session.wait, WaitRequest("1", 60_000))
        first = await on.host.expect_wait("1")
        await on.host.receive()
        await on.host.refuse(first, "code-mode request cancelled")
        async with anyio.create_task_group() as nursery:

            async def refuse() -> None:
                await on.host.refuse(await on.host.expect_wait("1"), "no")

            nursery.start_soon(refuse)
            with pytest.raises(RequestFailedError, match=r"^no$"):
                await on.session.wait(WaitRequest("1", 60_000))


async def test_shutting_down_while_a_session_is_being_opened_again_closes_it_there() -> None:
    async with open_puppets() as hosts, CodeModeProvider(hosts.command) as provider:
        sessions: list[Session] = []
        async with anyio.create_task_group() as nursery:

            async def open_session() -> None:
                sessions.append(await provider.open_session(Recorder(), "s"))

            nursery.start_soon(open_session)
            host = await hosts.next()
            await host.open_session()
        session = sessions[0]
        await host.leave()
        await provider.host_gone()
        async with anyio.create_task_group() as nursery:
            scope = anyio.CancelScope()

            async def execute() -> None:
                with scope:
                    await session.execute(CELL)

            nursery.start_soon(execute)
            host = await hosts.next()
            await host.handshake()
            request = await host.request(OpenSession)
            scope.cancel()
            nursery.start_soon(session.shutdown)
            await anyio.wait_all_tasks_blocked()
            await host.respond(request, SessionReady("s"))
            assert await host.close_session() == "s"
        assert scope.cancelled_caught
        assert provider.open_count == 0
