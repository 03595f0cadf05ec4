"""`exec` and `wait` for a model: their definitions for a request, and handling the model's calls."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import anyio
from msgspec import Struct, field

from codemode_client._model.definitions import (
    ArgumentsError,
    ModelToolDefinition,
    Until,
    exec_definition,
    exec_source,
    wait_arguments,
    wait_definition,
)
from codemode_client._model.hints import hint
from codemode_client._model.output import ModelOutput, ModelStatus, present, refuse
from codemode_client._model.source_positions import locate, quote_line
from codemode_client._session.cell_ids import parse_cell_id
from codemode_protocol.descriptions import exec_description, wait_description
from codemode_protocol.errors import (
    CodeModeError,
    HostLostError,
    RequestFailedError,
    RequestTooLargeError,
    StaleCellError,
)
from codemode_protocol.session import Session
from codemode_protocol.source import ExecSource, SourceError, parse_source
from codemode_protocol.tools import visible_tools
from codemode_protocol.typescript import with_declarations
from codemode_protocol.values import (
    DEFAULT_MAX_OUTPUT_TOKENS,
    DEFAULT_YIELD_TIME_MS,
    MAX_YIELD_TIME_MS,
    ContentItem,
    ExecuteRequest,
    InputAudio,
    InputImage,
    InputText,
    MissingCell,
    RuntimeResponse,
    Terminated,
    ToolDefinition,
    WaitRequest,
    Yielded,
)

DEFAULT_MAX_WAIT_MS = 600_000
NEWS_INTERVAL_MS = 100
"""The polling interval of a wait for news: a host answers at a yield, not at the first output."""
MAX_GATHERED = 32 * 1_048_576
"""A wait for the end returns early with more characters of output than this."""
GIVE_UP_SECONDS = 10.0


class ToolSource(Protocol):
    """A `Toolbox`, or any other object that has the definitions of tools."""

    @property
    def definitions(self) -> list[ToolDefinition]: ...


class _Enabled(Struct):
    """The tools as given, with their declarations for `ALL_TOOLS`, and their names in JavaScript."""

    given: list[ToolDefinition]
    described: list[ToolDefinition]
    names: list[str]


class _Cell(Struct, eq=False):
    """The state of a cell until its end was reported to the model."""

    id: str
    source: ExecSource | None = None
    observed: bool = False
    """A call waits for it."""
    stopped: bool = False
    """A call has terminated it."""
    held: list[ContentItem] = field(default_factory=list)
    """Output taken from the session and not yet returned to a caller."""

    def take(self) -> list[ContentItem]:
        """Take the held output."""
        held, self.held = self.held, []
        return held


class ModelTools:
    """The two tools `exec` and `wait`, through which a model runs scripts in one session.

    A model's mistake never raises: it is returned as a `ModelOutput` that explains it, as is the loss of a host. All
    calls may raise `SessionClosedError`, `ProviderClosedError` and `HostStartError`. A cancelled `exec` terminates its
    cell; a cancelled `wait` loses no output. Notifications go to the session's delegate (`Toolbox.on_notify`).

    Args:
        session: A session with the async interface `codemode_protocol.session.Session`, under trio or asyncio.
        tools: A `Toolbox`, whose tools are read again at every call, or definitions.
        exec_name: The name of `exec`.
        wait_name: The name of `wait`.
        max_output_tokens: The default budget of an output, in tokens of four bytes.
        yield_time_ms: The default time of a call, in milliseconds.
        max_wait_ms: The longest time of a call, in milliseconds; None for no limit.

    Raises:
        ToolNameConflictError: Two of the tools have the same name in JavaScript.
        ValueError: The two names are equal, or a number is negative.
    """

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
        if exec_name == wait_name:
            raise ValueError(f"exec and wait cannot both be named {exec_name}")
        for name, value in (("max_output_tokens", max_output_tokens), ("max_wait_ms", max_wait_ms)):
            if value is not None and value < 0:
                raise ValueError(f"{name} {value} is negative")
        self._session = session
        self._tools = tools
        self._exec_name = exec_name
        self._wait_name = wait_name
        self._max_output_tokens = max_output_tokens
        self._max_wait_ms = max_wait_ms
        self._yield_time_ms = self._bounded(yield_time_ms)
        self._cells: dict[str, _Cell] = {}
        self._generation: int | None = None
        """The generation of the last cell; None if the model has seen no cell or was told of the loss."""
        self._numbers = itertools.count(1)
        self._last = _Enabled([], [], [])
        self._enabled()

    @property
    def definitions(self) -> list[ModelToolDefinition]:
        """The definitions of `exec`, which describes the nested tools, and `wait`."""
        description = exec_description(self._enabled().given, wait_name=self._wait_name)
        return [
            exec_definition(self._exec_name, description),
            wait_definition(self._wait_name, wait_description(exec_name=self._exec_name)),
        ]

    async def call(
        self, name: str, arguments: str | Mapping[str, object], *, call_id: str | None = None
    ) -> ModelOutput:
        """Handle a model's tool call.

        Args:
            name: The name in the call.
            arguments: The raw text of a custom tool, JSON text, or a decoded object.
            call_id: The API's id of the call, which is passed on with the notifications of an `exec`.
        """
        try:
            if name == self._exec_name:
                return await self.exec(exec_source(name, arguments), call_id=call_id)
            if name == self._wait_name:
                wanted = wait_arguments(name, arguments)
                return await self.wait(
                    str(wanted.cell_id),
                    yield_time_ms=None if wanted.yield_time_ms is None else int(wanted.yield_time_ms),
                    max_tokens=None if wanted.max_tokens is None else int(wanted.max_tokens),
                    terminate=bool(wanted.terminate),
                    until=wanted.until or "yield",
                )
        except ArgumentsError as error:
            return refuse(str(error))
        reason = f"There is no tool `{name}` to call. There are `{self._exec_name}` and `{self._wait_name}`."
        if name in self._enabled().names:
            reason += f" Call the tool from a script: {self._exec_name} with `text(await tools.{name}(…))`."
        return refuse(reason)

    async def exec(self, source: str, *, call_id: str | None = None) -> ModelOutput:
        """Run a script, which may begin with a pragma, until it ends, yields, or the time is over.

        If the caller is cancelled, the cell is terminated, because its id was not returned.

        Args:
            source: The script.
            call_id: The model API's id of the call, passed on with notifications.
        """
        begin = anyio.current_time()
        cell: _Cell | None = None
        try:
            parsed = parse_source(source)
            parsed.source.encode()
            yield_time_ms = self._yield_time_ms if parsed.yield_time_ms is None else self._bounded(parsed.yield_time_ms)
            started = await self._session.execute(
                ExecuteRequest(
                    call_id or f"{self._exec_name}-{next(self._numbers)}",
                    self._enabled().described,
                    parsed.source,
                    yield_time_ms,
                    parsed.max_output_tokens,
                )
            )
            cell = self._cells[started.cell_id] = _Cell(started.cell_id, parsed, observed=True)
            remark = self._note_generation(cell)
            try:
                response = await started.initial_response()
            except BaseException as error:
                if not isinstance(error, CodeModeError):
                    await self._give_up(cell)
                raise
            finally:
                cell.observed = False
        except SourceError as error:
            return refuse(str(error))
        except UnicodeEncodeError as error:
            return refuse(f"The source is not valid Unicode text: {error}")
        except HostLostError as error:
            return self._lost(error, cell, begin)
        except (RequestFailedError, RequestTooLargeError) as error:
            if cell is None:
                return refuse(f"The script was not started: {error}")
            # Its output is not available; report the failure alone.
            self._forget(cell)
            return self._present("failed", cell, begin, None, error=str(error))
        cell.held += response.content_items
        return self._tell(cell, response, begin, None, remark)

    async def wait(
        self,
        cell_id: str,
        *,
        yield_time_ms: int | None = None,
        max_tokens: int | None = None,
        terminate: bool = False,
        until: Until = "yield",
    ) -> ModelOutput:
        """Wait for a running cell, or terminate it, and return its output since the last answer.

        Args:
            cell_id: The cell.
            yield_time_ms: Milliseconds after which to return; by default the tools' own for `until="yield"`, else
                their `max_wait_ms`.
            max_tokens: The budget of the output, in tokens; by default the script's or the tools'.
            terminate: Terminate the cell.
            until: When to return: "yield" when the cell ends or yields; "news" when it ends or has output; "end" when
                it ends, or has more output than one answer should.
        """
        begin = anyio.current_time()
        try:
            cell_id.encode()
        except UnicodeEncodeError:
            return refuse(self._missing(repr(cell_id)))
        cell = self._cells.get(cell_id) or _Cell(cell_id)
        if cell.observed and not terminate:
            reason = f"Another call waits for cell {cell_id} already, and gets its output: wait for that answer first."
            return refuse(reason, cell_id)
        if yield_time_ms is None and until == "yield":
            yield_time_ms = self._yield_time_ms
        self._cells[cell_id] = cell
        try:
            if terminate:
                # A concurrent wait may find the cell missing before this answer is received.
                cell.stopped = True
                outcome = await self._session.terminate(cell_id)
                response = None if isinstance(outcome, MissingCell) else outcome.response
                cell.held += outcome.response.content_items
            else:
                response = await self._observe(cell, until, self._bounded(yield_time_ms))
        except StaleCellError as error:
            self._forget(cell)
            return refuse(
                f"Cell {cell_id} is gone: the host process that ran it was lost (it was of generation "
                f"{error.cell_generation}, now is {error.current_generation}), and so are the values stored then. "
                f"Run the script again with `{self._exec_name}`.",
                cell_id,
            )
        except HostLostError as error:
            return self._lost(error, cell, begin)
        except RequestFailedError as error:
            return refuse(f"The host refused: {error}.", cell_id)
        if response is None:
            self._forget(cell)
            if cell.stopped and not terminate:
                return self._present("terminated", cell, begin, max_tokens)
            return refuse(self._missing(cell_id), cell_id)
        return self._tell(cell, response, begin, max_tokens)

    async def _observe(self, cell: _Cell, until: Until, limit_ms: int) -> RuntimeResponse | None:
        """Wait for a cell as `until` says and add its output to `cell.held`; return None if the cell is missing."""
        deadline = anyio.current_time() + limit_ms / 1000
        interval = 0 if until == "news" else limit_ms
        cell.observed = True
        try:
            while True:
                outcome = await self._session.wait(WaitRequest(cell.id, interval))
                if isinstance(outcome, MissingCell):
                    return None
                response = outcome.response
                cell.held += response.content_items
                left = deadline - anyio.current_time()
                if (
                    not isinstance(response, Yielded)
                    or until == "yield"
                    or (until == "news" and cell.held)
                    or left <= 0
                    or sum(map(_size, cell.held)) > MAX_GATHERED
                ):
                    return response
                interval = min(math.ceil(left * 1000), NEWS_INTERVAL_MS if until == "news" else MAX_YIELD_TIME_MS)
        finally:
            cell.observed = False

    async def _give_up(self, cell: _Cell) -> None:
        """Terminate a cell whose caller is being cancelled."""
        self._forget(cell)
        # An error means that it has already ended.
        with anyio.move_on_after(GIVE_UP_SECONDS, shield=True), contextlib.suppress(CodeModeError):
            await self._session.terminate(cell.id)

    def _tell(
        self, cell: _Cell, response: RuntimeResponse, begin: float, max_tokens: int | None, remark: str | None = None
    ) -> ModelOutput:
        """Return the output for a cell's response, whose content is already in `cell.held`."""
        if isinstance(response, Yielded):
            return self._present("running", cell, begin, max_tokens, remark=remark)
        self._forget(cell)
        if isinstance(response, Terminated):
            return self._present("terminated", cell, begin, max_tokens, remark=remark)
        if response.error_text is None:
            return self._present("completed", cell, begin, max_tokens, remark=remark)
        error = self._explain(response.error_text, cell.source)
        return self._present("failed", cell, begin, max_tokens, error=error, remark=remark)

    def _present(
        self,
        status: ModelStatus,
        cell: _Cell,
        begin: float,
        max_tokens: int | None,
        *,
        error: str | None = None,
        remark: str | None = None,
    ) -> ModelOutput:
        if max_tokens is None and cell.source is not None:
            max_tokens = cell.source.max_output_tokens
        return present(
            status,
            cell.id,
            seconds=anyio.current_time() - begin,
            output=cell.take(),
            max_tokens=self._max_output_tokens if max_tokens is None else max_tokens,
            error=error,
            remark=remark,
            wait_name=self._wait_name,
        )

    def _explain(self, error_text: str, source: ExecSource | None) -> str:
        """Return a script's error with its author's line numbers, the line itself, and a hint."""
        parts = [error_text]
        if source is not None:
            parts = [locate(error_text, source, self._exec_name)]
            if (line := quote_line(error_text, source)) is not None:
                parts.append(line)
        text = hint(error_text, None if source is None else source.source, self._enabled().names)
        if text is not None:
            parts.append(f"Hint: {text}")
        return "\n\n".join(parts)

    def _missing(self, cell_id: str) -> str:
        running = [f'"{cell.id}"' for cell in self._cells.values()]
        text = (
            f"There is no cell {cell_id} to wait for: it has ended and its result was given already, or it never was."
        )
        if running:
            return f"{text} These may still run: {', '.join(running)}."
        return f"{text} No other cell is running either."

    def _lost(self, error: HostLostError, cell: _Cell | None, begin: float) -> ModelOutput:
        """Return the output for the loss of a host: what is gone, and what the model can do."""
        cell = cell or _Cell("")
        self._cells.clear()
        self._generation = None
        return present(
            "failed",
            cell.id or None,
            seconds=anyio.current_time() - begin,
            output=cell.take(),
            max_tokens=self._max_output_tokens,
            error=f"{str(error).partition('; its last lines')[0]}\n\n"
            "The process that ran the scripts is gone, and with it every running cell and every stored value. What the "
            "scripts' tool calls did remains done; nothing was retried. "
            f"Go on with `{self._exec_name}`: a fresh process is started for it.",
        )

    def _note_generation(self, cell: _Cell) -> str | None:
        """Return a note if a cell is the first one after the loss of a host."""
        generation, _ = parse_cell_id(cell.id)
        before, self._generation = self._generation, generation
        if before is None or before == generation:
            return None
        for other in [other for other in self._cells.values() if other is not cell]:
            if parse_cell_id(other.id)[0] < generation:
                self._forget(other)
        return (
            "the process that ran the earlier scripts was lost. Its cells, and the values stored before this script, "
            "are gone."
        )

    def _forget(self, cell: _Cell) -> None:
        if self._cells.get(cell.id) is cell:
            del self._cells[cell.id]

    def _bounded(self, yield_time_ms: int | None) -> int:
        """Return the time of a call in milliseconds; None asks for the longest."""
        if yield_time_ms is not None and yield_time_ms < 0:
            raise ValueError(f"yield_time_ms {yield_time_ms} is negative")
        limit = MAX_YIELD_TIME_MS if self._max_wait_ms is None else self._max_wait_ms
        return limit if yield_time_ms is None else min(yield_time_ms, limit)

    def _enabled(self) -> _Enabled:
        """Return the tools as they are now."""
        given = list(self._tools if isinstance(self._tools, Sequence) else self._tools.definitions)
        if given != self._last.given:
            names = [tool.name for tool in visible_tools(given)]
            self._last = _Enabled(given, with_declarations(given), names)
        return self._last


def _size(item: ContentItem) -> int:
    match item:
        case InputText(text):
            return len(text)
        case InputImage(url) | InputAudio(url):
            return len(url)


__all__ = ["ModelOutput", "ModelToolDefinition", "ModelTools", "ToolSource", "Until"]
