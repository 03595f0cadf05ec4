"""The client as plain calls: the names of `codemode_client`, each with the same rules and errors.

The client runs on an asyncio loop in a background thread, and any number of threads may use one provider and its
sessions at once. Tools that are plain functions run in worker threads; async ones, `on_notify` and `on_cell_closed` on
the background loop, where asyncio and the libraries for it work; all in the context of the code that opened the
session.

A call that an exception leaves early, as KeyboardInterrupt does after Ctrl-C, is cancelled: a cell that nobody has is
terminated, and what a wait had taken is kept for the next. In an event loop these calls work, but nothing else runs
there meanwhile: `codemode_client` is for that.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from codemode_client._blocking.thread import BackgroundLoop
from codemode_client._model.definitions import ModelToolDefinition, Until
from codemode_client._model.output import ModelOutput
from codemode_client._model.tools import DEFAULT_MAX_WAIT_MS, HasDefinitions
from codemode_client._model.tools import ModelTools as AsyncModelTools
from codemode_client._session.cells import StartedCell as AsyncStartedCell
from codemode_client._session.options import ProviderOptions
from codemode_client._session.provider import CodeModeProvider as AsyncProvider
from codemode_client._session.session import Session as AsyncSession
from codemode_client._tools.toolbox import Toolbox
from codemode_client.counters import Counters
from codemode_protocol.errors import ProviderClosedError, SessionClosedError
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
    WaitRequest,
)

__all__ = ["CodeModeProvider", "ModelTools", "Session", "StartedCell", "Toolbox"]

T = TypeVar("T")


class CodeModeProvider(ProviderOptions):
    """Opens sessions on a host process of its own; see `codemode_client.CodeModeProvider`.

    A context manager, and it must be entered. Leaving it ends the host and the background thread and waits for both,
    and so for tools that still run; Ctrl-C then stops the waiting. A program that ends without leaving it takes the
    host with it.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        options = {field.name: getattr(self, field.name) for field in fields(ProviderOptions)}
        self._provider = AsyncProvider(**options)
        self._background: BackgroundLoop | None = None

    @property
    def closed(self) -> bool:
        """Closing has begun: nothing new is started."""
        return self._provider.closed

    @property
    def counters(self) -> Counters:
        """How often things have happened so far. May be read at any time, by any thread, and after the end."""
        return self._provider.counters

    @property
    def host_pid(self) -> int | None:
        """The id of the host process; None while there is none that is used."""
        return self._provider.host_pid

    @property
    def open_count(self) -> int:
        """How many sessions, requests and tool calls are open on the host."""
        return self._provider.open_count

    def __enter__(self) -> Self:
        if self._background is not None:
            raise RuntimeError("a provider is entered only once")
        self._background = BackgroundLoop(self._provider)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        background = self._entered()
        background.check()
        background.stop()
        background.join()

    def open_session(self, delegate: Delegate, session_id: str | None = None) -> Session:
        """Open a session; see `codemode_client.CodeModeProvider.open_session`."""
        background = self._entered()

        def shut_down(session: AsyncSession) -> None:
            background.start_soon(session.shutdown)

        function = partial(self._provider.open_session, delegate, session_id)
        return Session(background, background.call(function, ProviderClosedError, shut_down))

    @contextmanager
    def session(self, delegate: Delegate, session_id: str | None = None) -> Iterator[Session]:
        """Open a session that is shut down at the end of the block."""
        with self.open_session(delegate, session_id) as session:
            yield session

    def aclose(self) -> None:
        """End the host, and with it every session; see `codemode_client.CodeModeProvider.aclose`."""
        if self._background is None:
            self._provider.closed = True
            return
        with suppress(ProviderClosedError):
            self._background.call(self._provider.aclose, ProviderClosedError)

    def _entered(self) -> BackgroundLoop:
        if self._background is None:
            if self.closed:
                raise ProviderClosedError
            raise RuntimeError("use the provider as a context manager: `with CodeModeProvider() as provider`")
        return self._background


