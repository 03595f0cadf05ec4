"""Cells that are terminated, and the end of a host's input while cells are there."""

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
    in_session,
    initial,
    leaving_a_cell,
    live,
    missing,
    notified,
    result,
    send,
    shut_down,
    shutdown,
    started,
    terminate,
    terminated,
    wait,
    withdrawn,
    yielded,
)

RULE = "docs/protocol.md#what-happens-when"


def _terminate(name: str, proves: str, *steps: Step) -> Conversation:
    return in_session(f"terminate/{name}", proves, RULE, *steps)


def _end(name: str, proves: str, *steps: Step) -> Conversation:
    return leaving_a_cell(f"end-of-input/{name}", proves, RULE, *steps)


def _runs(source: str) -> tuple[Step, ...]:
    """Execute a script as request 2, which sends one notification."""
    return (send(execute(2, source)), expect(started(2), notified("n", "n")), send(delivered("n")))


_KEPT = (
    send(execute(2, "yield_control(); text('a'); tools.t(1); await tools.t(2)")),
    expect(started(2), initial(2, yielded()), called("c", 1), called("d", 2, number=2)),
    send(answer("d", None)),
    expect(withdrawn("c")),
)
"""A cell that has ended, as the withdrawal of its call tells, and without an observer."""

CONVERSATIONS = (
    _terminate(
        "executing",
        "terminates a cell, and answers the terminate before the execute, both with all output",
        *_runs(f"text('a'); notify('n'); {NEVER}"),
        send(terminate(3)),
        expect(live(3, terminated("a")), initial(2, terminated("a")), closed()),
        send(wait(4)),
        expect(missing(4, "1")),
    ),
    _terminate(
        "loop",
        "terminates a cell that never waits, and keeps what it wrote before",
        *_runs("text('a'); notify('n'); while (true) {}"),
        send(terminate(3)),
        expect(live(3, terminated("a")), initial(2, terminated("a")), closed()),
    ),
    _terminate(
        "yielded",
        "terminates a cell without an observer, and hands over what has not been taken",
        send(execute(2, f"text('a'); yield_control(); text('b'); notify('n'); {NEVER}")),
        expect(started(2), initial(2, yielded("a")), notified("n", "n")),
        send(delivered("n"), terminate(3)),
        expect(live(3, terminated("b")), closed()),
    ),
    _terminate(
        "pending-wait",
        "answers a pending wait after the terminate, with the same output",
        send(execute(2, f"yield_control(); await tools.t(); text('a'); notify('n'); {NEVER}")),
        expect(started(2), initial(2, yielded()), called("c")),
        send(wait(3), answer("c", None)),
        expect(notified("n", "n")),
        send(delivered("n"), terminate(4)),
        expect(live(4, terminated("a")), live(3, terminated("a")), closed()),
    ),
    _terminate(
        "kept-result",
        "hands over the result of a cell that has ended by itself",
        *_KEPT,
        send(terminate(3)),
        expect(live(3, result("a")), closed()),
    ),
    _terminate(
        "missing",
        "says of a cell that is not there that it is not there",
        send(terminate(2), terminate(3, "zz")),
        expect(missing(2, "1"), missing(3, "zz")),
    ),
    _terminate(
        "one-of-two",
        "leaves other cells as they are",
        *_runs(f"notify('n'); {NEVER}"),
        send(execute(3, "text(await tools.t())")),
        expect(started(3, "2"), called("c", cell="2")),
        send(terminate(4)),
        expect(live(4, terminated()), initial(2, terminated()), closed()),
        send(answer("c", "on")),
        expect(initial(3, result("on", cell="2")), closed("2")),
    ),
    _terminate(
        "stores-nothing",
        "stores nothing of a cell that was terminated",
        *_runs(f"store('k', 1); notify('n'); {NEVER}"),
        send(terminate(3)),
        expect(live(3, terminated()), initial(2, terminated()), closed()),
        send(execute(4, "text(load('k'))")),
        expect(started(4, "2"), initial(4, result("undefined", cell="2")), closed("2")),
    ),
    _end("running", "ends with status 0 though a cell runs", *_runs(f"notify('n'); {NEVER}")),
    _end("loop", "ends with status 0 though a cell never waits", *_runs("notify('n'); while (true) {}")),
    _end(
        "pending-call",
        "ends with status 0 though a call is not answered",
        send(execute(2, "await tools.t()")),
        expect(started(2), called("c")),
    ),
    _end(
        "kept-result",
        "ends with status 0 though no result was taken",
        *_KEPT,
    ),
    in_session(
        "end-of-input/after-shutdown",
        "ends with status 0, and quietly, after the last session",
        RULE,
        send(execute(2, "text('a')")),
        expect(started(2), initial(2, result("a")), closed()),
        send(shutdown(3)),
        expect(shut_down(3)),
    ),
)
