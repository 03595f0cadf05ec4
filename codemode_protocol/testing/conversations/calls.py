"""Calls out of a cell: tools and notifications, answered, refused, withdrawn."""

from __future__ import annotations

from codemode_protocol.testing.steps import Conversation, Step
from codemode_protocol.testing.words import (
    NEVER,
    answer,
    called,
    closed,
    delivered,
    execute,
    expect,
    expect_in_any_order,
    in_session,
    initial,
    leaving_a_cell,
    live,
    missing,
    notified,
    open_session,
    opened,
    refuse,
    result,
    send,
    started,
    terminate,
    terminated,
    tool,
    wait,
    withdrawn,
)

RULE = "docs/protocol.md#host--client"
HAPPENS = "docs/protocol.md#what-happens-when"


def _talk(name: str, proves: str, *steps: Step, rule: str = RULE) -> Conversation:
    return in_session(f"calls/{name}", proves, rule, *steps)


def _runs(source: str, *expected: object) -> tuple[Step, ...]:
    """Execute a script as request 2, and as a cell whose first messages are these."""
    return (send(execute(2, source)), expect(started(2), *expected))


def _ends(*texts: str) -> Step:
    return expect(initial(2, result(*texts)), closed())


CONVERSATIONS = (
    _talk(
        "answered",
        "calls a tool and gives the script its result",
        *_runs("text(await tools.t({ a: [1, 'é'] }))", called("c", {"a": [1, "é"]})),
        send(answer("c", {"b": None})),
        _ends('{"b":null}'),
    ),
    _talk(
        "without-argument",
        "sends null where a call has no argument",
        *_runs("text(await tools.t())", called("c", None)),
        send(answer("c", None)),
        _ends("null"),
    ),
    _talk(
        "canonical-name",
        "names a tool by its canonical name, and says of which kind it is",
        send(execute(2, "text(await tools.a_b('x'))", tools=[tool("a.b", "The.Name ü", "space", "freeform")])),
        expect(started(2), called("c", "x", tool="The.Name ü", namespace="space", kind="freeform")),
        send(answer("c", "y")),
        _ends("y"),
    ),
    _talk(
        "refused",
        "rejects a call with the message of its error, and goes on",
        *_runs("await tools.t(1).catch((e) => text(e)); text(await tools.t(2))", called("c", 1)),
        send(refuse("c", "not today")),
        expect(called("d", 2, number=2)),
        send(answer("d", "but now")),
        _ends("not today", "but now"),
    ),
    _talk(
        "refused-and-not-caught",
        "ends a cell that does not catch the error of a call",
        *_runs("text('a'); await tools.t()", called("c")),
        send(refuse("c", "not today")),
        expect(initial(2, result("a", error="not today")), closed()),
    ),
    _talk(
        "several",
        "has several calls under way, and takes their answers in any order",
        *_runs(
            "text(await Promise.all([tools.t(1), tools.t(2), tools.t(3)]))",
            called("a", 1),
            called("b", 2, number=2),
            called("c", 3, number=3),
        ),
        send(answer("c", 30), answer("a", 10), answer("b", 20)),
        _ends("[10,20,30]"),
    ),
    _talk(
        "answered-twice",
        "takes the first answer to a call, and ignores later ones",
        *_runs("text(await tools.t(1)); text(await tools.t(2))", called("c", 1)),
        send(answer("c", "a"), answer("c", "b")),
        expect(called("d", 2, number=2)),
        send(answer("c", "c"), answer("d", "d")),
        _ends("a", "d"),
    ),
    _talk(
        "answer-of-the-wrong-kind",
        "rejects a tool call that is answered as a notification",
        *_runs("await tools.t().catch((e) => text(e))", called("c")),
        send(delivered("c")),
        _ends("code-mode client returned an invalid tool result"),
    ),
    _talk(
        "withdrawn-at-the-end",
        "withdraws what a script did not wait for, then hands over its result",
        *_runs(
            "tools.t(1); tools.t(2); text(await tools.t(3))",
            called("a", 1),
            called("b", 2, number=2),
            called("c", 3, number=3),
        ),
        send(answer("c", "end")),
        expect_in_any_order(withdrawn("a"), withdrawn("b")),
        _ends("end"),
        rule=HAPPENS,
    ),
    _talk(
        "answered-after-the-end",
        "ignores the answer to a call that it has withdrawn",
        *_runs("tools.t(1); await tools.t(2)", called("c", 1), called("d", 2, number=2)),
        send(answer("d", None)),
        expect(withdrawn("c")),
        _ends(),
        send(answer("c", "late"), execute(3, "text('fine')")),
        expect(started(3, "2"), initial(3, result("fine", cell="2")), closed("2")),
        rule=HAPPENS,
    ),
    _talk(
        "withdrawn-by-a-terminate",
        "withdraws calls of a cell that is terminated",
        *_runs("text('a'); tools.t(1); await tools.t(2)", called("a", 1), called("b", 2, number=2)),
        send(terminate(3)),
        expect_in_any_order(withdrawn("a"), withdrawn("b")),
        expect(live(3, terminated("a")), initial(2, terminated("a")), closed()),
        rule=HAPPENS,
    ),
    _talk(
        "notification",
        "sends a text at once, with the call id of its execute",
        send(execute(2, "notify('é'); text(await tools.t())", tool_call_id="call ü")),
        expect(started(2), notified("n", "é", tool_call_id="call ü"), called("c")),
        send(delivered("n"), answer("c", "end")),
        _ends("end"),
    ),
    _talk(
        "notification-holds-back",
        "holds a result back until its notifications are answered",
        *_runs("notify('1'); notify('2'); text('end')", notified("m", "1"), notified("n", "2")),
        send(delivered("n"), wait(3, "none")),
        expect(missing(3, "none")),
        send(delivered("m")),
        _ends("end"),
        rule=HAPPENS,
    ),
    leaving_a_cell(
        "calls/notification-of-a-running-cell",
        "goes on while a notification is not answered",
        HAPPENS,
        *_runs(f"notify('n'); await tools.t(); {NEVER}", notified("n", "n"), called("c")),
        send(answer("c", None), wait(3, "none")),
        expect(missing(3, "none")),
    ),
    _talk(
        "ids-over-sessions",
        "never uses the id of a call again, in whatever session",
        send(open_session(2, "t")),
        expect(opened(2, "t")),
        send(execute(3, "await tools.t(1)")),
        expect(started(3), called("a", 1)),
        send(answer("a", None)),
        expect(initial(3, result()), closed()),
        send(execute(4, "await tools.t(2)", "t")),
        expect(started(4), called("b", 2, session="t")),
        send(answer("b", None)),
        expect(initial(4, result()), closed("1", "t")),
    ),
)