class Session:
    """Cells that share stored values; see `codemode_client.Session`. Made by `CodeModeProvider.open_session`."""

    def __init__(self, background: BackgroundLoop, session: AsyncSession) -> None:
        self._background = background
        self._session = session
        self.session_id: str = session.session_id

    @property
    def generation(self) -> int:
        """The number of the host that the session is bound to; once that is lost, of the one it will be bound to."""
        return self._session.generation

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()

    def execute(
        self,
        source: str | ExecuteRequest,
        tools: Iterable[ToolDefinition] | None = None,
        *,
        yield_time_ms: int | None = None,
        max_output_tokens: int | None = None,
        tool_call_id: str = "execute",
    ) -> StartedCell:
        """Start a cell; see `codemode_client.Session.execute`."""
        function = partial(
            self._session.execute,
            source,
            tools,
            yield_time_ms=yield_time_ms,
            max_output_tokens=max_output_tokens,
            tool_call_id=tool_call_id,
        )
        return StartedCell(self, self._call(function, AsyncStartedCell.abandon))

    def wait(self, request: WaitRequest) -> Outcome:
        """Observe a cell; see `codemode_client.Session.wait`."""
        return self._call(partial(self._session.wait, request), self._session.keep)

    def terminate(self, cell_id: str) -> Outcome:
        """Stop a cell and take its last output; see `codemode_client.Session.terminate`."""
        return self._call(partial(self._session.terminate, cell_id), self._session.keep)

    def shutdown(self) -> None:
        """Stop every cell and close the session; see `codemode_client.Session.shutdown`."""
        with suppress(SessionClosedError):
            self._call(self._session.shutdown)

    def run(
        self, source: str, tools: Iterable[ToolDefinition] | None = None, *, tool_call_id: str = "run"
    ) -> Result | Terminated:
        """Run a script to its end; see `codemode_client.Session.run`."""
        return self._call(partial(self._session.run, source, tools, tool_call_id=tool_call_id))

    def _call(
        self, function: Callable[[], Coroutine[Any, Any, T]], give_back: Callable[[T], object] | None = None
    ) -> T:
        return self._background.call(function, partial(SessionClosedError, self.session_id), give_back)


class StartedCell:
    """A cell that runs; see `codemode_client.StartedCell`."""

    __slots__ = ("_cell", "_response", "_session", "cell_id")

    def __init__(self, session: Session, cell: AsyncStartedCell) -> None:
        self._session = session
        self._cell = cell
        self._response: RuntimeResponse | None = None
        self.cell_id: str = cell.cell_id
        """The public id, for `wait` and `terminate`."""

    def initial_response(self) -> RuntimeResponse:
        """Wait for the first answer about the cell; see `codemode_client.StartedCell.initial_response`."""
        if self._response is None:
            self._response = self._session._call(self._cell.initial_response, self._keep)
        return self._response

    def abandon(self) -> None:
        """Give the cell up: it is terminated if it still runs, and what it wrote is dropped. Does not wait."""
        self._session._background.post(self._cell.abandon)

    def _keep(self, response: RuntimeResponse) -> None:
        if self._response is None:  # no other caller has had it
            self._cell.keep_initial_response()


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
        self._tools = AsyncModelTools(
            session._session,
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
        return self._tools.definitions

    def call(self, name: str, arguments: str | Mapping[str, object], *, call_id: str | None = None) -> ModelOutput:
        """Do what a model asked for; see `codemode_client.ModelTools.call`."""
        function = partial(self._tools.call, name, arguments, call_id=call_id)
        return self._session._call(function, self._stop if name == self._exec_name else None)

    def exec(self, source: str, *, call_id: str | None = None) -> ModelOutput:
        """Run a script; see `codemode_client.ModelTools.exec`."""
        return self._session._call(partial(self._tools.exec, source, call_id=call_id), self._stop)

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
        function = partial(
            self._tools.wait,
            cell_id,
            yield_time_ms=yield_time_ms,
            max_tokens=max_tokens,
            terminate=terminate,
            until=until,
        )
        return self._session._call(function)

    def _stop(self, output: ModelOutput) -> None:
        """Stop the script of an `exec` that was interrupted: nobody knows its cell's id."""
        if output.status == "running" and output.cell_id is not None:
            self._session._background.start_soon(partial(self._tools.wait, output.cell_id, terminate=True))
