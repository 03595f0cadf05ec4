"""Terminating: what is answered, in which order, and with which part of the output."""

# ruff: noqa: E501 (a script, or the steps of a conversation, read best in one line)

from __future__ import annotations

from tests.interop.differential.cases import Message, Pause, talk
from tests.interop.differential.wire import (
    NEVER,
    answered,
    asked,
    closed,
    delivered,
    execute,
    initial,
    open_session,
    reply,
    send,
    terminate,
    wait,
    withdrawn,
)

OPEN = (send(open_session(1)), reply(1))


def run(source: str, yield_time_ms: int | None = 30_000) -> Message:
    """Request 2: a cell with two tools."""
    return execute(2, source, tools=["t", "u"], yield_time_ms=yield_time_ms)


CASES = (
    talk("during-the-execute", *OPEN, send(run(f"text('a'); notify('n'); {NEVER}")), asked(1), send(delivered(1)), send(terminate(3)), closed(), send(wait(4)), reply(4)),
    talk("of-a-loop", *OPEN, send(run("text('a'); notify('n'); while (true) {}")), asked(1), send(delivered(1)), send(terminate(3)), closed()),
    talk("of-a-loop-after-a-yield", *OPEN, send(run("text('a'); yield_control(); text('b'); notify('n'); while (true) {}")), asked(1), send(delivered(1)), send(terminate(3)), closed()),
    talk("of-a-catastrophic-regular-expression", *OPEN, send(run("text('a'); notify('n'); /^(a+)+$/.test('a'.repeat(60) + 'b')")), asked(1), send(delivered(1)), send(terminate(3)), closed()),
    talk("of-endless-jobs", *OPEN, send(run("text('a'); notify('n'); (function f() { Promise.resolve().then(f); })(); await null")), asked(1), send(delivered(1)), send(terminate(3)), closed()),
    talk("of-a-yielded-cell", *OPEN, send(run(f"text('a'); yield_control(); text('b'); notify('n'); {NEVER}")), asked(1), send(delivered(1)), send(terminate(3)), closed()),
    talk("with-a-pending-wait", *OPEN, send(run(f"text('a'); yield_control(); await tools.t(); text('b'); notify('n'); {NEVER}")), asked(1), send(wait(3), answered(1, None)), asked(2), send(delivered(2)), send(terminate(4)), closed(), send(terminate(5)), reply(5)),
    talk("with-pending-calls", *OPEN, send(run("text('a'); tools.t(1); notify('n'); await tools.u(2)")), asked(3), send(terminate(3)), closed(), send(answered(1, None), delivered(2), answered(3, None)), send(wait(4)), reply(4)),
    talk("with-one-of-two-calls-answered", *OPEN, send(run(f"tools.t(1).then(() => {{ text('t'); notify('n'); }}); await tools.u(2); {NEVER}")), asked(2), send(answered(1, None)), asked(3), send(terminate(3)), closed()),
    talk("twice-one-after-the-other", *OPEN, send(run(NEVER)), reply(2), send(terminate(3)), closed(), send(terminate(4)), reply(4)),
    talk("of-a-missing-cell", *OPEN, send(terminate(2, "1")), reply(2), send(terminate(3, "zz")), reply(3)),
    talk("of-an-unobserved-result", *OPEN, send(run("text('a'); tools.t()", 0)), withdrawn(1), send(terminate(3)), closed(), send(wait(4)), reply(4)),
    talk("of-an-unobserved-failure", *OPEN, send(run("text('a'); tools.t(); throw 'x'", 0)), withdrawn(1), send(terminate(3)), closed()),
    talk("while-finishing", *OPEN, send(run("text('a'); store('k', 1); notify('n')")), asked(1), Pause(0.3), send(terminate(3)), closed(), send(execute(4, "text(String(load('k')))")), closed("2")),
    talk("while-finishing-a-failure", *OPEN, send(run("text('a'); notify('n'); throw 'x'")), asked(1), Pause(0.3), send(terminate(3)), closed()),
    talk("one-cell-of-two", *OPEN, send(run(f"notify('1'); {NEVER}")), asked(1), send(execute(3, "await tools.t(); text('other')", tools=["t"])), asked(2), send(terminate(4)), closed("1"), send(answered(2, None)), closed("2")),
    talk("no-output", *OPEN, send(run(NEVER)), reply(2), send(terminate(3)), closed()),
    talk("much-output-before-a-loop", *OPEN, send(run("for (let i = 0; i < 500; i++) text(i); image('data:,x'); notify('n'); while (true) {}")), asked(1), send(delivered(1)), send(terminate(3)), closed()),
    talk("output-given-before-is-not-repeated", *OPEN, send(run(f"text('a'); yield_control(); {NEVER}")), initial(2), send(terminate(3)), closed()),
    talk("timers-pending", *OPEN, send(run(f"setTimeout(() => text('no'), 60000); notify('n'); {NEVER}")), asked(1), send(delivered(1)), send(terminate(3)), closed()),
)  # fmt: skip
