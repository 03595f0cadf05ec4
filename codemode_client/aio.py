"""The client for asyncio: the names of `codemode_client`, each with the same rules and errors.

A provider and all that comes from it belong to the event loop in which the provider was entered. Its sessions
live on trio in a background thread (`codemode_client.portal`); tools run as tasks on the caller's loop, in the
context of the code that opened the session.

A cancelled call ends at once, and then as natively: a cell that nobody has is terminated, and what a wait had
taken is kept for the next. The task of a tool is cancelled when its cell closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Generic, Self, TypeVar

import anyio
import trio
from msgspec import Raw

from codemode_client._loops.slots import Slot
from codemode_client._model.tools import ModelTools
from codemode_client._session.cells import HostStartedCell
from codemode_client._session.session import Session as NativeSession
from codemode_client._tools.toolbox import Toolbox
from codemode_client.portal import (
    Call,
    DelegateContext,
    Mailbox,
    Portal,
    PortalProvider,
    keep_initial_response,
    keep_outcome,
    shut_down_unowned,
)
from codemode_protocol.errors import CodeModeError, ProviderClosedError, SessionClosedError, ToolError
from codemode_protocol.session import Delegate
from codemode_protocol.values import (
    ExecuteRequest,
    Outcome,
    Result,
    RuntimeResponse,
    Terminated,
    ToolDefinition,
    ToolInvocation,
    WaitRequest,
)

__all__ = ["CodeModeProvider", "ModelTools", "Session", "StartedCell", "Toolbox"]

T = TypeVar("T")

logger = logging.getLogger("codemode_client")


class CodeModeProvider(PortalProvider):
    """Opens sessions on a host process of its own; see `codemode_client.CodeModeProvider`.

    An async context manager, and it must be entered. Leaving it ends the host and the background thread and
    waits for both, even when cancelled.
    """

    _entering = "async with"
    _caller: _Caller

    async def __aenter__(self) -> Self:
        self._caller = _Caller(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._caller.leave()

    async def open_session(self, delegate: Delegate, session_id: str | None = None) -> Session:
        """Open a session whose cells reach `delegate`; its tools run here, in this context."""
        portal = self._started()
        on_loop = _LoopDelegate(delegate, self._caller, DelegateContext(self._native))
        native = await self._caller.call(
            partial(self._native.open_session, on_loop, session_id),
            ProviderClosedError,
            partial(shut_down_unowned, portal),
        )
        return Session(self._caller, native)

    @asynccontextmanager
    async def session(self, delegate: Delegate, session_id: str | None = None) -> AsyncIterator[Session]:
        """A session that is shut down at the end of the block."""
        async with await self.open_session(delegate, session_id) as session:
            yield session

    async def aclose(self) -> None:
        """End the host, and with it every session; see `codemode_client.CodeModeProvider.aclose`."""
        if self._unused():
            return
        with contextlib.suppress(ProviderClosedError):
            await self._caller.call(self._native.aclose, ProviderClosedError)


class Session:
    """Cells that share stored values; see `codemode_client.Session`. Made by `CodeModeProvider.open_session`."""

    def __init__(self, caller: _Caller, native: NativeSession) -> None:
        self._caller = caller
        self._native = native
        self.session_id = native.session_id

    @property
    def generation(self) -> int:
        """The number of the host that the session is bound to; once that is lost, of the one it will be bound to."""
        return self._native.generation

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(SessionClosedError):
            await self._caller.call(self._native.shutdown, self._closed, shielded=True)

    async def execute(self, request: ExecuteRequest) -> StartedCell:
        """Start a cell; see `codemode_client.Session.execute`."""
        native = await self._caller.call(
            partial(self._native.execute, request), self._closed, lambda cell: cell.abandon()
        )
        return StartedCell(self, native)

    async def wait(self, request: WaitRequest) -> Outcome:
        """Observe a cell; see `codemode_client.Session.wait`."""
        return await self._caller.call(
            partial(self._native.wait, request), self._closed, partial(keep_outcome, self._native)
        )

    async def terminate(self, cell_id: str) -> Outcome:
        """Stop a cell and take its last output; see `codemode_client.Session.terminate`."""
        return await self._caller.call(
            partial(self._native.terminate, cell_id), self._closed, partial(keep_outcome, self._native)
        )

    async def shutdown(self) -> None:
        """Stop every cell and close the session; see `codemode_client.Session.shutdown`."""
        with contextlib.suppress(SessionClosedError):
            await self._caller.call(self._native.shutdown, self._closed)

    async def run(
        self,
        source: str,
        tools: Iterable[ToolDefinition] = (),
        *,
        tool_call_id: str = "run",
    ) -> Result | Terminated:
        """Run a script to its end; see `codemode_client.Session.run`."""
        return await self._caller.call(
            partial(self._native.run, source, list(tools), tool_call_id=tool_call_id), self._closed
        )

    def _closed(self) -> SessionClosedError:
        return SessionClosedError(self.session_id)


class StartedCell:
    """A cell that runs; see `codemode_client.StartedCell`."""

    __slots__ = ("_native", "_response", "_session", "cell_id")

    def __init__(self, session: Session, native: HostStartedCell) -> None:
        self._session = session
        self._native = native
        self._response: RuntimeResponse | None = None
        self.cell_id: str = native.cell_id
        """The public id, for `wait` and `terminate`."""

    async def initial_response(self) -> RuntimeResponse:
        """Wait for the first answer about the cell; see `codemode_client.StartedCell.initial_response`."""
        if self._response is None:
            self._response = await self._session._caller.call(
                self._native.initial_response, self._session._closed, self._keep
            )
        return self._response

    def abandon(self) -> None:
        """Give the cell up: it is terminated if it still runs, and what it wrote is dropped. Does not wait."""
        self._session._caller.portal.post(self._native.abandon)

    def _keep(self, response: RuntimeResponse) -> None:
        if self._response is None:  # nobody else has had it
            keep_initial_response(self._native, response)


class _Caller:
    """The event loop of one provider's callers, and the way between it and the portal's thread."""

    def __init__(self, provider: CodeModeProvider) -> None:
        self.loop = asyncio.get_running_loop()
        self._mailbox = Mailbox(self._wake)
        self.post = self._mailbox.post
        """Call a function on the loop, from any thread."""
        self._over: asyncio.Future[None] = self.loop.create_future()
        self.portal: Portal = provider._start(lambda: self.post(partial(self._over.set_result, None)))

    def _wake(self, drain: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self.loop.call_soon_threadsafe(drain)

    async def call(
        self,
        function: Callable[[], Awaitable[T]],
        closed: Callable[[], CodeModeError],
        give_back: Callable[[T], object] | None = None,
        *,
        shielded: bool = False,
    ) -> T:
        """Await a call on the portal. `shielded` lets it go on to its end when the caller is cancelled."""
        self._check()
        ended = _Ended()
        call = Call(self.portal, function, partial(self.post, ended.set), closed, give_back)
        self.portal.submit(call)
        await ended.wait(None if shielded else call.disown)
        return call.result()

    async def leave(self) -> None:
        """End the thread and wait for it, cancelled or not."""
        self._check()
        self.portal.stop()
        cancelled: asyncio.CancelledError | None = None
        while not self._over.done():
            try:
                # Anyio repeats its cancellation until it is let through; this keeps it away after the first.
                with anyio.CancelScope(shield=cancelled is not None):
                    await asyncio.shield(self._over)
            except asyncio.CancelledError as error:
                cancelled = error
        self.portal.join()
        if cancelled is not None:
            raise cancelled

    def _check(self) -> None:
        self.portal.check()
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError(
                "the provider belongs to another event loop: enter a provider in each loop that uses one"
            )


class _Ended:
    """The end of one call, as its one caller on the loop awaits it."""

    __slots__ = ("_future", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._future: asyncio.Future[None] | None = None

    def set(self) -> None:
        self._is_set = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self, disown: Callable[[], object] | None) -> None:
        """Wait for the end. If the caller is cancelled before it has run again, `disown` is called first."""
        cancelled: asyncio.CancelledError | None = None
        while not self._is_set:
            self._future = asyncio.get_running_loop().create_future()
            try:
                # Anyio repeats its cancellation until it is let through; this keeps it away after the first.
                with anyio.CancelScope(shield=True) if cancelled is not None else contextlib.nullcontext():
                    await self._future
            except asyncio.CancelledError as error:
                if cancelled is None:
                    cancelled = error
                    if disown is not None:
                        disown()
        if cancelled is not None:
            raise cancelled


class _LoopDelegate:
    """A delegate for a native session whose calls run on the caller's loop."""

    def __init__(self, delegate: Delegate, caller: _Caller, context: DelegateContext) -> None:
        self._delegate = delegate
        self._caller = caller
        self._context = context

    async def invoke_tool(self, invocation: ToolInvocation) -> Raw:
        return await self._run(partial(self._delegate.invoke_tool, invocation))

    async def notify(self, call_id: str, cell_id: str, text: str) -> None:
        await self._run(partial(self._delegate.notify, call_id, cell_id, text))

    def cell_closed(self, cell_id: str) -> None:
        self._caller.post(partial(self._context.for_call().run, self._report_closed, cell_id))

    async def _run(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run one call as a task on the loop. Cancelled, the task is cancelled and its end awaited."""
        task = _LoopTask(function, self._caller, self._context.for_call())
        self._caller.post(task.start)
        try:
            return await task.outcome.get()
        except trio.Cancelled:
            self._caller.post(task.cancel)
            with trio.CancelScope(shield=True), contextlib.suppress(Exception):
                await task.outcome.get()
            raise

    def _report_closed(self, cell_id: str) -> None:
        try:
            self._delegate.cell_closed(cell_id)
        except Exception:
            logger.exception("the delegate's cell_closed failed for cell %s", cell_id)


class _LoopTask(Generic[T]):
    """One call of a delegate: a task on the loop, and the slot in which trio waits for what comes of it."""

    __slots__ = ("_caller", "_context", "_function", "_task", "outcome")

    def __init__(self, function: Callable[[], Awaitable[T]], caller: _Caller, context: contextvars.Context) -> None:
        self._function = function
        self._caller = caller
        self._context = context
        self._task: asyncio.Task[T] | None = None
        self.outcome: Slot[T] = Slot()

    # on the loop

    def start(self) -> None:
        self._task = self._caller.loop.create_task(self._call(), context=self._context)
        self._task.add_done_callback(self._done)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _call(self) -> T:
        return await self._function()

    def _done(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self._fail(ToolError("the tool was cancelled"))
        elif (error := task.exception()) is None:
            self._caller.portal.post(partial(self.outcome.resolve, task.result()))
        elif isinstance(error, Exception):
            self._fail(error)
        else:  # the loop raises it itself, and ends
            self._fail(ToolError(f"the tool ended with {type(error).__name__}"))

    def _fail(self, error: Exception) -> None:
        self._caller.portal.post(partial(self.outcome.fail, lambda: error))
