"""OpenTelemetry spans of cells, of what observes them, and of their tool calls.

Imported only where a tracer provider was given, for it needs the extra `otel` and takes its time to import. Of
OpenTelemetry it uses the interface alone; where spans go is decided by the provider. Names of attributes beginning
with `gen_ai` and `error` are those of OpenTelemetry's semantic conventions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode, TracerProvider, set_span_in_context
from opentelemetry.util.types import Attributes

from codemode_client.cells import CellRecord, parse_cell_id
from codemode_client.counters import CellEnd
from codemode_protocol.values import MissingCell, Outcome, Result, Terminated, ToolInvocation

ERROR_TYPE = "error.type"
SESSION = "codemode.session"
CELL = "codemode.cell"
GENERATION = "codemode.generation"
CELL_END = "codemode.cell.end"
CELL_ABANDONED = "codemode.cell.abandoned"
LIMIT = "codemode.limit"
OUTCOME = "codemode.outcome"

_CANCELLED = "cancelled"
_CELL_ERRORS: dict[CellEnd, tuple[str, str]] = {
    "failed": ("script_error", "the script failed"),
    "limited": ("limit", "the cell met a limit"),
    "lost": ("host_lost", "the cell's host was lost"),
}


class CellSpan:
    """The span of one execute: from the call to the end of its cell and of the last of the cell's calls.

    It is nobody's current span, because it ends when a message comes in; its cell's calls are its children
    because they are told so.
    """

    __slots__ = ("_context", "_span", "_tracing")

    def __init__(self, tracing: Tracing, session_id: str, request: str) -> None:
        self._tracing = tracing
        attributes: Attributes = {SESSION: session_id, "gen_ai.tool.call.id": request}
        self._span = tracing.start("exec", attributes)
        # What the caller's context holds beside its span is for the calls, too.
        self._context = set_span_in_context(self._span)

    @property
    def context(self) -> SpanContext:
        """What links to it."""
        return self._span.get_span_context()

    def cell_started(self, record: CellRecord) -> None:
        self._span.set_attributes({CELL: record.public_id, GENERATION: record.binding.generation})

    def refused(self, error: BaseException) -> None:
        """There will be no cell."""
        _fail(self._span, error)
        self._span.end()

    def abandoned(self) -> None:
        """Its caller gave the cell up."""
        self._span.set_attribute(CELL_ABANDONED, True)

    def end(self, how: CellEnd, limit: str | None) -> None:
        self._span.set_attribute(CELL_END, how)
        if limit is not None:
            self._span.set_attribute(LIMIT, limit)
        if how in _CELL_ERRORS:
            kind, text = _CELL_ERRORS[how]
            self._span.set_attribute(ERROR_TYPE, kind)
            self._span.set_status(Status(StatusCode.ERROR, text))
        self._span.end()

    @contextmanager
    def call(self, record: CellRecord, invocation: ToolInvocation) -> Iterator[None]:
        """A tool call: its span is the current one in the block, so that the tool's own spans are its children."""
        tool = invocation.tool_name.qualified
        attributes: Attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": invocation.runtime_tool_call_id,
            SESSION: record.binding.session_id,
            CELL: record.public_id,
            GENERATION: record.binding.generation,
        }
        span = self._tracing.start(f"execute_tool {tool}", attributes, self._context)
        token = contexts.attach(set_span_in_context(span, self._context))
        try:
            yield
        except BaseException as error:
            _fail(span, error)
            raise
        finally:
            contexts.detach(token)
            span.end()


class ObservationSpan:
    """The span of a wait or a terminate: a child of its caller's span, with a link to the cell's."""

    __slots__ = ("_span",)

    def __init__(self, tracing: Tracing, name: str, session_id: str, cell_id: str) -> None:
        generation, _ = parse_cell_id(cell_id)
        self._span = tracing.start(name, {SESSION: session_id, CELL: cell_id, GENERATION: generation})

    def bound(self, cell: CellRecord | None) -> None:
        """The cell is on this session's present host, if it is known at all."""
        if cell is not None and cell.span is not None:
            self._span.add_link(cell.span.context)

    def answered(self, outcome: Outcome) -> None:
        self._span.set_attribute(OUTCOME, _name_of(outcome))
        self._span.end()

    def failed(self, error: BaseException) -> None:
        _fail(self._span, error)
        self._span.end()


class Tracing:
    """Makes the spans of one provider."""

    def __init__(self, tracer_provider: TracerProvider) -> None:
        try:
            release: str | None = version("codemode-host")
        except PackageNotFoundError:
            release = None
        self._tracer = tracer_provider.get_tracer("codemode_client", release)

    def start(self, name: str, attributes: Attributes, context: Context | None = None) -> Span:
        """A child of the span in `context`, by default of the caller's own."""
        return self._tracer.start_span(name, context, SpanKind.INTERNAL, attributes)

    def execute(self, session_id: str, request: str) -> CellSpan:
        return CellSpan(self, session_id, request)

    def observe(self, name: str, session_id: str, cell_id: str) -> ObservationSpan:
        return ObservationSpan(self, name, session_id, cell_id)


def _fail(span: Span, error: BaseException) -> None:
    if isinstance(error, Exception):
        kind = type(error)
        with suppress(Exception):  # the SDK asks the exception for its text, and that may fail
            span.record_exception(error)
        span.set_attribute(
            ERROR_TYPE, kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        )
        span.set_status(Status(StatusCode.ERROR, kind.__name__))
    else:  # whatever the event loop cancels with
        span.set_attribute(ERROR_TYPE, _CANCELLED)
        span.set_status(Status(StatusCode.ERROR, _CANCELLED))


def _name_of(outcome: Outcome) -> str:
    if isinstance(outcome, MissingCell):
        return "missing"
    if isinstance(outcome.response, Result):
        return "result"
    return "terminated" if isinstance(outcome.response, Terminated) else "yielded"
