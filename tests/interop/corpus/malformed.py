"""Messages that cannot be decoded end the connection with status 1; what is unusual but legal does not."""

# ruff: noqa: E501 (a script, or the steps of a conversation, read best in one line)

from __future__ import annotations

from typing import Any

from tests.interop.differential.cases import CloseInput, Conversation, Raw, Send, Step, Tool, talk
from tests.interop.differential.driver import encode, frame
from tests.interop.differential.wire import (
    answered,
    asked,
    cancel,
    closed,
    delivered,
    execute,
    initial,
    json_frame,
    open_session,
    reply,
    request,
    respond,
    send,
    shutdown,
    terminate,
    text_frame,
    wait,
)

OPENED: tuple[Step, ...] = (send(open_session(1)), reply(1))


def opened(name: str, *steps: Step) -> Conversation:
    """A conversation that goes on after a session was opened."""
    return talk(name, *OPENED, *steps)


def tool(**fields: Any) -> dict[str, Any]:
    """A tool whose fields are replaced; one that is `...` is left out."""
    return {key: value for key, value in {**Tool("a").wire(), **fields}.items() if value is not ...}


FATAL_FRAMES = {
    "garbage": "not json",
    "empty": "",
    "array": "[1]",
    "number": "1",
    "null": "null",
    "string": '"operation/cancel"',
    "empty-object": "{}",
    "trailing-text": '{"type":"operation/cancel","id":1} x',
    "two-values": '{"type":"operation/cancel","id":1}{"type":"operation/cancel","id":2}',
    "trailing-comma": '{"type":"operation/cancel","id":1,}',
    "single-quotes": "{'type':'operation/cancel','id':1}",
    "nan": '{"type":"operation/cancel","id":NaN}',
    "unknown-type": '{"type":"something/else","id":1}',
    "type-number": '{"type":5,"id":1}',
    "no-type": '{"id":1}',
    "host's-own-message": '{"type":"cell/closed","sessionId":"s","cellId":"1"}',
    "unknown-field": '{"type":"operation/cancel","id":1,"more":1}',
    "field-twice": '{"type":"operation/cancel","id":1,"id":1}',
    "type-twice": '{"type":"operation/cancel","type":"operation/cancel","id":1}',
    "lone-surrogate": '{"type":"operation/request","id":1,"request":{"method":"session/open","sessionId":"\\ud800"}}',
    "control-character": '{"type":"operation/request","id":1,"request":{"method":"session/open","sessionId":"a\nb"}}',
    "byte-order-mark": '\ufeff{"type":"operation/cancel","id":1}',
    "leading-zero": '{"type":"operation/cancel","id":01}',
    "plus-sign": '{"type":"operation/cancel","id":+1}',
    "cancel-without-id": '{"type":"operation/cancel"}',
    "cancel-id-string": '{"type":"operation/cancel","id":"1"}',
    "cancel-id-float": '{"type":"operation/cancel","id":1.5}',
    "request-without-id": '{"type":"operation/request","request":{"method":"session/open","sessionId":"s"}}',
    "request-without-request": '{"type":"operation/request","id":1}',
    "request-null": '{"type":"operation/request","id":1,"request":null}',
    "method-unknown": '{"type":"operation/request","id":1,"request":{"method":"session/else","sessionId":"s"}}',
    "method-missing": '{"type":"operation/request","id":1,"request":{"sessionId":"s"}}',
    "open-without-session": '{"type":"operation/request","id":1,"request":{"method":"session/open"}}',
    "open-unknown-field": '{"type":"operation/request","id":1,"request":{"method":"session/open","sessionId":"s","cellId":"1"}}',
    "nested-too-deep": '{"type":"delegate/response","id":1,"result":{"status":"ok","value":{"type":"tool/result","result":'
    + "[" * 200
    + "]" * 200
    + "}}}",
    "response-without-result": '{"type":"delegate/response","id":1}',
    "response-without-id": '{"type":"delegate/response","result":{"status":"error","message":"m"}}',
}

IDS = {
    "zero": 0,
    "negative": -1,
    "beyond-32-bits": 2**32,
    "beyond-doubles": 2**53 + 1,
    "largest": 2**63 - 1,
    "smallest": -(2**63),
    "too-large": 2**63,
    "unsigned-largest": 2**64 - 1,
    "beyond-64-bits": 2**64,
    "float": 1.0,
    "string": "1",
    "null": None,
    "true": True,
    "array": [1],
}

LEGAL_IDS = {"zero", "negative", "beyond-32-bits", "beyond-doubles", "largest", "smallest"}

