"""Short names for the messages of both sides, for writing conversations down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from codemode_protocol.framing import HEADER_BYTES
from codemode_protocol.testing.patterns import Json, named
from codemode_protocol.testing.steps import CloseInput, Conversation, Expect, ExpectEnd, Send, SendBytes, Step

LONG_MS = 600_000
"""A yield time that no conversation waits for, in milliseconds."""

NEVER = "await new Promise(() => {});"
"""A script that ends with this lives until it is terminated."""

Message = dict[str, Any]

# What a client says


def hello(
    versions: Sequence[int] = (1,), required: Sequence[str] = (), optional: Sequence[str] = (), **more: Json
) -> Message:
    return {
        "type": "connection/hello",
        "supportedVersions": list(versions),
        "requiredCapabilities": list(required),
        "optionalCapabilities": list(optional),
        **more,
    }


def request(id: Json, **fields: Json) -> Message:
    return {"type": "operation/request", "id": id, "request": fields}


def open_session(id: int, session: str = "s") -> Message:
    return request(id, method="session/open", sessionId=session)


def tool(name: str, canonical: str | None = None, namespace: str | None = None, kind: str = "function") -> Message:
    """Return an entry of `enabled_tools`."""
    return {
        "name": name,
        "tool_name": {"name": canonical or name, "namespace": namespace},
        "description": "a tool",
        "kind": kind,
        "input_schema": None,
        "output_schema": None,
    }


def execute(id: int, source: str, session: str = "s", *, tools: Sequence[Json] = ("t",), **fields: Json) -> Message:
    """Return a `session/execute`; tools are names or whole definitions, and `fields` replace those of its request."""
    body = {
        "tool_call_id": "call",
        "enabled_tools": [tool(one) if isinstance(one, str) else one for one in tools],
        "source": source,
        "yield_time_ms": LONG_MS,
        "max_output_tokens": None,
        **fields,
    }
    return request(id, method="session/execute", sessionId=session, request=body)


def wait(id: int, cell: str = "1", yield_time_ms: int = LONG_MS, session: str = "s") -> Message:
    body = {"cell_id": cell, "yield_time_ms": yield_time_ms}
    return request(id, method="session/wait", sessionId=session, request=body)


def terminate(id: int, cell: str = "1", session: str = "s") -> Message:
    return request(id, method="session/terminate", sessionId=session, cellId=cell)


def shutdown(id: int, session: str = "s") -> Message:
    return request(id, method="session/shutdown", sessionId=session)


def cancel(id: int) -> Message:
    return {"type": "operation/cancel", "id": id}


def respond(call: Json, result: Json) -> Message:
    """Return an answer to a call, which is a name or an integer."""
    id = named(call) if isinstance(call, str) else call
    return {"type": "delegate/response", "id": id, "result": result}


def answer(call: Json, value: Json) -> Message:
    return respond(call, {"status": "ok", "value": {"type": "tool/result", "result": value}})


def delivered(call: Json) -> Message:
    return respond(call, {"status": "ok", "value": {"type": "notification/delivered"}})


def refuse(call: Json, message: str) -> Message:
    return respond(call, {"status": "error", "message": message})


# What a host says


def ready(*capabilities: str) -> Message:
    return {"type": "connection/ready", "selectedVersion": 1, "capabilities": list(capabilities)}


def rejected(**reason: Json) -> Message:
    return {"type": "connection/rejected", "reason": reason}


def done(id: int, **value: Json) -> Message:
    return {"type": "operation/response", "id": id, "result": {"status": "ok", "value": value}}


def failed(id: int, message: Json) -> Message:
    return {"type": "operation/response", "id": id, "result": {"status": "error", "message": message}}


def opened(id: int, session: str = "s") -> Message:
    return done(id, type="session/ready", sessionId=session)


def shut_down(id: int, session: str = "s") -> Message:
    return done(id, type="session/closed", sessionId=session)


def started(id: int, cell: str = "1") -> Message:
    return done(id, type="execution/started", cellId=cell)


def items(*texts: str) -> list[Message]:
    return [{"type": "input_text", "text": text} for text in texts]


def result(*texts: str, cell: str = "1", error: Json = None) -> Message:
    return {"Result": {"cell_id": cell, "content_items": items(*texts), "error_text": error}}


def yielded(*texts: str, cell: str = "1") -> Message:
    return {"Yielded": {"cell_id": cell, "content_items": items(*texts)}}


def terminated(*texts: str, cell: str = "1") -> Message:
    return {"Terminated": {"cell_id": cell, "content_items": items(*texts)}}


def initial(id: int, response: Json) -> Message:
    return {"type": "execute/initialResponse", "id": id, "result": {"status": "ok", "value": response}}


def live(id: int, response: Json) -> Message:
    return done(id, type="wait/completed", outcome={"LiveCell": response})


def missing(id: int, cell: str) -> Message:
    response = result(cell=cell, error=f"exec cell {cell} not found")
    return done(id, type="wait/completed", outcome={"MissingCell": response})


def _asked(call: str, session: str, request: Json) -> Message:
    return {"type": "delegate/request", "id": named(call), "sessionId": session, "request": request}


def called(
    call: str,
    argument: Json = None,
    *,
    number: int = 1,
    cell: str = "1",
    session: str = "s",
    tool: str = "t",
    namespace: str | None = None,
    kind: str = "function",
) -> Message:
    """Return a tool call, to which `call` is given as its name; `number` counts those of its cell."""
    invocation = {
        "cell_id": cell,
        "runtime_tool_call_id": f"tool-{number}",
        "tool_name": {"name": tool, "namespace": namespace},
        "tool_kind": kind,
        "input": argument,
    }
    return _asked(call, session, {"type": "tool/invoke", "invocation": invocation})


def notified(call: str, text: str, *, cell: str = "1", session: str = "s", tool_call_id: str = "call") -> Message:
    """Return a notification, to which `call` is given as its name."""
    request = {"type": "notification/send", "callId": tool_call_id, "cellId": cell, "text": text}
    return _asked(call, session, request)


def withdrawn(call: str) -> Message:
    return {"type": "delegate/cancel", "id": named(call)}


def closed(cell: str = "1", session: str = "s") -> Message:
    return {"type": "cell/closed", "sessionId": session, "cellId": cell}


# Steps


def send(*messages: Json) -> Send:
    return Send(messages)


def expect(*messages: Json) -> Expect:
    return Expect(messages)


def expect_in_any_order(*messages: Json) -> Expect:
    return Expect(messages, any_order=True)


def frame(payload: bytes | str) -> SendBytes:
    """Return a frame with any payload."""
    data = payload.encode() if isinstance(payload, str) else payload
    return SendBytes(len(data).to_bytes(HEADER_BYTES, "little") + data)


GREETING: tuple[Step, ...] = (send(hello()), expect(ready()))
OPENING: tuple[Step, ...] = (*GREETING, send(open_session(1)), expect(opened(1)))
"""The handshake, and a session "s" that request 1 opens."""
GOODBYE: tuple[Step, ...] = (CloseInput(), ExpectEnd(0))
FATAL: tuple[Step, ...] = (ExpectEnd(1),)


def greeted(name: str, proves: str, rule: str, *steps: Step) -> Conversation:
    """Return a conversation that begins after the handshake."""
    return Conversation(name, proves, rule, (*GREETING, *steps))


def in_session(name: str, proves: str, rule: str, *steps: Step) -> Conversation:
    """Return a conversation in session "s", from its opening to the host's end. No cell may be left."""
    return Conversation(name, proves, rule, (*OPENING, *steps, *GOODBYE))


def leaving_a_cell(name: str, proves: str, rule: str, *steps: Step) -> Conversation:
    """Return a conversation in session "s" at whose end a cell is there: what a host still says of it is open."""
    return Conversation(name, proves, rule, (*OPENING, *steps, CloseInput(), ExpectEnd(0, quiet=False)))
