"""The client as plain calls: the names of `codemode_client`, each with the same rules and errors.

Sessions live on trio in a background thread (`codemode_client.portal`), and any number of threads may use one
provider and its sessions at once. Tools that are plain functions run in worker threads, async ones on the
background thread's trio loop, `on_notify` and `on_cell_closed` there, too; all in the context of the code that
opened the session.

A call is a cancellation's equal when an exception leaves it early, as KeyboardInterrupt does after Ctrl-C: a cell
that nobody has is terminated, and what a wait had taken is kept for the next. In an event loop these calls work,
but nothing else runs there meanwhile: `codemode_client` and `codemode_client.aio` are for that.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from msgspec import Raw

from codemode_client._model.definitions import ModelToolDefinition, Until
from codemode_client._model.output import ModelOutput
from codemode_client._model.tools import DEFAULT_MAX_WAIT_MS, HasDefinitions
from codemode_client._model.tools import ModelTools as NativeModelTools
from codemode_client._session.cells import HostStartedCell
from codemode_client._session.session import Session as NativeSession
from codemode_client._tools.toolbox import Toolbox
from codemode_client.portal import (
    Call,
    DelegateContext,
    Portal,
    PortalProvider,
    keep_initial_response,
    keep_outcome,
    shut_down_unowned,
)
from codemode_protocol.errors import CodeModeError, ProviderClosedError, SessionClosedError
from codemode_protocol.session import Delegate
from codemode_protocol.values import (
    DEFAULT_MAX_OUTPUT_TOKENS,
    DEFAULT_YIELD_TIME_MS,
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

ABANDONED_SECONDS = 5.0
"""How long the end of a call that was given up is waited for. It comes at once, unless something is broken."""


class CodeModeProvider(PortalProvider):
    """Opens sessions on a host process of its own; see `codemode_client.CodeModeProvider`.

    A context manager, and it must be entered. Leaving it ends the host and the background thread and waits for
    both, and so for tools that still run; Ctrl-C then stops the waiting. A program that ends without leaving it
    takes the host with it.
    """

    _entering = "with"

    def __enter__(self) -> Self:
        self._start(lambda: None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        portal = self._started()
        portal.check()
        portal.stop()
        portal.join()

    def open_session(self, delegate: Delegate, session_id: str | None = None) -> Session:
        """Open a session whose cells reach `delegate`."""
        portal = self._started()
        in_context = _InContext(delegate, DelegateContext(self._native))
        native = _call(
            portal,
            partial(self._native.open_session, in_context, session_id),
            ProviderClosedError,
            partial(shut_down_unowned, portal),
        )
        return Session(portal, native)

    @contextmanager
    def session(self, delegate: Delegate, session_id: str | None = None) -> Iterator[Session]:
        """A session that is shut down at the end of the block."""
        with self.open_session(delegate, session_id) as session:
            yield session

    def aclose(self) -> None:
        """End the host, and with it every session; see `codemode_client.CodeModeProvider.aclose`."""
        if self._unused():
            return
        with contextlib.suppress(ProviderClosedError):
            _call(self._started(), self._native.aclose, ProviderClosedError)


class Session:
    """Cells that share stored values; see `codemode_client.Session`. Made by `CodeModeProvider.open_session`."""

    def __init__(self, portal: Portal, native: NativeSession) -> None:
        self._portal = portal
        self._native = native
        self.session_id = native.session_id

    @property
    def generation(self) -> int:
        """The number of the host that the session is bound to; once that is lost, of the one it will be bound to."""
        return self._native.generation

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    def execute(self, request: ExecuteRequest) -> StartedCell:
        """Start a cell; see `codemode_client.Session.execute`."""
        return StartedCell(self, self._call(partial(self._native.execute, request), lambda cell: cell.abandon()))

    def wait(self, request: WaitRequest) -> Outcome:
        """Observe a cell; see `codemode_client.Session.wait`."""
        return self._observe(partial(self._native.wait, request))

    def terminate(self, cell_id: str) -> Outcome:
        """Stop a cell and take its last output; see `codemode_client.Session.terminate`."""
        return self._observe(partial(self._native.terminate, cell_id))

    def shutdown(self) -> None:
        """Stop every cell and close the session; see `codemode_client.Session.shutdown`."""
        with contextlib.suppress(SessionClosedError):
            self._call(self._native.shutdown)

    def run(
        self,
        source: str,
        tools: Iterable[ToolDefinition] = (),
        *,
        tool_call_id: str = "run",
    ) -> Result | Terminated:
        """Run a script to its end; see `codemode_client.Session.run`."""
        return self._call(partial(self._native.run, source, list(tools), tool_call_id=tool_call_id))

    def _observe(self, function: Callable[[], Awaitable[Outcome]]) -> Outcome:
        return self._call(function, lambda outcome: keep_outcome(self._native, outcome))

    def _call(self, function: Callable[[], Awaitable[T]], give_back: Callable[[T], object] | None = None) -> T:
        return _call(self._portal, function, lambda: SessionClosedError(self.session_id), give_back)


class StartedCell:
    """A cell that runs; see `codemode_client.StartedCell`."""

    __slots__ = ("_native", "_response", "_session", "cell_id")

    def __init__(self, session: Session, native: HostStartedCell) -> None:
        self._session = session
        self._native = native
        self._response: RuntimeResponse | None = None
        self.cell_id: str = native.cell_id
        """The public id, for `wait` and `terminate`."""

    def initial_response(self) -> RuntimeResponse:
        """Wait for the first answer about the cell; see `codemode_client.StartedCell.initial_response`."""
        if self._response is None:
            self._response = self._session._call(self._native.initial_response, self._keep)
        return self._response

    def abandon(self) -> None:
        """Give the cell up: it is terminated if it still runs, and what it wrote is dropped. Does not wait."""
        self._session._portal.post(self._native.abandon)

    def _keep(self, response: RuntimeResponse) -> None:
        if self._response is None:  # nobody else has had it
            keep_initial_response(self._native, response)


class ModelTools:
    """The two tools through which a model runs scripts; see `codemode_client.ModelTools`."""

    def __init__(
        self,
        session: Session,
        tools: HasDefinitions | Sequence[ToolDefinition],
        *,
        exec_name: str = "exec",
        wait_name: str = "wait",
        max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS,
        yield_time_ms: int = DEFAULT_YIELD_TIME_MS,
        max_wait_ms: int | None = DEFAULT_MAX_WAIT_MS,
    ) -> None:
        self._session = session
        self._exec_name = exec_name
        self._native = NativeModelTools(
            session._native,
            tools,
            exec_name=exec_name,
            wait_name=wait_name,
            max_output_tokens=max_output_tokens,
            yield_time_ms=yield_time_ms,
            max_wait_ms=max_wait_ms,
        )

    @property
    def definitions(self) -> list[ModelToolDefinition]:
        """`exec`, which describes the nested tools, and `wait`."""
        return self._native.definitions

    def call(self, name: str, arguments: str | Mapping[str, object], *, call_id: str | None = None) -> ModelOutput:
        """Do what a model asked for; see `codemode_client.ModelTools.call`."""
        give_back = self._stop if name == self._exec_name else None
        return self._session._call(partial(self._native.call, name, arguments, call_id=call_id), give_back)

    def exec(self, source: str, *, call_id: str | None = None) -> ModelOutput:
        """Run a script; see `codemode_client.ModelTools.exec`."""
        return self._session._call(partial(self._native.exec, source, call_id=call_id), self._stop)

    def wait(
        self,
        cell_id: str,
        *,
        yield_time_ms: int | None = None,
        max_tokens: int | None = None,
        terminate: bool = False,
        until: Until = "yield",
    ) -> ModelOutput:
        """Observe a running cell, or stop it; see `codemode_client.ModelTools.wait`."""
        return self._session._call(
            partial(
                self._native.wait,
                cell_id,
                yield_time_ms=yield_time_ms,
                max_tokens=max_tokens,
                terminate=terminate,
                until=until,
            )
        )

    def _stop(self, output: ModelOutput) -> None:
        """Stop the script of an `exec` that was interrupted: nobody knows its cell's id."""
        if output.status == "running" and output.cell_id is not None:
            self._session._portal.start_soon(partial(self._native.wait, output.cell_id, terminate=True))


