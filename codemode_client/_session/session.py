"""The logical session: what its owner calls. It survives its host, and is bound to a new one when it is next needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec
import trio

from codemode_client._session.cells import HostStartedCell, parse_cell_id
from codemode_client._session.host_session import Binding
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
    from codemode_client._session.provider import CodeModeProvider


class Session:
    """Cells that share stored values, on whichever host the provider has.

    Made by `CodeModeProvider.open_session`. An async context manager that shuts the session down.

    Every call may raise `HostStartError`, `HostLostError`, `RequestFailedError` and `SessionClosedError`.
    Nothing is retried: a call that was under way when its host was lost fails, and the next one starts a
    host. Cells and stored values end with their host.
    """

    def __init__(self, provider: CodeModeProvider, session_id: str, delegate: Delegate) -> None:
        self._provider = provider
        self._delegate = delegate
        self._binding: Binding | None = None
        self._past: list[Binding] = []
        """Lost ones whose delegates' calls may still be ending."""
        self._closed = False
        self.session_id = session_id

    @property
    def generation(self) -> int:
        """The number of the host that the session is bound to; once that is lost, of the one it will be bound to."""
        binding = self._binding
        if binding is None:
            return 1
        over = binding.ready and binding.driver.lost and not binding.driver.closing
        return binding.generation + (1 if over else 0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with trio.CancelScope(shield=True):
            await self.shutdown()

    @trio.lowlevel.enable_ki_protection
    async def execute(self, request: ExecuteRequest) -> HostStartedCell:
        """Start a cell. Returns as soon as it has an id.

        If the caller is cancelled before it has the cell, the cell is terminated as soon as it starts.

        Raises `RequestTooLargeError` when the request does not fit in a frame, ValueError for numbers that
        no host takes.
        """
        tracing = self._provider.observer.tracing
        span = tracing.execute(self.session_id, request.tool_call_id) if tracing is not None else None
        try:
            starting = (await self._bound()).execute(request, span)
        except BaseException as error:
            if span is not None:
                span.refused(error)
            raise
        return await starting.get()

    @trio.lowlevel.enable_ki_protection
    async def wait(self, request: WaitRequest) -> Outcome:
        """Observe a cell until it ends, yields, or `yield_time_ms` are over; take what it wrote since the last answer.

        If the caller is cancelled no output is lost: what the observation brings is kept for the next wait,
        which is held back until that is settled. Raises `StaleCellError` for a cell of another generation.
        """
        return await self._observe(
            "wait", request.cell_id, lambda binding, host_id: binding.wait(host_id, request.yield_time_ms)
        )

    @trio.lowlevel.enable_ki_protection
    async def terminate(self, cell_id: str) -> Outcome:
        """Stop a cell and take its last output; answers when its runtime is gone.

        If the caller is cancelled the cell is stopped all the same, and the next wait has the output.
        Raises `StaleCellError` for a cell of another generation.
        """
        return await self._observe("terminate", cell_id, lambda binding, host_id: binding.terminate(host_id))

    @trio.lowlevel.enable_ki_protection
    async def shutdown(self) -> None:
        """Stop every cell and close the session.

        Returns when the host has closed it, each cell was reported closed, and the host, if it was lost, is
        reaped. May be called again and by many; it goes on when its callers are cancelled.
        """
        self._closed = True
        bindings = [*self._past]
        if self._binding is not None:
            self._binding.shut_down()
            bindings.append(self._binding)
        await trio.lowlevel.checkpoint()
        for binding in bindings:
            await binding.closed.get()

    @trio.lowlevel.enable_ki_protection
    async def run(
        self,
        source: str,
        tools: Iterable[ToolDefinition] = (),
        *,
        tool_call_id: str = "run",
    ) -> Result | Terminated:
        """Run a script to its end, however often it yields, and give everything that it wrote in one response.

        If the caller is cancelled the cell is terminated.
        """
        items: list[ContentItem] = []
        cell = await self.execute(ExecuteRequest(tool_call_id, list(tools), source))
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
        return msgspec.structs.replace(response, content_items=items + response.content_items)

    # binding

    async def open(self) -> None:
        """Bind the session for the first time. For the provider; cancelled, the host shuts the session down again."""
        driver = await self._provider.connect()
        binding = self._binding = driver.bind(self.session_id, self._delegate, 1)
        try:
            await binding.opened.get(binding.shut_down)
        except SessionClosedError:
            raise ProviderClosedError from None

    async def _bound(self) -> Binding:
        """The binding to a host that works. When it returns, a request can be sent at once."""
        while True:
            if self._closed or self._provider.closed:
                raise SessionClosedError(self.session_id)
            binding = self._binding
            if binding is None or binding.lost:
                try:
                    driver = await self._provider.connect()
                except ProviderClosedError:
                    raise SessionClosedError(self.session_id) from None
                if self._binding is binding and not self._closed:
                    # From here on the session owns the opening, whatever becomes of this caller.
                    self._past = [past for past in [*self._past, binding] if past is not None and not past.closed.done]
                    self._binding = driver.bind(self.session_id, self._delegate, self.generation)
            elif not binding.ready:
                await binding.opened.get()
            elif binding.driver.full:
                await binding.driver.room()
            else:
                return binding

    async def _observe(self, name: str, cell_id: str, ask: Callable[[Binding, str], Awaitable[Outcome]]) -> Outcome:
        tracing = self._provider.observer.tracing
        span = tracing.observe(name, self.session_id, cell_id) if tracing is not None else None
        try:
            binding, host_id = await self._bound_for(cell_id)
            if span is not None:
                span.bound(binding.cells.get(host_id))
            outcome = await ask(binding, host_id)
        except BaseException as error:
            if span is not None:
                span.failed(error)
            raise
        if span is not None:
            span.answered(outcome)
        return outcome

    async def _bound_for(self, cell_id: str) -> tuple[Binding, str]:
        """The binding that a public cell id belongs to, and the host's own id for the cell."""
        generation, host_id = parse_cell_id(cell_id)
        while True:
            if self._closed or self._provider.closed:
                raise SessionClosedError(self.session_id)
            if generation != self.generation:
                self._provider.observer.stale_cell_refused(self.session_id, cell_id, self.generation)
                raise StaleCellError(cell_id, generation, self.generation)
            binding = await self._bound()
            if binding.generation == generation:
                return binding, host_id
