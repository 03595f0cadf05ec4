"""The logical session, which survives its host: it is bound to a new one when it is next used."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, Self

import msgspec

from codemode_client._loops.interface import Loop, protect_from_interrupt
from codemode_client._loops.turns import SHARE
from codemode_client._observability import events
from codemode_client._session.cell_ids import parse_cell_id
from codemode_client._session.cells import Execution, StartedCell, keep_response, terminate_cell, wait_for_cell
from codemode_client._session.driver import Driver
from codemode_client._session.host_session import HostSession, HostSessionState
from codemode_client.counters import Tally
from codemode_protocol.errors import ProviderClosedError, SessionClosedError, StaleCellError
from codemode_protocol.session import Delegate
from codemode_protocol.values import (
    MAX_YIELD_TIME_MS,
    ContentItem,
    ExecuteRequest,
    LiveCell,
    Outcome,
    Result,
    RuntimeResponse,
    Terminated,
    ToolDefinition,
    WaitRequest,
    Yielded,
)

if TYPE_CHECKING:
    from codemode_client._observability.telemetry import Tracing


class Hosts(Protocol):
    """The part of a provider that its sessions use."""

    closed: bool
    tally: Tally
    tracing: Tracing | None

    @property
    def loop(self) -> Loop: ...

    async def connect(self) -> Driver: ...


class Session:
    """A session: cells that share stored values.

    Opened by `CodeModeProvider.open_session`. An async context manager that shuts the session down. It may only be used
    on the event loop of its provider.

    Every call may raise `HostStartError`, `HostLostError`, `RequestFailedError` and `SessionClosedError`. Nothing is
    retried: a call that was under way when its host was lost fails, and the next one starts a host. Cells and stored
    values end with their host.
    """

    def __init__(self, hosts: Hosts, session_id: str, delegate: Delegate) -> None:
        self._hosts = hosts
        self._loop = hosts.loop
        self._delegate = delegate
        self._context = contextvars.copy_context()
        self._context.run(SHARE.set, self)
        self._current: HostSession | None = None
        self._past: list[HostSession] = []
        """On lost hosts, where delegate calls may still be ending."""
        self._closed = False
        self.session_id = session_id

    @property
    def generation(self) -> int:
        """The generation of the current host; once that is lost, the next generation."""
        current = self._current
        if current is None:
            return 1
        over = current.opened.succeeded and current.host.lost and not current.host.closing
        return current.generation + (1 if over else 0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._loop.shield(self.shutdown)

    @protect_from_interrupt
    async def execute(
        self,
        source: str | ExecuteRequest,
        tools: Iterable[ToolDefinition] | None = None,
        *,
        yield_time_ms: int | None = None,
        max_output_tokens: int | None = None,
        tool_call_id: str = "execute",
    ) -> StartedCell:
        """Start a cell and return as soon as it has an id.

        If the caller is cancelled first, the cell is terminated as soon as it starts.

        Args:
            source: The script; or a whole request, which replaces all other parameters.
            tools: The tools that the script may call; by default all `definitions` of the session's delegate.
            yield_time_ms: Milliseconds until the initial response at the latest; by default 10,000.
            max_output_tokens: A hint for the code that shows the output, in tokens.
            tool_call_id: Passed to the delegate with the script's notifications.

        Raises:
            RequestTooLargeError: The request does not fit in a frame.
            ValueError: A number is out of range.
        """
        if isinstance(source, ExecuteRequest):
            request = source
        else:
            enabled = self._definitions() if tools is None else [*tools]
            request = ExecuteRequest(tool_call_id, enabled, source, yield_time_ms, max_output_tokens)
        tracing = self._hosts.tracing
        span = tracing.execute(self.session_id, request.tool_call_id) if tracing is not None else None
        try:
            execution = Execution(await self._bound(), request, span)
        except BaseException as error:
            if span is not None:
                span.refused(error)
            raise
        return await execution.started.get(execution.give_up)

    @protect_from_interrupt
    async def wait(self, request: WaitRequest) -> Outcome:
        """Wait until a cell ends, yields, or `yield_time_ms` have passed; return its output since the last answer.

        If the caller is cancelled no output is lost: the answer is kept for the next wait.

        Raises:
            StaleCellError: The cell ended with its host, an earlier generation.
        """
        return await self._observe(
            "wait", request.cell_id, lambda home, host_id: wait_for_cell(home, host_id, request.yield_time_ms)
        )

    @protect_from_interrupt
    async def terminate(self, cell_id: str) -> Outcome:
        """Terminate a cell, wait until its process is gone, and return its last output.

        If the caller is cancelled the cell is still terminated, and the output is kept for the next wait.

        Raises:
            StaleCellError: The cell ended with its host, an earlier generation.
        """
        return await self._observe("terminate", cell_id, terminate_cell)

    @protect_from_interrupt
    async def shutdown(self) -> None:
        """Terminate every cell and close the session.

        Returns when the host has closed it, each cell was reported closed, and a lost host is reaped. May be called
        repeatedly and concurrently; it continues when its callers are cancelled.
        """
        self._closed = True
        sessions = [*self._past]
        if self._current is not None:
            self._current.shut_down()
            sessions.append(self._current)
        await self._loop.checkpoint()
        for session in sessions:
            await session.closed.get()

    @protect_from_interrupt
    async def run(
        self, source: str, tools: Iterable[ToolDefinition] | None = None, *, tool_call_id: str = "run"
    ) -> Result | Terminated:
        """Run a script to its end, however often it yields, and return all of its output in one response.

        If the caller is cancelled the cell is terminated. For the parameters see `execute`.
        """
        items: list[ContentItem] = []
        cell = await self.execute(source, tools, tool_call_id=tool_call_id)
        try:
            response: RuntimeResponse = await cell.initial_response()
            while isinstance(response, Yielded):
                items += response.content_items
                outcome = await self.wait(WaitRequest(cell.cell_id, MAX_YIELD_TIME_MS))
                response = outcome.response
                if not isinstance(outcome, LiveCell):
                    return Terminated(cell.cell_id, items)
        except BaseException:
            cell.abandon()
            raise
        return msgspec.structs.replace(response, content_items=items + response.content_items) if items else response

    def _definitions(self) -> list[ToolDefinition]:
        definitions: Sequence[ToolDefinition] = getattr(self._delegate, "definitions", ())
        return [*definitions]

    def keep(self, outcome: Outcome) -> None:
        """Keep an outcome, whose caller was interrupted, for the next wait."""
        generation, host_id = parse_cell_id(outcome.response.cell_id)
        current = self._current
        if current is not None and generation == current.generation and isinstance(outcome, LiveCell):
            keep_response(current, host_id, outcome.response)

    # binding

    async def open(self) -> None:
        """Bind the session for the first time; shut it down again if cancelled. For the provider."""
        driver = await self._hosts.connect()
        current = self._current = driver.bind(self.session_id, self._delegate, 1, self._context)
        try:
            await current.opened.get(current.shut_down)
        except SessionClosedError:
            raise ProviderClosedError from None

    async def _bound(self) -> HostSession:
        """Return the session on a working host, to which a request can be sent at once."""
        if self._loop.current() is not self._loop.identity:
            self._loop.check()
        while True:
            if self._closed or self._hosts.closed:
                raise SessionClosedError(self.session_id)
            current = self._current
            if current is not None and current.state is HostSessionState.OPEN:
                if not current.outlet.full:
                    return current
                await current.outlet.room(ahead=True)
            elif current is None or current.lost:
                try:
                    driver = await self._hosts.connect()
                except ProviderClosedError:
                    raise SessionClosedError(self.session_id) from None
                if self._current is current and not self._closed:
                    # From here on the session owns the opening, even if this caller is cancelled.
                    self._past = [past for past in [*self._past, current] if past is not None and not past.closed.done]
                    generation = self.generation
                    self._current = driver.bind(self.session_id, self._delegate, generation, self._context)
            else:
                await current.opened.get()

    async def _observe(self, name: str, cell_id: str, ask: Callable[[HostSession, str], Awaitable[Outcome]]) -> Outcome:
        generation, host_id = parse_cell_id(cell_id)
        tracing = self._hosts.tracing
        span = tracing.observe(name, self.session_id, cell_id, generation) if tracing is not None else None
        try:
            current = await self._bound_at(generation, cell_id)
            if span is not None and (cell := current.cells.get(host_id)) is not None and cell.span is not None:
                span.link(cell.span)
            outcome = await ask(current, host_id)
        except BaseException as error:
            if span is not None:
                span.failed(error)
            raise
        if span is not None:
            span.answered(outcome)
        return outcome

    async def _bound_at(self, generation: int, cell_id: str) -> HostSession:
        """Return the session on the host of the cell's generation, or raise StaleCellError."""
        while True:
            if self._closed or self._hosts.closed:
                raise SessionClosedError(self.session_id)
            if generation != self.generation:
                self._hosts.tally.stale_cells_refused += 1
                events.stale_cell_refused(self.session_id, cell_id, self.generation)
                raise StaleCellError(cell_id, generation, self.generation)
            current = await self._bound()
            if current.generation == generation:
                return current
