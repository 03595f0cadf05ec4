"""Sessions in the caller's own process: the same cells on the same confined runtimes, without a host process.

The policy for failures differs from the host's in that only cells are lost: after an engine panic, or the zygote's
death, a new zygote is started when a session or cell next needs one.
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

from codemode_host.cells.answers import CellRequestError
from codemode_host.cells.calls import Call
from codemode_host.cells.owner import SessionOwner
from codemode_host.cells.session import Cell, CellSession
from codemode_host.options import OnPanic, Options, zygote_options
from codemode_host.runtimes.host_side.memory_group import MemoryGroup
from codemode_host.runtimes.host_side.output import decoded
from codemode_host.runtimes.host_side.pools import Pools
from codemode_host.runtimes.host_side.runtimes import RuntimePool
from codemode_host.supervision import HostFailure, Panics, watch_kernel
from codemode_protocol.errors import (
    HostStartError,
    ProviderClosedError,
    RequestFailedError,
    SessionClosedError,
    tool_failure_text,
)
from codemode_protocol.limits import Limits
from codemode_protocol.nesting import checked_answer
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
    """A `SessionProvider` in the caller's process, an async context manager that must be entered.

    Runtimes end with the thread that enters it.

    Args:
        limits: The limits of cells.
        confined: Whether cells run with a system call filter.
        on_panic: What an engine panic ends: `stop`, all cells that run; `cell`, the cell that it happened to, and all
            cells if it is one of several panics within a minute. The cells to come have a new zygote either way.
    """

    pool: RuntimePool
    nursery: trio.Nursery

    def __init__(self, limits: Limits | None = None, *, confined: bool = True, on_panic: OnPanic = "stop") -> None:
        super().__init__(limits or Limits())
        self._on_panic = on_panic
        self._panics = Panics()
        self.closed: bool = False
        """Closing has begun."""
        self.flags = 0
        options = Options(limits=self.limits, confinement="on" if confined else "off")
        self._zygote_options = zygote_options(options)
        self._pools = Pools(self._zygote_options, self.limits, self._pool_failed)
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
        # The nursery would wrap the caller's exception, so it is only told of a cancellation, which may be its own.
        if isinstance(error, trio.Cancelled) or (
            isinstance(error, BaseExceptionGroup) and error.subgroup(trio.Cancelled) is not None
        ):
            return await self._manager.__aexit__(kind, error, traceback)
        await self._manager.__aexit__(None, None, None)
        return None

    async def open_session(self, delegate: Delegate, session_id: str | None = None) -> InProcessSession:
        """Open a session.

        Args:
            delegate: A `Toolbox`, or any `Delegate`.
            session_id: The session's name in errors; by default `session-1` and so on.

        Raises:
            ProviderClosedError: The provider is closed.
            HostStartError: Runtimes cannot be started on this machine.
            RequestFailedError: There is an open session with that name.
            ValueError: `session_id` is blank.
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
        """Open a session for the block, as `open_session` does, and shut it down at the end."""
        session = await self.open_session(delegate, session_id)
        try:
            yield session
        finally:
            with trio.CancelScope(shield=True):
                await session.shutdown()

    async def aclose(self) -> None:
        """Shut down every session and end all runtimes. Idempotent."""
        self.closed = True
        for session in list(self._sessions.values()):
            await session.shutdown()
        await self._pools.aclose()
        if self._zygote_options.group is not None:
            self._zygote_options.group.remove()
        self.nursery.cancel_scope.cancel()

    def forget(self, session_id: str) -> None:
        """Remove a session that is shut down."""
        self._sessions.pop(session_id, None)

    def ensure_pool(self) -> None:
        """Start a zygote and its pool unless there is one. Raises ProviderClosedError or HostStartError."""
        if self.closed:
            raise ProviderClosedError
        if self._refusal is not None:
            raise HostStartError(self._refusal)
        if self._current is not None and self._current.is_open:
            return
        try:
            if self.limits.total_memory_bytes is not None and self._zygote_options.group is None:
                self._zygote_options.group = MemoryGroup.create(self.limits.total_memory_bytes)
            self._current = self.pool = self._pools.start(self.nursery)
        except (OSError, ModuleNotFoundError) as error:
            raise HostStartError(f"no runtime can be started: {error}") from error

    def _pool_failed(self, cause: str, refused: bool) -> None:
        evidence = "\n".join(self.pool.stderr.tail())
        logger.error("%s\n%s", cause, evidence)
        if refused:
            self._refusal = evidence or cause

    def failed(self, failure: HostFailure) -> None:
        """Log a failure, and end what is to end."""
        logger.error("%s", failure.report())
        if self._panics.are_too_many(trio.current_time()) or self._on_panic == "stop":
            self._pools.kill()
        else:
            self.pool.retire()


class _Answer:
    """A future outcome."""

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
        """Start a cell.

        Raises:
            RequestFailedError: The request is refused.
            SessionClosedError: The session is closed.
            HostStartError: Runtimes cannot be started on this machine.
            ProviderClosedError: The provider is closed.
        """
        await trio.lowlevel.checkpoint()
        self._check_open()
        self._provider.ensure_pool()
        ids: list[str] = []
        answer = _Answer()
        try:
            self._cells.execute(request, ids.append, answer.respond)
        except CellRequestError as error:
            raise RequestFailedError(str(error)) from error
        return InProcessCell(ids[0], answer)

    async def wait(self, request: WaitRequest) -> Outcome:
        """Wait for a cell to end or yield. If the caller is cancelled, the outcome is kept for the next wait."""
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
        """Terminate a cell and wait until its process is gone."""
        await trio.lowlevel.checkpoint()
        self._check_open()
        answer = _Answer()
        try:
            self._cells.terminate(cell_id, answer.give)
        except CellRequestError as error:
            raise RequestFailedError(str(error)) from error
        return await self._get(cell_id, None, answer)

    async def shutdown(self) -> None:
        """Terminate every cell and close the session. Later calls wait for the first."""
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

    def __init__(self, cell_id: str, answer: _Answer) -> None:
        self.cell_id = cell_id
        self._answer = answer

    async def initial_response(self) -> RuntimeResponse:
        """Wait for the first answer. It may be asked for again, and gives the same."""
        return (await self._answer.get()).response


class _DelegateOutlet:
    """Calls the delegate for a session, each call in a task that is cancelled with its cell."""

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
        """Report the cell closed once the last of its calls has ended."""
        self._over.add(cell_id)
        self._report(cell_id)

    def flush(self) -> None:
        """Nothing waits to be written."""

    async def room(self, *, calling: bool = False) -> None:
        """Let other tasks run: delegates are called at once, so there is always room."""
        await trio.lowlevel.checkpoint()

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
                    call.resolve(checked_answer(await self._delegate.invoke_tool(invocation)))
        except Exception as error:  # noqa: BLE001 - a delegate's exception fails that call alone
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
    """Return the scope of a call that was cancelled before its task ran."""
    scope = trio.CancelScope()
    scope.cancel()
    return scope
