"""The client as plain calls: the names of `codemode_client`, with the same rules and errors.

The client runs on an asyncio loop in a background thread, and any number of threads may use one provider and its
sessions at once. Tools that are plain functions run in worker threads; async ones, `on_notify` and `on_cell_closed` run
on the background loop, where asyncio and the libraries for it work. All run in the context of the code that opened the
session.

A call that is interrupted by an exception, such as KeyboardInterrupt after Ctrl-C, is cancelled: a cell whose id was
not returned is terminated, and the output that a wait had taken is kept for the next. These calls block an event loop
that runs their thread: use `codemode_client` there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import partial
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from codemode_client._blocking.thread import BackgroundLoop
from codemode_client._model.definitions import ModelToolDefinition
from codemode_client._model.output import ModelOutput
from codemode_client._model.tools import DEFAULT_MAX_WAIT_MS, ToolSource
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
    Outcome,
    Result,
    RuntimeResponse,
    Terminated,
    ToolDefinition,
    WaitRequest,
)

__all__ = ["CodeModeProvider", "ModelTools", "Session", "StartedCell", "Toolbox"]

P = ParamSpec("P")
T = TypeVar("T")


def _mirrors(
    original: Callable[Concatenate[Any, P], object],
) -> Callable[[Callable[..., T]], Callable[Concatenate[Any, P], T]]:
    """Give a method the parameters and the docstring of its async original."""

    def decorate(method: Callable[..., T]) -> Callable[Concatenate[Any, P], T]:
        parameters = inspect.signature(original)
        method.__signature__ = parameters.replace(return_annotation=method.__annotations__["return"])  # type: ignore[attr-defined]
        method.__doc__ = original.__doc__
        return method

    return decorate


class CodeModeProvider(ProviderOptions):
    """Opens sessions on its own host process; see `codemode_client.CodeModeProvider`.

    A context manager that must be entered. Leaving it stops the host and the background thread and waits for both,
    including tools that still run; Ctrl-C interrupts this wait. The host also ends with a program that does not leave
    the block.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        options = {field.name: getattr(self, field.name) for field in fields(ProviderOptions)}
        self._provider = AsyncProvider(**options)
        self._background: BackgroundLoop | None = None

    @property
    def closed(self) -> bool:
        """Whether closing has begun."""
        return self._provider.closed

    @property
    def counters(self) -> Counters:
        """A snapshot of the counters. Any thread may read it at any time, also after the end."""
        return self._provider.counters

    @property
    def host_pid(self) -> int | None:
        """The host's process id; None while no host is running."""
        return self._provider.host_pid

    @property
    def open_count(self) -> int:
        """The number of sessions, requests and tool calls open on the host."""
        return self._provider.open_count

    def __enter__(self) -> Self:
        if self._background is not None:
            raise RuntimeError("a provider is entered only once")
        self._background = BackgroundLoop(self._provider)
        return self

    def __exit__(self, *_: object) -> None:
        background = self._entered()
        background.check()
        background.stop()
        background.join()

    @_mirrors(AsyncProvider.open_session)
    def open_session(self, delegate: Delegate, session_id: str | None = None) -> Session:
        background = self._entered()

        def shut_down(session: AsyncSession) -> None:
            background.start_soon(session.shutdown)

        function = partial(self._provider.open_session, delegate, session_id)
        return Session(background, background.call(function, ProviderClosedError, shut_down))

    @contextmanager
    def session(self, delegate: Delegate, session_id: str | None = None) -> Iterator[Session]:
        """Open a session for the block, as `open_session` does, and shut it down at the end."""
        with self.open_session(delegate, session_id) as session:
            yield session

    @_mirrors(AsyncProvider.aclose)
    def aclose(self) -> None:
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
    """A session: cells that share stored values; see `codemode_client.Session`."""

    def __init__(self, background: BackgroundLoop, session: AsyncSession) -> None:
        self._background = background
        self._session = session
        self.session_id: str = session.session_id

    @property
    def generation(self) -> int:
        """The generation of the current host; once that is lost, the next generation."""
        return self._session.generation

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    @_mirrors(AsyncSession.execute)
    def execute(self, *args: Any, **keywords: Any) -> StartedCell:
        function = partial(self._session.execute, *args, **keywords)
        return StartedCell(self, self._call(function, AsyncStartedCell.abandon))

    @_mirrors(AsyncSession.wait)
    def wait(self, request: WaitRequest) -> Outcome:
        return self._call(partial(self._session.wait, request), self._session.keep)

    @_mirrors(AsyncSession.terminate)
    def terminate(self, cell_id: str) -> Outcome:
        return self._call(partial(self._session.terminate, cell_id), self._session.keep)

    @_mirrors(AsyncSession.shutdown)
    def shutdown(self) -> None:
        with suppress(SessionClosedError):
            self._call(self._session.shutdown)

    @_mirrors(AsyncSession.run)
    def run(self, *args: Any, **keywords: Any) -> Result | Terminated:
        return self._call(partial(self._session.run, *args, **keywords))

    def _call(
        self, function: Callable[[], Coroutine[Any, Any, T]], give_back: Callable[[T], object] | None = None
    ) -> T:
        return self._background.call(function, partial(SessionClosedError, self.session_id), give_back)


class StartedCell:
    """A cell that was started; see `codemode_client.StartedCell`."""

    __slots__ = ("_cell", "_response", "_session", "cell_id")

    def __init__(self, session: Session, cell: AsyncStartedCell) -> None:
        self._session = session
        self._cell = cell
        self._response: RuntimeResponse | None = None
        self.cell_id: str = cell.cell_id

    @_mirrors(AsyncStartedCell.initial_response)
    def initial_response(self) -> RuntimeResponse:
        if self._response is None:
            self._response = self._session._call(self._cell.initial_response, self._keep)
        return self._response

    @_mirrors(AsyncStartedCell.abandon)
    def abandon(self) -> None:
        self._session._background.post(self._cell.abandon)

    def _keep(self, response: RuntimeResponse) -> None:
        if self._response is None:  # it reached no other caller
            self._cell.keep_initial_response()


class ModelTools:
    """The two tools `exec` and `wait` for a model; see `codemode_client.ModelTools`."""

    def __init__(
        self,
        session: Session,
        tools: ToolSource | Sequence[ToolDefinition],
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
        """The definitions of `exec`, which describes the nested tools, and `wait`."""
        return self._tools.definitions

    @_mirrors(AsyncModelTools.call)
    def call(self, name: str, *args: Any, **keywords: Any) -> ModelOutput:
        function = partial(self._tools.call, name, *args, **keywords)
        return self._session._call(function, self._stop if name == self._exec_name else None)

    @_mirrors(AsyncModelTools.exec)
    def exec(self, *args: Any, **keywords: Any) -> ModelOutput:
        return self._session._call(partial(self._tools.exec, *args, **keywords), self._stop)

    @_mirrors(AsyncModelTools.wait)
    def wait(self, *args: Any, **keywords: Any) -> ModelOutput:
        return self._session._call(partial(self._tools.wait, *args, **keywords))

    def _stop(self, output: ModelOutput) -> None:
        """Stop the script of an interrupted `exec`: its cell's id was not returned."""
        if output.status == "running" and output.cell_id is not None:
            self._session._background.start_soon(partial(self._tools.wait, output.cell_id, terminate=True))
