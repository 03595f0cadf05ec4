"""The spans of cells, of what observes them, and of their tool calls, on a real host and OpenTelemetry's own SDK."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import anyio
import pytest
from msgspec import Raw
from opentelemetry import baggage, trace
from opentelemetry import context as contexts
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from codemode_client import CodeModeProvider, Toolbox, blocking
from codemode_protocol.errors import HostLostError, StaleCellError, ToolError
from codemode_protocol.values import ExecuteRequest, Result, ToolInvocation, WaitRequest, Yielded
from tests.client.host_process import kill_host
from tests.client.recorder import Recorder, define_tool, forever

# The loops differ below sessions, where others prove it on each.
pytestmark = pytest.mark.loops("asyncio")


class Spans:
    """A tracer provider of the SDK's, and the spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    @property
    def ended(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.ended if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        found = self.named(name)
        assert len(found) == 1, [span.name for span in self.ended]
        return found[0]


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    yield spans
    spans.provider.shutdown()


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    assert span.context is not None
    assert parent.context is not None
    return (
        span.parent is not None
        and span.parent.span_id == parent.context.span_id
        and span.context.trace_id == parent.context.trace_id
    )


def is_within(span: ReadableSpan, parent: ReadableSpan) -> bool:
    times = (parent.start_time, span.start_time, span.end_time, parent.end_time)
    return list(times) == sorted(time for time in times if time is not None)


@pytest.mark.loops("asyncio", "trio")
async def test_one_trace_leads_from_the_caller_to_what_its_tools_do(host_command: list[str], spans: Spans) -> None:
    toolbox = Toolbox()
    both = anyio.Event()
    running = 0

    @toolbox.tool
    async def ask(city: str) -> str:
        nonlocal running
        running += 1
        if running == 2:
            both.set()
        await both.wait()
        with spans.tracer.start_as_current_span(f"ask {city}"):
            return str(baggage.get_baggage("tenant"))

    @toolbox.tool
    def in_a_thread(city: str) -> None:
        with spans.tracer.start_as_current_span(f"thread {city}"):
            pass

    source = """
        const tenants = await Promise.all(["Oslo", "Rome"].map((city) => tools.ask({ city })));
        await tools.in_a_thread({ city: "Lima" });
        if (tenants.join() !== "blue,blue") throw new Error(tenants.join());
    """
    async with (
        CodeModeProvider(host_command, tracer_provider=spans.provider) as provider,
        provider.session(toolbox, "mine") as session,
    ):
        with spans.tracer.start_as_current_span("caller"):
            token = contexts.attach(baggage.set_baggage("tenant", "blue"))
            cell = await session.execute(ExecuteRequest("call-7", toolbox.definitions, source))
            await cell.initial_response()
            contexts.detach(token)
    caller, cell_span = spans.one("caller"), spans.one("exec")
    calls = spans.named("execute_tool ask")
    assert is_child(cell_span, caller)
    assert len(calls) == 2
    for call in calls:
        assert is_child(call, cell_span)
        assert is_within(call, cell_span)
    inner = spans.one("ask Oslo"), spans.one("ask Rome")
    assert [[is_child(span, call) for call in calls].count(True) for span in inner] == [1, 1]
    assert inner[0].parent != inner[1].parent
    # They ran at the same time.
    assert max(call.start_time or 0 for call in calls) < min(call.end_time or 0 for call in calls)
    in_thread = spans.one("execute_tool in_a_thread")
    assert is_child(in_thread, cell_span)
    assert is_child(spans.one("thread Lima"), in_thread)

    assert cell_span.attributes == {
        "codemode.session": "mine",
        "codemode.cell": "1",
        "codemode.generation": 1,
        "codemode.cell.end": "completed",
        "gen_ai.tool.call.id": "call-7",
    }
    assert in_thread.attributes == {
        "codemode.session": "mine",
        "codemode.cell": "1",
        "codemode.generation": 1,
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "in_a_thread",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "tool-3",
    }
    assert {span.status.status_code for span in spans.ended} == {StatusCode.UNSET}
    assert cell_span.instrumentation_scope is not None
    assert cell_span.instrumentation_scope.name == "codemode_client"


async def test_what_observes_a_cell_is_its_callers_child_and_links_to_the_cell(
    host_command: list[str], spans: Spans
) -> None:
    recorder = Recorder()
    async with (
        CodeModeProvider(host_command, tracer_provider=spans.provider) as provider,
        provider.session(recorder) as session,
    ):
        cell = await session.execute(ExecuteRequest("call", [], "await new Promise(() => {})", 0))
        assert isinstance(await cell.initial_response(), Yielded)
        with spans.tracer.start_as_current_span("caller"):
            await session.wait(WaitRequest(cell.cell_id, 0))
            await session.terminate(cell.cell_id)
            await session.wait(WaitRequest("77", 0))
        await recorder.until(lambda: recorder.closed)
    cell_span, caller = spans.one("exec"), spans.one("caller")
    waited, missing = spans.named("wait")
    terminated = spans.one("terminate")
    for span, outcome in ((waited, "yielded"), (terminated, "terminated"), (missing, "missing")):
        assert is_child(span, caller)
        assert span.attributes is not None
        assert span.attributes["codemode.outcome"] == outcome
    assert [link.context for link in waited.links] == [link.context for link in terminated.links] == [cell_span.context]
    assert missing.links == ()
    assert cell_span.parent is None
    assert cell_span.attributes is not None
    assert cell_span.attributes["codemode.cell.end"] == "terminated"
    assert cell_span.status.status_code is StatusCode.UNSET


async def test_what_goes_wrong_in_a_tool_is_recorded_in_its_span(host_command: list[str], spans: Spans) -> None:
    async def crash(_: ToolInvocation) -> Raw:
        raise ValueError("the reason")

    async def refuse(_: ToolInvocation) -> Raw:
        raise ToolError("no")

    recorder = Recorder(crash=crash, refuse=refuse, hang=forever)
    source = """
        void tools.hang();
        await tools.crash().catch(() => {});
        await tools.refuse();
    """
    async with (
        CodeModeProvider(host_command, tracer_provider=spans.provider) as provider,
        provider.session(recorder) as session,
    ):
        await session.run(source, [define_tool(name) for name in recorder.tools])
        await recorder.until(lambda: recorder.closed)
    crashed = spans.one("execute_tool crash")
    assert crashed.attributes is not None
    assert crashed.attributes["error.type"] == "ValueError"
    assert crashed.status.status_code is StatusCode.ERROR
    [event] = crashed.events
    assert event.name == "exception"
    assert event.attributes is not None
    assert event.attributes["exception.message"] == "the reason"
    refused = spans.one("execute_tool refuse")
    assert refused.attributes is not None
    assert refused.attributes["error.type"] == "codemode_protocol.errors.ToolError"
    hanging, cell_span = spans.one("execute_tool hang"), spans.one("exec")
    assert hanging.attributes is not None
    assert hanging.attributes["error.type"] == "cancelled"
    assert hanging.events == ()
    # Its cell's span ends after it.
    assert is_within(hanging, cell_span)
    assert cell_span.attributes is not None
    assert (cell_span.attributes["codemode.cell.end"], cell_span.attributes["error.type"]) == ("failed", "script_error")
    assert cell_span.status.status_code is StatusCode.ERROR


async def test_an_exception_without_words_is_recorded_as_an_error_all_the_same(
    host_command: list[str], spans: Spans
) -> None:
    class WordlessError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    async def crash(_: ToolInvocation) -> Raw:
        raise WordlessError

    recorder = Recorder(crash=crash)
    async with (
        CodeModeProvider(host_command, tracer_provider=spans.provider) as provider,
        provider.session(recorder) as session,
    ):
        result = await session.run("await tools.crash()", [define_tool("crash")])
    assert isinstance(result, Result)
    assert result.error_text == "WordlessError"
    assert spans.one("execute_tool crash").status.status_code is StatusCode.ERROR


async def test_a_lost_host_ends_the_spans_that_were_open(host_command: list[str], spans: Spans) -> None:
    recorder = Recorder(hang=forever)
    async with (
        CodeModeProvider(host_command, tracer_provider=spans.provider) as provider,
        provider.session(recorder) as session,
    ):
        cell = await session.execute(ExecuteRequest("call", [define_tool("hang")], "await tools.hang()", 0))
        await recorder.until(lambda: recorder.calls)
        kill_host(provider)
        with pytest.raises((HostLostError, StaleCellError)):
            while True:
                await session.wait(WaitRequest(cell.cell_id, 60_000))
        await session.run("")
        with pytest.raises(StaleCellError):
            await session.terminate(cell.cell_id)
    lost, after = spans.named("exec")
    assert lost.attributes is not None
    assert (lost.attributes["codemode.cell.end"], lost.attributes["error.type"]) == ("lost", "host_lost")
    assert lost.status.status_code is StatusCode.ERROR
    assert is_child(spans.one("execute_tool hang"), lost)
    assert spans.named("wait")[-1].status.status_code is StatusCode.ERROR
    stale = spans.one("terminate")
    assert stale.attributes is not None
    assert stale.attributes["error.type"] == "codemode_protocol.errors.StaleCellError"
    assert after.attributes is not None
    assert (after.attributes["codemode.cell"], after.attributes["codemode.generation"]) == ("g2:1", 2)


async def test_an_execute_that_starts_no_cell_has_a_span_that_says_why(host_command: list[str], spans: Spans) -> None:
    async with CodeModeProvider(
        [*host_command, "--source-mib", "1"], tracer_provider=spans.provider, max_frame_bytes=4 * 1024 * 1024
    ) as provider:
        async with provider.session(Recorder()) as session:
            for size in (2, 5):
                with pytest.raises(Exception, match="more than"):
                    await session.execute(ExecuteRequest("call", [], " " * size * 1024 * 1024))
        with pytest.raises(Exception, match="shut down"):
            await session.execute(ExecuteRequest("call", [], ""))
    kinds = [(span.attributes or {}).get("error.type") for span in spans.named("exec")]
    assert kinds == [
        f"codemode_protocol.errors.{name}"
        for name in ("RequestFailedError", "RequestTooLargeError", "SessionClosedError")
    ]


@pytest.mark.loops("asyncio", "trio")
async def test_the_cell_of_a_cancelled_caller_has_a_span_to_its_end(host_command: list[str], spans: Spans) -> None:
    recorder = Recorder()
    async with (
        CodeModeProvider(host_command, tracer_provider=spans.provider) as provider,
        provider.session(recorder) as session,
    ):
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(session.run, "notify('here'); await new Promise(() => {})")
            await recorder.until(lambda: recorder.notifications)
            nursery.cancel_scope.cancel()
        await recorder.until(lambda: recorder.closed)
    cell_span = spans.one("exec")
    assert cell_span.attributes is not None
    assert cell_span.attributes["codemode.cell.abandoned"] is True
    assert cell_span.attributes["codemode.cell.end"] == "terminated"


def test_a_trace_leads_through_the_asyncio_and_the_blocking_client_too(host_command: list[str], spans: Spans) -> None:
    toolbox = Toolbox()

    @toolbox.tool
    async def on_the_loop() -> None:
        with spans.tracer.start_as_current_span("inner"):
            pass

    @toolbox.tool
    def in_a_thread() -> None:
        with spans.tracer.start_as_current_span("inner"):
            pass

    async def with_asyncio() -> None:
        async with (
            CodeModeProvider(host_command, tracer_provider=spans.provider) as provider,
            provider.session(toolbox) as session,
        ):
            with spans.tracer.start_as_current_span("caller"):
                await session.run("await tools.on_the_loop()", toolbox.definitions)

    def with_blocking_calls() -> None:
        with (
            blocking.CodeModeProvider(host_command, tracer_provider=spans.provider) as provider,
            provider.session(toolbox) as session,
            spans.tracer.start_as_current_span("caller"),
        ):
            session.run("await tools.in_a_thread()", toolbox.definitions)

    asyncio.run(with_asyncio())
    with_blocking_calls()
    for tool, caller, cell_span, inner in zip(
        ("on_the_loop", "in_a_thread"), spans.named("caller"), spans.named("exec"), spans.named("inner"), strict=True
    ):
        call = spans.one(f"execute_tool {tool}")
        assert is_child(cell_span, caller)
        assert is_child(call, cell_span)
        assert is_child(inner, call)


async def test_without_a_tracer_provider_no_span_is_made(host_command: list[str], spans: Spans) -> None:
    async def look(_: ToolInvocation) -> Raw:
        assert not trace.get_current_span().get_span_context().is_valid
        return Raw(b"null")

    async with CodeModeProvider(host_command) as provider, provider.session(Recorder(look=look)) as session:
        response = await session.run("await tools.look()", [define_tool("look")])
        assert getattr(response, "error_text", "") is None
    assert spans.ended == []


def test_without_opentelemetry_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, spans: Spans) -> None:
    monkeypatch.delitem(sys.modules, "codemode_client._observability.telemetry", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ImportError, match=r"pip install 'codemode-host\[otel\]'"):
        CodeModeProvider(tracer_provider=spans.provider)