SESSIONS = {
    "empty": "",
    "blank": " ",
    "newline": "\n",
    "number": 5,
    "null": None,
    "unicode": "ünï ☃\u0000\n\u2028😀",
    "long": "s" * 1000,
    "spaces-around": " s ",
}

LEGAL_SESSIONS = {"unicode", "long", "spaces-around"}

RESULTS: dict[str, Any] = {
    "status-unknown": {"status": "maybe"},
    "status-missing": {"value": {"type": "tool/result", "result": 1}},
    "ok-without-value": {"status": "ok"},
    "ok-value-null": {"status": "ok", "value": None},
    "ok-with-message": {"status": "ok", "value": {"type": "tool/result", "result": 1}, "message": "m"},
    "error-without-message": {"status": "error"},
    "error-message-null": {"status": "error", "message": None},
    "error-with-value": {"status": "error", "message": "m", "value": 1},
    "value-type-unknown": {"status": "ok", "value": {"type": "something/else"}},
    "value-without-type": {"status": "ok", "value": {"result": 1}},
    "result-missing": {"status": "ok", "value": {"type": "tool/result"}},
    "result-unknown-field": {"status": "ok", "value": {"type": "tool/result", "result": 1, "more": 2}},
    "delivered-unknown-field": {"status": "ok", "value": {"type": "notification/delivered", "more": 2}},
    "null": None,
    "string": "ok",
}

TOOLS: dict[str, Any] = {
    **{
        f"without-{name}": tool(**{name: ...})
        for name in ("name", "tool_name", "description", "kind", "input_schema", "output_schema")
    },
    **{f"{name}-null": tool(**{name: None}) for name in ("name", "tool_name", "description", "kind")},
    "kind-unknown": tool(kind="other"),
    "unknown-field": tool(more=1),
    "tool-name-string": tool(tool_name="a"),
    "tool-name-without-name": tool(tool_name={"namespace": None}),
    "tool-name-without-namespace": tool(tool_name={"name": "a"}),
    "tool-name-unknown-field": tool(tool_name={"name": "a", "namespace": None, "more": 1}),
    "tool-name-empty": tool(tool_name={"name": "", "namespace": ""}),
    "schema-of-any-kind": tool(input_schema=True, output_schema=[1, "x", None]),
    "schema-object": tool(input_schema={"type": "object", "properties": {"a": {"type": "string"}}}),
    "string": "a",
    "null": None,
}

ACCEPTED_TOOLS = {
    "without-input_schema",
    "without-output_schema",
    "tool-name-without-namespace",
    "tool-name-empty",
    "schema-of-any-kind",
    "schema-object",
}


def changed(field: str, value: Any) -> dict[str, Any]:
    """An execute in which one field of its request is replaced, or left out (`...`)."""
    fields: dict[str, Any] = {field: value}
    return execute(2, "", **fields)


def with_tool(value: Any) -> dict[str, Any]:
    """An execute that enables one tool, whatever that is."""
    message = execute(2, "text(Object.keys(tools)); text(ALL_TOOLS)")
    message["request"]["request"]["enabled_tools"] = [value]
    return message


