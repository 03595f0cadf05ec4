"""Sessions inside the caller's own process: the same cells on the same confined runtimes, and no host process between.

The policy for failures differs from the host's: what breaks fails the cell that it happened to, and if the process that
runtimes are forked from dies, the cells that were running fail and a fresh one is started at the next need.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Self

import msgspec
import trio
from msgspec import Raw

from codemode_host.cells.answers import CellRequestError
from codemode_host.cells.calls import Call, NestingError, checked_json
from codemode_host.cells.cell import Cell
from codemode_host.cells.output_buffer import decoded
from codemode_host.cells.session import CellSession, SessionOwner, observation_time
from codemode_host.runtimes.host_side.pool import RuntimePool
from codemode_host.runtimes.host_side.spawn import ZygoteOptions, spawn_zygote
from codemode_host.supervision import HostFailure, watch_kernel
from codemode_protocol.errors import (
    HostStartError,
    ProviderClosedError,
    RequestFailedError,
    SessionClosedError,
    ToolError,
    tool_failure_text,
)
from codemode_protocol.limits import Limits
from codemode_protocol.session import Delegate
from codemode_protocol.values import (
    ExecuteRequest,
    LiveCell,
    MissingCell,
    Outcome,
    RuntimeResponse,
    ToolInvocation,
    WaitRequest,
)

logger: logging.Logger = logging.getLogger("codemode_host")


class InProcessSessionProvider(SessionOwner):
    """A `SessionProvider`. An async context manager, and it must be entered: its tasks live in it.

    The thread that enters it must live as long: the runtimes end with it. `confined=False` runs cells without a system
    call filter.
    """

    pool: RuntimePool
    nursery: trio.Nursery

    def __init__(self, limits: Limits | None = None, *, confined: bool = True) -> None:
        super().__init__(limits or Limits())
        self.closed: bool = False
        """Closing has begun: nothing new is started."""
        self.flags = 0
        self._options = ZygoteOptions(
            confined=confined, memory_limit=self.limits.memory_bytes, cpu_seconds=self.limits.cpu_seconds
        )
        self._refusal: str | None = None
        self._current: RuntimePool | None = None
        self._numbers = itertools.count(1)
        self._sessions: dict[str, InProcessSession] = {}
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None

    async def __aenter__(self) -> Self:
        watch_kernel()
        self._manager = trio.open_nursery()
        self.nursery = await self._manager.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._manager is not None
        with trio.CancelScope(shield=True):
            await self.aclose()
        # The caller's exception passes by the nursery, which would wrap it: a cancellation may be the nursery's own.
        if isinstance(error, trio.Cancelled) or (
            isinstance(error, BaseExceptionGroup) and error.subgroup(trio.Cancelled) is not None
        ):
            return await self._manager.__aexit__(kind, error, traceback)
        await self._manager.__aexit__(None, None, None)
        return None

    async def open_session(self, delegate: Delegate, session_id: str | None = None) -> InProcessSession:
        """Open a session whose cells reach `delegate`.

        Args:
            delegate: A `Toolbox`, or anything with the same three methods.
            session_id: Its name in errors; by default it is a number's.

        Raises:
            ProviderClosedError: The provider is closed.
            HostStartError: No runtimes can be had here.
            RequestFailedError: There is a session of that name.
        """
        await trio.lowlevel.checkpoint()
        if session_id is not None and not session_id.strip():
            raise ValueError("a session id must not be blank")
        self.ensure_pool()
        name = session_id if session_id is not None else f"session-{next(self._numbers)}"
        if name in self._sessions:
            raise RequestFailedError(f"code-mode session ID `{name}` is already open")
        session = InProcessSession(self, name, delegate)
        self._sessions[session.id] = session
        return session

    @asynccontextmanager
    async def session(self, delegate: Delegate, session_id: str | None = None) -> AsyncIterator[InProcessSession]:
        """Open a session that is shut down at the end of the block; see `open_session`."""
        session = await self.open_session(delegate, session_id)
        try:
            yield session
        finally:
            with trio.CancelScope(shield=True):
                await session.shutdown()

    async def aclose(self) -> None:
        """Shut every session down and end all runtimes. May be called again."""
        self.closed = True
        for session in list(self._sessions.values()):
            await session.shutdown()
        pool = self._current
        if pool is not None:
            await pool.aclose()
        self.nursery.cancel_scope.cancel()

    def forget(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)

    def ensure_pool(self) -> None:
        """Have runtimes: a process to fork them from is started unless there is one."""
        if self.closed:
            raise ProviderClosedError
        if self._refusal is not None:
            raise HostStartError(self._refusal)
        if self._current is not None and not self._current.closing:
            return
        try:
            zygote = spawn_zygote(self._options)
        except (OSError, ModuleNotFoundError) as error:
            raise HostStartError(f"no runtime can be started: {error}") from error
        self._current = self.pool = RuntimePool(
            zygote,
            self.nursery,
            spares=self.limits.spare_runtimes,
            on_failure=self._pool_failed,
            memory_limit=self.limits.memory_bytes,
        )
        self.nursery.start_soon(self._serve, self.pool)
        self.pool.replenish()

    async def _serve(self, pool: RuntimePool) -> None:
        try:
            await pool.serve()
        finally:
            pool.close()

    def _pool_failed(self, cause: str, refused: bool) -> None:
        evidence = "\n".join(self.pool.complaints.tail())
        logger.error("%s\n%s", cause, evidence)
        if refused:
            self._refusal = evidence or cause

    def failed(self, failure: HostFailure) -> None:
        """The cell alone fails."""
        logger.error("%s", failure.report())

    def turn_over(self) -> None:
        """Everybody has been told already."""

    async def room_to_talk(self) -> None:
        """A delegate is called at once; that others run in between is all that there is to see to."""
        await trio.lowlevel.checkpoint()


class _Answer:
    """What somebody waits for, or waited for and is to come yet."""

    __slots__ = ("event", "outcome")

    def __init__(self) -> None:
        self.event: trio.Event = trio.Event()
        self.outcome: Outcome | None = None

    def give(self, outcome: Outcome) -> None:
        response = outcome.response
        response = msgspec.structs.replace(response, content_items=decoded(response.content_items))
        self.outcome = LiveCell(response) if isinstance(outcome, LiveCell) else MissingCell(response)
        self.event.set()

    def respond(self, response: RuntimeResponse) -> None:
        self.give(LiveCell(response))

    async def get(self) -> Outcome:
        await self.event.wait()
        assert self.outcome is not None
        return self.outcome


class InProcessSession:
    """See `codemode_protocol.session.Session`."""

    def __init__(self, provider: InProcessSessionProvider, session_id: str, delegate: Delegate) -> None:
        self.id = session_id
        self._provider = provider
        self._cells = CellSession(session_id, provider, _DelegateOutlet(provider, delegate))
        self._kept: dict[str, list[Outcome]] = {}
        self._closed: trio.Event | None = None

    async def execute(self, request: ExecuteRequest) -> InProcessCell:
        """Start a cell. Raises `RequestFailedError`, `SessionClosedError`, and what `open_session` raises."""
        await trio.lowlevel.checkpoint()
        self._check_open()
        self._provider.ensure_pool()
        try:
            cell = self._cells.execute(request)
        except CellRequestError as error:
            raise RequestFailedError(str(error)) from error
        started = InProcessCell(cell.id)
        cell.observe_start(started.answer.respond, observation_time(request))
        return started

    async def wait(self, request: WaitRequest) -> Outcome:
        """Observe a cell. A cancelled caller takes nothing with it: the next one gets it."""
        await trio.lowlevel.checkpoint()
        self._check_open()
        if kept := self._kept.get(request.cell_id):
            outcome = kept.pop(0)
            if not kept:
                del self._kept[request.cell_id]
            return outcome
        answer = _Answer()
        try:
            cell = self._cells.wait(request.cell_id, request.yield_time_ms, answer.give)
        except CellRequestError as error:
            raise RequestFailedError(str(error)) from error
        return await self._get(request.cell_id, cell, answer)

    async def terminate(self, cell_id: str) -> Outcome:
        """Stop a cell; answers when its runtime is gone."""
        await trio.lowlevel.checkpoint()
        self._check_open()
        answer = _Answer()
        try:
            self._cells.terminate(cell_id, answer.give)
        except CellRequestError as error:
            raise RequestFailedError(str(error)) from error
        return await self._get(cell_id, None, answer)

    async def shutdown(self) -> None:
        """Stop every cell and close the session. Later calls wait for the first."""
        if self._closed is None:
            self._closed = closed = trio.Event()
            self._provider.forget(self.id)
            self._cells.shutdown(closed.set)
        await self._closed.wait()

    def _check_open(self) -> None:
        if self._closed is not None:
            raise SessionClosedError(self.id)

    async def _get(self, cell_id: str, cell: Cell | None, answer: _Answer) -> Outcome:
        try:
            return await answer.get()
        except trio.Cancelled:
            if answer.outcome is not None:
                self._kept.setdefault(cell_id, []).append(answer.outcome)
            elif cell is not None:
                cell.forget_observer()
            raise


class InProcessCell:
    """See `codemode_protocol.session.StartedCell`."""

    def __init__(self, cell_id: str) -> None:
        self.cell_id = cell_id
        self.answer: _Answer = _Answer()

    async def initial_response(self) -> RuntimeResponse:
        """Wait for the first answer. It may be asked for again, and gives the same."""
        return (await self.answer.get()).response


class _DelegateOutlet:
    """A session's way out: each call is a task that runs the delegate, and ends with its cell."""

    def __init__(self, provider: InProcessSessionProvider, delegate: Delegate) -> None:
        self._provider = provider
        self._delegate = delegate
        self._scopes: dict[Call, trio.CancelScope] = {}
        self._running: dict[str, int] = {}
        self._over: set[str] = set()

    def invoke_tool(self, call: Call, invocation: ToolInvocation) -> None:
        self._start(call, "", "", invocation)

    def notify(self, call: Call, call_id: str, text: str) -> None:
        self._start(call, call_id, text, None)

    def cancel(self, call: Call) -> None:
        if (scope := self._scopes.pop(call, None)) is not None:
            scope.cancel()

    def cell_closed(self, cell_id: str) -> None:
        """Reported when the last of the cell's calls has ended."""
        self._over.add(cell_id)
        self._report(cell_id)

    def _start(self, call: Call, call_id: str, text: str, invocation: ToolInvocation | None) -> None:
        self._scopes[call] = trio.CancelScope()
        self._running[call.cell.id] = self._running.get(call.cell.id, 0) + 1
        self._provider.nursery.start_soon(self._run, call, call_id, text, invocation)

    async def _run(self, call: Call, call_id: str, text: str, invocation: ToolInvocation | None) -> None:
        cell_id = call.cell.id
        try:
            with self._scopes.get(call) or _cancelled_scope():
                if invocation is None:
                    await self._delegate.notify(call_id, cell_id, text)
                    call.delivered()
                else:
                    call.resolve(_checked(await self._delegate.invoke_tool(invocation)))
        except Exception as error:  # noqa: BLE001 whatever a delegate raises is that call's error alone
            call.reject(tool_failure_text(error))
        finally:
            self._scopes.pop(call, None)
            self._running[cell_id] -= 1
            self._report(cell_id)

    def _report(self, cell_id: str) -> None:
        if cell_id in self._over and not self._running.get(cell_id):
            self._over.discard(cell_id)
            self._running.pop(cell_id, None)
            try:
                self._delegate.cell_closed(cell_id)
            except Exception:
                logger.exception("the delegate's cell_closed failed for cell %s", cell_id)


def _cancelled_scope() -> trio.CancelScope:
    """For a call that was cancelled before its task ran."""
    scope = trio.CancelScope()
    scope.cancel()
    return scope


def _checked(result: Raw) -> Raw:
    try:
        return checked_json(bytes(result))
    except (ValueError, NestingError) as error:
        raise ToolError(f"the tool's answer is not JSON: {error}") from error
