"""Yielding and waiting: who is answered when, with which part of the output."""

# ruff: noqa: E501 (a script, or the steps of a conversation, read best in one line)

from __future__ import annotations

from tests.interop.differential.cases import Message, Pause, UntilAll, talk
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


def yield_now(request_id: int) -> Message:
    """`operation/yield`: the client asks that a pending observer be answered now."""
    return {"type": "operation/yield", "id": request_id}


CASES = (
    talk("deadline", *OPEN, send(run(f"text('a'); {NEVER}", 700)), initial(2), send(wait(3, yield_time_ms=20)), reply(3)),
    talk("deadline-of-a-loop", *OPEN, send(run("text('a'); while (true) {}", 700)), initial(2), send(wait(3, yield_time_ms=20)), reply(3), send(terminate(4)), closed()),
    talk("deadline-zero", *OPEN, send(run(f"text('a'); {NEVER}", 0)), initial(2)),
    talk("deadline-zero-then-result", *OPEN, send(run("text('a')", 0)), initial(2), send(wait(3)), closed(), send(wait(4)), reply(4)),
    talk("deadline-zero-then-error", *OPEN, send(run("text('a'); throw 'x'", 0)), initial(2), send(wait(3)), closed()),
    talk("deadline-zero-then-syntax-error", *OPEN, send(run("import 'nope'", 0)), initial(2), send(wait(3)), closed()),
    talk("deadline-zero-then-exit", *OPEN, send(run("text('a'); exit()", 0)), initial(2), send(wait(3)), closed()),
    talk("wait-zero-of-a-running-cell", *OPEN, send(run(f"text('a'); yield_control(); text('b'); notify('n'); {NEVER}")), initial(2), asked(1), send(wait(3, yield_time_ms=0)), reply(3), send(wait(4, yield_time_ms=0)), reply(4)),
    talk("wait-zero-of-a-finished-cell", *OPEN, send(run("text('a'); tools.t()", 0)), withdrawn(1), send(wait(3, yield_time_ms=0)), closed()),
    talk("wait-does-not-answer-for-output-alone", *OPEN, send(run(f"yield_control(); text('a'); await tools.t(); text('b'); notify('n'); {NEVER}")), initial(2), asked(1), send(wait(3, yield_time_ms=700)), send(answered(1, None)), asked(2), reply(3)),
    talk("wait-for-the-end", *OPEN, send(run("yield_control(); await tools.t(); text('end')")), asked(1), send(wait(3), answered(1, None)), closed()),
    talk("wait-for-a-failure", *OPEN, send(run("yield_control(); await tools.t(); text('a'); throw 'x'")), asked(1), send(wait(3), answered(1, None)), closed()),
    talk("wait-for-an-exit", *OPEN, send(run("yield_control(); await tools.t(); exit()")), asked(1), send(wait(3), answered(1, None)), closed()),
    talk("yield-answers-the-execute", *OPEN, send(run(f"text('a'); yield_control(); text('b'); notify('n'); {NEVER}")), initial(2), asked(1), send(wait(3, yield_time_ms=50)), reply(3)),
    talk("yield-without-output", *OPEN, send(run(f"yield_control(); {NEVER}")), initial(2)),
    talk("yield-answers-a-wait", *OPEN, send(run(f"yield_control(); await tools.t(); text('a'); yield_control(); text('b'); {NEVER}")), asked(1), send(wait(3), answered(1, None)), reply(3)),
    talk("yield-without-observer-is-forgotten", *OPEN, send(run("yield_control(); yield_control(); yield_control(); text('end'); tools.t()")), withdrawn(1), send(wait(3)), closed()),
    talk("yield-without-observer-does-not-answer-the-next-wait", *OPEN, send(run("yield_control(); text('a'); yield_control(); await tools.t(); text('b')")), asked(1), send(wait(3)), send(answered(1, None)), closed()),
    talk("yield-then-result-in-the-same-turn", *OPEN, send(run("text('a'); yield_control(); text('b')")), initial(2), send(wait(3)), closed()),
    talk("yield-then-exit", *OPEN, send(run("text('a'); yield_control(); text('b'); exit()")), initial(2), send(wait(3)), closed()),
    talk("yield-then-loop", *OPEN, send(run("text('a'); yield_control(); text('b'); while (true) {}")), initial(2), send(wait(3, yield_time_ms=400)), reply(3), send(terminate(4)), closed()),
    talk("yield-in-a-timer", *OPEN, send(run(f"setTimeout(() => {{ text('t'); yield_control(); }}, 5); {NEVER}")), initial(2)),
    talk("yield-among-calls", *OPEN, send(run("text('1'); notify('a'); yield_control(); tools.t(1); notify('b'); text('2')")), asked(3), send(delivered(1), delivered(3)), withdrawn(2), send(wait(3)), closed(), unordered=True),
    talk("yields-many-times", *OPEN, send(run("for (let i = 0; i < 3; i++) { text(i); yield_control(); await tools.t(i); } text('end')")), initial(2), asked(1), send(wait(3), answered(1, None)), reply(3), asked(2), send(wait(4), answered(2, None)), reply(4), asked(3), send(wait(5), answered(3, None)), closed()),
    talk("second-wait", *OPEN, send(run(f"yield_control(); {NEVER}")), initial(2), send(wait(3), wait(4)), reply(4), send(wait(5, yield_time_ms=0)), reply(5)),
    talk("wait-during-the-execute", *OPEN, send(run(f"notify('n'); {NEVER}")), asked(1), send(wait(3, yield_time_ms=0)), reply(3)),
    talk("waits-on-two-cells", *OPEN, send(run(f"yield_control(); {NEVER}")), initial(2), send(execute(3, "yield_control(); await tools.t(); text('b')", tools=["t"])), asked(1), send(wait(4, "1"), wait(5, "2"), answered(1, None)), closed("2"), send(wait(6, "2")), reply(6)),
    talk("missing-cells", *OPEN, send(wait(2, "1")), reply(2), send(wait(3, "zz ü")), reply(3), send(wait(4, "-1")), reply(4), send(wait(5, "01")), reply(5)),
    talk("cell-of-another-session", *OPEN, send(open_session(7, "other")), reply(7), send(run(f"yield_control(); {NEVER}")), initial(2), send(wait(3, "1", session="other")), reply(3)),
    talk("wait-after-the-result", *OPEN, send(run("text('a')")), closed(), send(wait(3)), reply(3), send(terminate(4)), reply(4)),
    talk("two-waits-on-a-finished-cell", *OPEN, send(run("text('a'); tools.t()", 0)), withdrawn(1), send(wait(3), wait(4)), UntilAll((closed(), reply(4))), send(wait(5)), reply(5), unordered=True),
    talk("output-is-given-once", *OPEN, send(run("text('a'); yield_control(); text('b'); await tools.t(); text('c'); await tools.u(); text('d')")), asked(1), send(wait(3, yield_time_ms=200)), reply(3), send(answered(1, None)), asked(2), send(wait(4, yield_time_ms=200)), reply(4), send(wait(5), answered(2, None)), closed()),
    talk("yield-asked-by-the-client", *OPEN, send(run(f"text('a'); notify('n'); {NEVER}")), asked(1), send(yield_now(2)), initial(2), send(wait(3)), send(yield_now(3)), reply(3)),
    talk("yield-asked-for-nothing", send(yield_now(5)), *OPEN, send(run(f"yield_control(); {NEVER}")), initial(2), send(yield_now(2), yield_now(1)), send(wait(3, yield_time_ms=100)), reply(3)),
    talk("finishing-does-not-yield", *OPEN, send(run("text('a'); notify('n')", 700)), asked(1), Pause(1.2), send(delivered(1)), closed()),
    talk("finishing-answers-the-first-wait", *OPEN, send(run("yield_control(); text('a'); notify('n')")), asked(1), Pause(0.3), send(wait(3, yield_time_ms=50)), Pause(0.3), send(delivered(1)), closed(), send(wait(4)), reply(4)),
    talk("stuck-on-a-notification", *OPEN, send(run("notify('n'); text('a')")), asked(1), send(delivered(1)), closed()),
)  # fmt: skip
