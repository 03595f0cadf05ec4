"""Frames and messages that break a rule, and some that are unusual but do not."""

from __future__ import annotations

from codemode_protocol.limits import MAX_FRAME_BYTES
from codemode_protocol.testing.steps import CloseInput, Conversation, ExpectEnd, SendBytes, Step
from codemode_protocol.testing.words import (
    FATAL,
    GOODBYE,
    NEVER,
    OPENING,
    cancel,
    execute,
    expect,
    frame,
    greeted,
    in_session,
    notified,
    open_session,
    opened,
    request,
    respond,
    send,
    shut_down,
    shutdown,
    started,
    wait,
)

RULE = "docs/protocol.md#frames"
IDS_RULE = "docs/protocol.md#client--host"


def _fatal(name: str, what: str, *steps: Step) -> Conversation:
    return greeted(f"frames/{name}", f"ends with status 1 at {what}", RULE, *steps, *FATAL)


def _legal(name: str, proves: str, *steps: Step) -> Conversation:
    return greeted(f"frames/{name}", proves, RULE, *steps, *GOODBYE)


_CANCEL = '{"type":"operation/cancel","id":1}'

CONVERSATIONS = (
    _fatal("no-json", "a payload that is no JSON", frame("not json")),
    _fatal("empty", "a frame without payload", frame("")),
    _fatal("no-object", "JSON that is no object", frame("[1]")),
    _fatal("two-values", "two JSON texts in one frame", frame(_CANCEL + _CANCEL)),
    _fatal("no-utf-8", "a payload that is not UTF-8", frame(b'{"type":"operation/cancel","id":1,"\xff":1}')),
    _fatal("lone-surrogate", "half a character", frame(r'{"type":"operation/cancel","id":1,"\ud800":1}')),
    _fatal("no-type", "a message without type", frame('{"id":1}')),
    _fatal("unknown-type", "a message of unknown type", frame('{"type":"something/else","id":1}')),
    _fatal(
        "hosts-own-message",
        "a message that only hosts say",
        frame('{"type":"cell/closed","sessionId":"s","cellId":"1"}'),
    ),
    _fatal("unknown-field", "an unknown field", frame('{"type":"operation/cancel","id":1,"more":1}')),
    _fatal("missing-field", "a message without its id", frame('{"type":"operation/cancel"}')),
    _fatal("id-is-text", "an id that is a text", frame('{"type":"operation/cancel","id":"1"}')),
    _fatal("id-too-large", "an id of more than 64 bits", frame(f'{{"type":"operation/cancel","id":{2**63}}}')),
    _fatal("unknown-method", "an unknown request", send(request(1, method="session/else", sessionId="s"))),
    _fatal("blank-session", "a session id that is blank", send(open_session(1, " "))),
    _fatal("no-source", "an execute without source", send(execute(1, None))),  # type: ignore[arg-type]
    _fatal("negative-yield-time", "a yield time below zero", send(execute(1, "", yield_time_ms=-1))),
    _fatal("no-yield-time", "a wait without yield time", send(wait(1, "1", None))),  # type: ignore[arg-type]
    _fatal("no-cell", "a terminate without cell", send(request(1, method="session/terminate", sessionId="s"))),
    _fatal("tool-without-name", "a tool without its name", send(execute(1, "", tools=[{"name": "t"}]))),
    _fatal("no-result", "an answer to a call that is none", send(respond(1, {"status": "maybe"}))),
    _fatal(
        "oversized",
        "a length of more than 64 MiB, before any of that has come",
        SendBytes((MAX_FRAME_BYTES + 1).to_bytes(4, "little")),
    ),
    _fatal("largest-length", "the largest length that there is", SendBytes(b"\xff\xff\xff\xff")),
    _fatal("end-in-header", "the end of its input inside a length", SendBytes(b"\x10\x00"), CloseInput()),
    _fatal("end-in-payload", "the end of its input inside a payload", SendBytes(b"\x10\x00\x00\x00{"), CloseInput()),
    _fatal(
        "end-in-largest",
        "the end of its input after the length of the largest payload that is allowed",
        SendBytes(MAX_FRAME_BYTES.to_bytes(4, "little")),
        CloseInput(),
    ),
    Conversation(
        "frames/while-a-cell-runs",
        "ends with status 1 at a payload that is no JSON, though a cell runs",
        RULE,
        (
            *OPENING,
            send(execute(2, f"notify('n'); {NEVER}")),
            expect(started(2), notified("n", "n")),
            frame("not json"),
            ExpectEnd(1, quiet=False),
        ),
    ),
    greeted(
        "frames/id-used-again",
        "ends with status 1 at a request id that was used before",
        IDS_RULE,
        send(open_session(7)),
        expect(opened(7)),
        send(open_session(7, "t")),
        *FATAL,
    ),
    greeted(
        "frames/ids-in-any-order",
        "takes request ids in any order, up to 64 bits with their sign",
        IDS_RULE,
        send(*(open_session(id, f"s{id}") for id in (5, 0, -5, 2**63 - 1, -(2**63)))),
        expect(*(opened(id, f"s{id}") for id in (5, 0, -5, 2**63 - 1, -(2**63)))),
        *GOODBYE,
    ),
    _legal(
        "white-space",
        "takes white space around a message",
        frame(f" \n{_CANCEL}\t\r\n"),
        send(open_session(2)),
        expect(opened(2)),
    ),
    _legal(
        "order-of-fields",
        "takes fields in any order",
        frame('{"request":{"sessionId":"s","method":"session/open"},"id":1,"type":"operation/request"}'),
        expect(opened(1)),
    ),
    _legal(
        "escapes",
        "takes escapes in names and values",
        frame(
            r'{"\u0074ype":"operation\/request","id":1,"request":{"method":"session/open","sessionId":"\ud83d\ude00"}}'
        ),
        expect(opened(1, "😀")),
    ),
    _legal(
        "many-in-one-write",
        "takes several frames from one write, in their order",
        send(*(open_session(number, f"s{number}") for number in range(20))),
        expect(*(opened(number, f"s{number}") for number in range(20))),
    ),
    in_session(
        "frames/cancel-of-nothing",
        "ignores the cancel of a request that is over, or that there never was",
        IDS_RULE,
        send(cancel(1), cancel(77), cancel(-1), shutdown(2)),
        expect(shut_down(2)),
    ),
    in_session(
        "frames/answer-to-nothing",
        "ignores the answer to a call that there never was",
        IDS_RULE,
        send(respond(77, {"status": "error", "message": "m"}), shutdown(2)),
        expect(shut_down(2)),
    ),
)
