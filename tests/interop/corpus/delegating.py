"""Calls out of a cell: their ids and order, odd answers, late answers, numbers and texts that pass through."""

# ruff: noqa: E501 (a script, or the steps of a conversation, read best in one line)

from __future__ import annotations

from typing import Any

from tests.interop.differential.cases import Message, Raw, Tool, talk
from tests.interop.differential.driver import frame
from tests.interop.differential.wire import (
    NEVER,
    answered,
    asked,
    closed,
    delivered,
    execute,
    failed,
    open_session,
    reply,
    respond,
    send,
    wait,
    withdrawn,
)

OPEN = (send(open_session(1)), reply(1))


def run(source: str, request_id: int = 2, **fields: Any) -> Message:
    """A cell with two tools."""
    return execute(request_id, source, tools=["t", "u"], **fields)


def raw_result(delegate_id: int, result: str) -> Raw:
    """A tool's answer whose JSON is written as it stands."""
    text = f'{{"type":"delegate/response","id":{delegate_id},"result":{{"status":"ok","value":{{"type":"tool/result","result":{result}}}}}}}'
    return Raw(frame(text.encode()))


def passed_on(name: str, result: str) -> Any:
    """A result that the script shows and hands to the next tool."""
    return talk(
        name,
        *OPEN,
        send(run("const r = await tools.t(); text(r); await tools.u(r)")),
        asked(1),
        raw_result(1, result),
        asked(2),
        send(answered(2, None)),
        closed(),
    )


CASES = (
    talk("wire-form-of-a-call", *OPEN, send(execute(2, "await tools.a_b({x: [1]})", tools=[Tool("a.b", "The.Name ü", "space", "freeform").wire()])), asked(1), send(answered(1, None)), closed()),
    talk("wire-form-of-a-notification", *OPEN, send(run("notify({a: 1})", tool_call_id="call ü")), asked(1), send(delivered(1)), closed()),
    talk("ids-count-over-cells-and-sessions", *OPEN, send(open_session(5, "other")), reply(5), send(run("await tools.t(1)")), asked(1), send(answered(1, None)), closed("1"), send(run("notify('n')", 3)), asked(2), send(delivered(2)), closed("2"), send(execute(4, "await tools.t(2)", "other", tools=["t"])), asked(3), send(answered(3, None)), closed("1", "other")),
    talk("same-call-id-twice", *OPEN, send(run("notify('a')", tool_call_id="same")), asked(1), send(delivered(1)), closed("1"), send(run("notify('b')", 3, tool_call_id="same")), asked(2), send(delivered(2)), closed("2")),
    talk("answers-in-another-order", *OPEN, send(run("const order = []; const keep = p => p.then(v => order.push(v)); await Promise.all([keep(tools.t(1)), keep(tools.u(2)), keep(tools.t(3))]); text(order)")), asked(3), send(answered(3, "c"), answered(1, "a"), answered(2, "b")), closed()),
    talk("answered-twice", *OPEN, send(run("text(await tools.t(1)); text(await tools.t(2))")), asked(1), send(answered(1, "a"), answered(1, "b")), asked(2), send(answered(1, "c")), send(answered(2, "d")), closed()),
    talk("answered-before-it-was-asked", *OPEN, send(answered(1, "early")), send(run("text(await tools.t(1))")), asked(1), send(answered(1, "late")), closed()),
    talk("answered-after-the-end", *OPEN, send(run("tools.t(1)")), withdrawn(1), closed(), send(answered(1, "late")), send(run("text('fine')", 3)), closed("2")),
    talk("error-then-result", *OPEN, send(run("await tools.t().catch(e => text(e)); text(await tools.t())")), asked(1), send(failed(1, "broken"), answered(1, "late")), asked(2), send(answered(2, "fine")), closed()),
    talk("delivery-of-a-call", *OPEN, send(run("await tools.t().catch(e => text([typeof e, e]))")), asked(1), send(delivered(1)), closed()),
    talk("result-of-a-notification", *OPEN, send(run("notify('n'); text('end')")), asked(1), send(answered(1, "odd")), closed()),
    talk("error-of-a-notification", *OPEN, send(run("notify('n'); text('end')")), asked(1), send(failed(1, "refused")), closed()),
    talk("delivered-with-more", *OPEN, send(run("notify('n'); text('end')")), asked(1), send(respond(1, {"status": "ok", "value": {"type": "notification/delivered", "more": 1}})), closed()),
    talk("notifications-hold-the-result-back", *OPEN, send(run("notify('1'); notify('2'); text('end')")), asked(2), send(delivered(2)), send(wait(9, "none")), reply(9), send(delivered(1)), closed()),
    talk("notification-of-a-failed-cell", *OPEN, send(run("notify('n'); throw 'x'")), asked(1), send(delivered(1)), closed()),
    talk("calls-are-withdrawn-after-notifications", *OPEN, send(run("tools.t(1); notify('n'); tools.t(2); text('end')")), asked(3), send(delivered(2)), closed()),
    talk("no-script-runs-while-finishing", *OPEN, send(run("tools.t(1).then(() => text('late')); notify('n'); text('end')")), asked(2), send(answered(1, None)), send(wait(9, "none")), reply(9), send(delivered(2)), closed()),
    talk("second-answer-ends-the-cell", *OPEN, send(run("tools.t(1).then(() => text('yes')); await tools.u(2); text('end')")), asked(2), send(answered(1, None), answered(2, None)), closed()),
    talk("race-withdraws-the-loser", *OPEN, send(run("text(await Promise.race([tools.t(1), tools.u(2)]))")), asked(2), send(answered(2, "won")), closed()),
    talk("call-of-a-yielded-cell", *OPEN, send(run("yield_control(); text(await tools.t(1))")), asked(1), send(wait(3), answered(1, "x")), closed()),
    talk("notification-of-a-running-cell", *OPEN, send(run(f"notify('a'); {NEVER}")), asked(1), send(delivered(1)), send(wait(9, "none")), reply(9)),
    passed_on("numbers", "[1.0, -0, -0.0, 1e2, 1E+2, 0.1, 1e-7, 1e21, 5e-324]"),
    passed_on("large-numbers", "[123456789012345678901234567890, 18446744073709551615, 9007199254740993, -9007199254740993]"),
    passed_on("too-large-numbers", "[1e400, -1e400]"),
    passed_on("keys-twice", '{"b":1,"a":2,"b":3}'),
    passed_on("integer-keys", '{"b":1,"2":1,"1":0}'),
    passed_on("proto-key", '{"__proto__":{"x":1},"a":1}'),
    passed_on("escapes", r'"\u00e9\ud83d\ude00\n\/\u2028"'),
    passed_on("spaces", ' { "a" : [ 1 , 2 ] } '),
    passed_on("nested", "[" * 100 + "]" * 100),
    passed_on("empty-key", '{"":{"":1}}'),
)  # fmt: skip