class _InContext:
    """A delegate that is called in the context of the code that opened its session."""

    def __init__(self, delegate: Delegate, context: DelegateContext) -> None:
        self._delegate = delegate
        self._context = context

    async def invoke_tool(self, invocation: ToolInvocation) -> Raw:
        self._enter()
        return await self._delegate.invoke_tool(invocation)

    async def notify(self, call_id: str, cell_id: str, text: str) -> None:
        self._enter()
        await self._delegate.notify(call_id, cell_id, text)

    def cell_closed(self, cell_id: str) -> None:
        self._context.for_call().run(self._delegate.cell_closed, cell_id)

    def _enter(self) -> None:
        # Each call is a task with a context of its own, which may be written to.
        for variable, value in self._context.for_call().items():
            variable.set(value)


def _call(
    portal: Portal,
    function: Callable[[], Awaitable[T]],
    closed: Callable[[], CodeModeError],
    give_back: Callable[[T], object] | None = None,
) -> T:
    """Make a call on the portal and wait for it; give it up when an exception comes first, Ctrl-C's say."""
    portal.check()
    ended = threading.Lock()
    ended.acquire()
    call = Call(portal, function, ended.release, closed, give_back)
    try:
        portal.submit(call)
        ended.acquire()
    except BaseException:
        if call.disown():
            # Limited, for the interruption may have come before the call was under way.
            ended.acquire(timeout=ABANDONED_SECONDS)
        raise
    return call.result()