CASES = (
    *(talk(f"frame-{name}", text_frame(text)) for name, text in FATAL_FRAMES.items()),
    talk("invalid-utf8", text_frame(b'{"type":"operation/cancel","id":1,"\xff":1}')),
    talk("utf16", text_frame('{"type":"operation/cancel","id":1}'.encode("utf-16"))),
    talk("oversized", Raw((67_108_865).to_bytes(4, "little"))),
    talk("far-oversized", Raw(b"\xff\xff\xff\xff")),
    talk("largest-then-end", Raw((67_108_864).to_bytes(4, "little")), CloseInput()),
    talk("truncated-header", Raw(b"\x01\x00"), CloseInput()),
    talk("truncated-payload", Raw(frame(b'{"type":"operation/cancel","id":1}')[:-1]), CloseInput()),
    opened("truncated-after-work", Raw(b"\x05")),
    opened("garbage-after-work", send(shutdown(2)), reply(2), text_frame("garbage")),
    opened("garbage-while-a-cell-runs", send(execute(2, "notify('n'); await new Promise(() => {})")), asked(1), text_frame("garbage")),
    talk("whitespace-around", text_frame(b' \n{"type":"operation/cancel","id":1}\t\r\n'), send(open_session(2)), reply(2)),
    talk("field-order-is-free", text_frame('{"request":{"sessionId":"s","method":"session/open"},"id":1,"type":"operation/request"}'), reply(1)),
    talk("escaped-letters", text_frame('{"\\u0074ype":"operation\\/request","id":1,"request":{"method":"session/open","sessionId":"\\ud83d\\ude00"}}'), reply(1)),
    talk("split-in-three", Raw(frame(encode(open_session(1)))[:2]), Raw(frame(encode(open_session(1)))[2:9]), Raw(frame(encode(open_session(1)))[9:]), reply(1)),
    *(talk(f"id-{name}", json_frame(open_session(value)), *((reply(value),) if name in LEGAL_IDS else ())) for name, value in IDS.items()),
    *(talk(f"session-{name}", json_frame(open_session(1, value)), *((reply(1),) if name in LEGAL_SESSIONS else ())) for name, value in SESSIONS.items()),
    opened("duplicate-id", send(open_session(1, "t"))),
    opened("duplicate-id-of-a-finished-execute", send(execute(2, "")), closed(), send(shutdown(2))),
    opened("ids-may-go-down", send(open_session(0, "t")), reply(0), send(open_session(-5, "u")), reply(-5)),
    opened("shutdown-empty-session", send(request(2, method="session/shutdown", sessionId=""))),
    opened("terminate-without-cell", send(request(2, method="session/terminate", sessionId="s"))),
    opened("terminate-cell-number", send(terminate(2, 1))),
    opened("terminate-cell-empty", send(terminate(2, "")), reply(2)),
    opened("terminate-snake-case", send(request(2, method="session/terminate", sessionId="s", cell_id="1"))),
    opened("wait-cell-empty", send(wait(2, "")), reply(2)),
    opened("wait-without-yield-time", send(wait(2, "1", ...))),
    opened("wait-yield-time-null", send(wait(2, "1", None))),
    opened("wait-yield-time-negative", send(wait(2, "1", -1))),
    opened("wait-yield-time-float", send(wait(2, "1", 1.0))),
    opened("wait-yield-time-largest", send(wait(2, "1", 2**64 - 1)), reply(2)),
    opened("wait-yield-time-too-large", send(wait(2, "1", 2**64))),
    opened("wait-unknown-field", send(wait(2, "1", 1, more=1))),
    opened("wait-without-request", send(request(2, method="session/wait", sessionId="s"))),
    *(opened(f"execute-without-{field}", send(changed(field, ...))) for field in ("tool_call_id", "enabled_tools")),
    *(opened(f"execute-{field}-null", send(changed(field, None))) for field in ("tool_call_id", "enabled_tools")),
    opened("execute-without-source", send(execute(2, ...))),
    opened("execute-source-null", send(execute(2, None))),
    opened("execute-source-number", send(execute(2, 5))),
    opened("execute-unknown-field", send(execute(2, "", more=1))),
    opened("execute-empty-call-id", send(execute(2, "notify('n')", tool_call_id="")), asked(1), send(delivered(1)), initial(2)),
    opened("execute-without-limits", send(execute(2, "text(1)", yield_time_ms=..., max_output_tokens=...)), initial(2)),
    opened("execute-null-limits", send(execute(2, "text(1)", yield_time_ms=None, max_output_tokens=None)), initial(2)),
    *(opened(f"execute-yield-time-{name}", send(execute(2, "text(1)", yield_time_ms=value))) for name, value in {"negative": -1, "float": 1.5, "whole-float": 1.0, "string": "5", "too-large": 2**64}.items()),
    opened("execute-yield-time-largest", send(execute(2, "text(1)", yield_time_ms=2**64 - 1)), initial(2)),
    *(opened(f"execute-max-tokens-{name}", send(execute(2, "text(1)", max_output_tokens=value))) for name, value in {"float": 1.0, "string": "5", "too-large": 2**31, "too-small": -(2**31) - 1}.items()),
    *(opened(f"execute-max-tokens-{name}", send(execute(2, "text('x'.repeat(5000))", max_output_tokens=value)), initial(2)) for name, value in {"zero": 0, "one": 1, "largest": 2**31 - 1}.items()),
    opened("execute-max-tokens-negative", send(execute(2, "text(1)", max_output_tokens=-1)), reply(2), send(execute(3, "text(1)")), initial(3)),
    *(opened(f"tool-{name}", Send((with_tool(value),)), *((initial(2),) if name in ACCEPTED_TOOLS else ())) for name, value in TOOLS.items()),
    *(talk(f"response-{name}", send(respond(1, value))) for name, value in RESULTS.items()),
    talk("response-unknown-id", send(answered(77, 1), delivered(0), answered(-3, None)), send(open_session(1)), reply(1)),
    talk("response-id-string", json_frame(respond("1", {"status": "error", "message": "m"}))),
    talk("cancel-unknown-id", send(cancel(7), cancel(7), cancel(-1)), send(open_session(7)), reply(7)),
)  # fmt: skip
