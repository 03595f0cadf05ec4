"""OpenTelemetry spans of cells, waits, terminates and tool calls.

Imported only if a tracer provider is given: it needs the extra `otel` and is slow to import. It uses only the API; the
tracer provider decides where spans go. Attribute names beginning with `gen_ai` and `error` follow OpenTelemetry's
semantic conventions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode, TracerProvider, set_span_in_context
from opentelemetry.util.types import Attributes

from codemode_client._observability.events import CellLabels
from codemode_client._version import __version__
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
    """The span of one execute: from the call to the end of its cell and of the cell's last tool call.

    It is never the current span, because it ends when a message is received; tool calls get it as their parent.
    """

    __slots__ = ("_context", "_span", "_tracing")

    def __init__(self, tracing: Tracing, session_id: str, request: str) -> None:
        self._tracing = tracing
        attributes: Attributes = {SESSION: session_id, "gen_ai.tool.call.id": request}
        self._span = tracing.start("exec", attributes)
        # Tool calls also inherit the rest of the caller's context.
        self._context = set_span_in_context(self._span)

    @property
    def context(self) -> SpanContext:
        """The span's context, for links."""
        return self._span.get_span_context()

    def cell_started(self, labels: CellLabels) -> None:
        """Set which cell it is."""
        self._span.set_attributes({CELL: labels.cell, GENERATION: labels.generation})

    def refused(self, error: BaseException) -> None:
        """End the span because no cell starts."""
        _fail(self._span, error)
        self._span.end()

    def abandoned(self) -> None:
        """Mark the cell as given up by its caller."""
        self._span.set_attribute(CELL_ABANDONED, True)

    def end(self, how: CellEnd, limit: str | None) -> None:
        """End the span with its cell."""
        self._span.set_attribute(CELL_END, how)
        if limit is not None:
            self._span.set_attribute(LIMIT, limit)
        if how in _CELL_ERRORS:
            kind, text = _CELL_ERRORS[how]
            self._span.set_attribute(ERROR_TYPE, kind)
            self._span.set_status(Status(StatusCode.ERROR, text))
        self._span.end()

    @contextmanager
    def call(self, labels: CellLabels, invocation: ToolInvocation) -> Iterator[None]:
        """Make the span of a tool call the current one in the block, as the parent of the tool's own spans."""
        tool = invocation.tool_name.qualified
        attributes: Attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": invocation.runtime_tool_call_id,
            SESSION: labels.session,
            CELL: labels.cell,
            GENERATION: labels.generation,
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

    def __init__(self, tracing: Tracing, name: str, session_id: str, cell_id: str, generation: int) -> None:
        self._span = tracing.start(name, {SESSION: session_id, CELL: cell_id, GENERATION: generation})

    def link(self, cell: CellSpan) -> None:
        """Link to the span of the observed cell."""
        self._span.add_link(cell.context)

    def answered(self, outcome: Outcome) -> None:
        """End the span with an outcome."""
        self._span.set_attribute(OUTCOME, _name_of(outcome))
        self._span.end()

    def failed(self, error: BaseException) -> None:
        """End the span with an error."""
        _fail(self._span, error)
        self._span.end()


class Tracing:
    """The maker of one provider's spans."""

    def __init__(self, tracer_provider: TracerProvider) -> None:
        self._tracer = tracer_provider.get_tracer("codemode_client", __version__)

    def start(self, name: str, attributes: Attributes, context: Context | None = None) -> Span:
        """Start a child of the span in `context`, by default of the caller's own."""
        return self._tracer.start_span(name, context, SpanKind.INTERNAL, attributes)

    def execute(self, session_id: str, request: str) -> CellSpan:
        """Start the span of an execute."""
        return CellSpan(self, session_id, request)

    def observe(self, name: str, session_id: str, cell_id: str, generation: int) -> ObservationSpan:
        """Start the span of a wait or a terminate."""
        return ObservationSpan(self, name, session_id, cell_id, generation)


def _fail(span: Span, error: BaseException) -> None:
    if isinstance(error, Exception):
        kind = type(error)
        with suppress(Exception):  # the SDK calls the exception's __str__, which may raise
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
