"""Short names for the messages of a client, for writing conversations down."""

from __future__ import annotations

import json
from typing import Any

from tests.interop.differential.cases import Message, Raw, Send, Tool, Until
from tests.interop.differential.driver import frame

NEVER = "await new Promise(() => {});"
"""A script that ends with this lives until it is terminated."""


def request(request_id: Any, **fields: Any) -> Message:
    """`operation/request`."""
    return {"type": "operation/request", "id": request_id, "request": fields}


def open_session(request_id: Any, session: Any = "s") -> Message:
    """`session/open`."""
    return request(request_id, method="session/open", sessionId=session)


def execute(request_id: Any, source: Any, session: str = "s", **fields: Any) -> Message:
    """`session/execute`; fields replace those of its request, and a field that is `...` is left out."""
    tools = fields.pop("tools", ())
    body: dict[str, Any] = {
        "tool_call_id": "call",
        "enabled_tools": [Tool(name).wire() if isinstance(name, str) else name for name in tools],
        "source": source,
        "yield_time_ms": 30_000,
        "max_output_tokens": None,
        **fields,
    }
    body = {key: value for key, value in body.items() if value is not ...}
    return request(request_id, method="session/execute", sessionId=session, request=body)


def wait(request_id: Any, cell: Any = "1", yield_time_ms: Any = 30_000, session: str = "s", **fields: Any) -> Message:
    """`session/wait`; a yield time that is `...` is left out."""
    body = {"cell_id": cell, "yield_time_ms": yield_time_ms, **fields}
    body = {key: value for key, value in body.items() if value is not ...}
    return request(request_id, method="session/wait", sessionId=session, request=body)


def terminate(request_id: Any, cell: Any = "1", session: str = "s") -> Message:
    """`session/terminate`."""
    return request(request_id, method="session/terminate", sessionId=session, cellId=cell)


def shutdown(request_id: Any, session: str = "s") -> Message:
    """`session/shutdown`."""
    return request(request_id, method="session/shutdown", sessionId=session)


def cancel(request_id: Any) -> Message:
    """`operation/cancel`."""
    return {"type": "operation/cancel", "id": request_id}


def respond(delegate_id: Any, result: Any) -> Message:
    """`delegate/response` with any result."""
    return {"type": "delegate/response", "id": delegate_id, "result": result}


def answered(delegate_id: Any, value: Any) -> Message:
    """A tool's result."""
    return respond(delegate_id, {"status": "ok", "value": {"type": "tool/result", "result": value}})


def delivered(delegate_id: Any) -> Message:
    """A notification's delivery."""
    return respond(delegate_id, {"status": "ok", "value": {"type": "notification/delivered"}})


def failed(delegate_id: Any, message: str) -> Message:
    """A delegate's error."""
    return respond(delegate_id, {"status": "error", "message": message})


def send(*messages: Message) -> Send:
    """Messages in one write."""
    return Send(messages)


def text_frame(text: str | bytes) -> Raw:
    """A frame with any payload."""
    return Raw(frame(text.encode() if isinstance(text, str) else text))


def json_frame(value: Any) -> Raw:
    """A frame with any JSON value."""
    return text_frame(json.dumps(value))


def reply(request_id: Any) -> Until:
    """Until the `operation/response` to this request."""
    return Until({"type": "operation/response", "id": request_id})


def initial(request_id: Any) -> Until:
    """Until the `execute/initialResponse` of this request."""
    return Until({"type": "execute/initialResponse", "id": request_id})


def asked(delegate_id: int) -> Until:
    """Until the host sends this delegate request."""
    return Until({"type": "delegate/request", "id": delegate_id})


def withdrawn(delegate_id: int) -> Until:
    """Until the host cancels this delegate request."""
    return Until({"type": "delegate/cancel", "id": delegate_id})


def closed(cell: str = "1", session: str = "s") -> Until:
    """Until this cell has closed."""
    return Until({"type": "cell/closed", "sessionId": session, "cellId": cell})
