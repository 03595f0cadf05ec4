"""Generated messages: every kind, with any text, large numbers, and JSON of any shape."""

from __future__ import annotations

from codemode_protocol.testing import _hypothesis  # noqa: F401 - first, to say which extra is missing

# isort: split
import json
from typing import Any

from hypothesis import strategies as st
from msgspec import UNSET, Raw, UnsetType

from codemode_protocol import messages as m
from codemode_protocol import values as v
from codemode_protocol.ids import MAX_ID, MIN_ID

ids: st.SearchStrategy[int] = st.integers(MIN_ID, MAX_ID)
texts: st.SearchStrategy[str] = st.text(st.characters(exclude_categories=["Cs"]))
names: st.SearchStrategy[str] = texts.filter(lambda text: bool(text.strip()))
durations: st.SearchStrategy[UnsetType | int] = st.just(UNSET) | st.integers(0, 2**63)
yield_times: st.SearchStrategy[int] = st.integers(0, v.MAX_YIELD_TIME_MS)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda children: st.lists(children, max_size=5) | st.dictionaries(texts, children, max_size=5),
)


@st.composite
def raws(draw: st.DrawFn) -> Raw:
    """JSON that passes through, compact or spread over lines, ASCII or not."""
    indent = draw(st.sampled_from([None, 1]))
    return Raw(json.dumps(draw(json_values), ensure_ascii=draw(st.booleans()), indent=indent).encode())


tool_names: st.SearchStrategy[v.ToolName] = st.builds(v.ToolName, texts, st.none() | texts)
kinds: st.SearchStrategy[v.ToolKind] = st.sampled_from(v.ToolKind)
tools: st.SearchStrategy[v.ToolDefinition] = st.builds(
    v.ToolDefinition, texts, tool_names, texts, kinds, raws(), raws()
)
execute_requests: st.SearchStrategy[v.ExecuteRequest] = st.builds(
    v.ExecuteRequest,
    texts,
    st.lists(tools, max_size=3),
    texts,
    st.none() | yield_times,
    st.none() | st.integers(-(2**31), 2**31 - 1),
)
requests: st.SearchStrategy[m.Request] = st.one_of(
    st.builds(m.OpenSession, names),
    st.builds(m.Execute, names, execute_requests),
    st.builds(m.Wait, names, st.builds(v.WaitRequest, texts, yield_times)),
    st.builds(m.Terminate, names, texts),
    st.builds(m.ShutdownSession, names),
)
failures: st.SearchStrategy[m.Failure] = st.builds(m.Failure, texts)
capabilities: st.SearchStrategy[list[str]] = st.lists(names, max_size=6, unique=True)
versions: st.SearchStrategy[list[int]] = st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=4, unique=True)


@st.composite
def hellos(draw: st.DrawFn) -> m.Hello:
    both = draw(capabilities)
    cut = draw(st.integers(0, len(both)))
    return m.Hello(draw(versions), both[:cut], both[cut:])


delegate_values: st.SearchStrategy[m.DelegateValue] = st.builds(m.ToolResult, raws()) | st.builds(
    m.NotificationDelivered
)
client_messages: st.SearchStrategy[m.ClientMessage] = st.one_of(
    hellos(),
    st.builds(m.OperationRequest, ids, requests),
    st.builds(m.OperationCancel, ids),
    st.builds(m.DelegateResponse, ids, st.builds(m.Success[m.DelegateValue], delegate_values) | failures),
)

items: st.SearchStrategy[list[v.ContentItem]] = st.lists(
    st.one_of(
        st.builds(v.InputText, texts),
        st.builds(v.InputImage, texts, st.just(UNSET) | st.sampled_from(v.ImageDetail)),
        st.builds(v.InputAudio, texts),
    ),
    max_size=4,
)
responses: st.SearchStrategy[v.RuntimeResponse] = st.one_of(
    st.builds(v.Yielded, texts, items, durations),
    st.builds(v.Terminated, texts, items, durations),
    st.builds(v.Result, texts, items, st.none() | texts, durations, durations),
)
outcomes: st.SearchStrategy[v.Outcome] = st.builds(v.LiveCell, responses) | st.builds(v.MissingCell, responses)
operation_values: st.SearchStrategy[m.OperationValue] = st.one_of(
    st.builds(m.SessionReady, names),
    st.builds(m.ExecutionStarted, texts),
    st.builds(m.WaitCompleted, outcomes.map(v.OutcomeEnvelope.of)),
    st.builds(m.SessionClosed, names),
)
delegate_calls: st.SearchStrategy[m.DelegateCall] = st.builds(
    m.InvokeTool, st.builds(v.ToolInvocation, texts, texts, tool_names, kinds, raws())
) | st.builds(m.SendNotification, texts, texts, texts)
rejections: st.SearchStrategy[m.RejectionReason] = st.one_of(
    st.builds(m.NoCompatibleVersion, versions),
    st.builds(m.MissingRequiredCapability, names),
    st.builds(m.InvalidHello, texts),
)
host_messages: st.SearchStrategy[m.HostMessage] = st.one_of(
    st.builds(m.Ready, st.integers(1, 2**32 - 1), capabilities),
    st.builds(m.Rejected, rejections),
    st.builds(m.OperationResponse, ids, st.builds(m.Success[m.OperationValue], operation_values) | failures),
    st.builds(
        m.InitialResponse,
        ids,
        st.builds(m.Success[v.ResponseEnvelope], responses.map(v.ResponseEnvelope.of)) | failures,
    ),
    st.builds(m.DelegateRequest, ids, names, delegate_calls),
    st.builds(m.DelegateCancel, ids),
    st.builds(m.CellClosed, names, texts),
)


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Bytes in pieces, cut anywhere; some pieces may be empty."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
