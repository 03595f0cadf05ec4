"""`operation/cancel`: only a wait can be taken back, and what it would have been given is kept for the next one."""

# ruff: noqa: E501 (a script, or the steps of a conversation, read best in one line)

from __future__ import annotations

from tests.interop.differential.cases import Message, talk
from tests.interop.differential.wire import (
    NEVER,
    answered,
    asked,
    cancel,
    closed,
    execute,
    initial,
    open_session,
    reply,
    send,
    shutdown,
    terminate,
    wait,
)

OPEN = (send(open_session(1)), reply(1))


def run(source: str, yield_time_ms: int | None = 30_000) -> Message:
    """Request 2: a cell with two tools."""
    return execute(2, source, tools=["t", "u"], yield_time_ms=yield_time_ms)


CASES = (
    talk("wait", *OPEN, send(run(f"yield_control(); {NEVER}")), initial(2), send(wait(3)), send(cancel(3)), reply(3)),
    talk("wait-then-wait-again", *OPEN, send(run("yield_control(); await tools.t(); text('end')")), asked(1), send(wait(3)), send(cancel(3)), reply(3), send(wait(4), answered(1, None)), closed()),
    talk("output-is-kept", *OPEN, send(run(f"yield_control(); text('a'); await tools.t(); text('b'); await tools.u(); {NEVER}")), asked(1), send(wait(3)), send(answered(1, None)), asked(2), send(cancel(3)), reply(3), send(wait(4, yield_time_ms=0)), reply(4), send(wait(5, yield_time_ms=0)), reply(5)),
    talk("wait-twice", *OPEN, send(run(f"yield_control(); {NEVER}")), initial(2), send(wait(3)), send(cancel(3), cancel(3)), reply(3), send(wait(4, yield_time_ms=0)), reply(4)),
    talk("answered-wait", *OPEN, send(run(f"yield_control(); {NEVER}")), initial(2), send(wait(3, yield_time_ms=0)), reply(3), send(cancel(3)), send(wait(4, yield_time_ms=0)), reply(4)),
    talk("refused-wait", *OPEN, send(run(f"yield_control(); {NEVER}")), initial(2), send(wait(3)), send(wait(4)), reply(4), send(cancel(4)), send(cancel(3)), reply(3)),
    talk("open", *OPEN, send(cancel(1)), send(run("text('fine')")), closed()),
    talk("execute", *OPEN, send(run("await tools.t(); text('end')")), asked(1), send(cancel(2)), send(answered(1, None)), closed()),
    talk("execute-then-terminate", *OPEN, send(run("text('a'); await tools.t()")), asked(1), send(cancel(2)), send(terminate(3)), closed()),
    talk("execute-is-still-the-observer", *OPEN, send(run("text('a'); await tools.t()")), asked(1), send(cancel(2)), send(wait(3)), reply(3), send(answered(1, None)), closed()),
    talk("finished-execute", *OPEN, send(run("text('a')")), closed(), send(cancel(2)), send(wait(3)), reply(3)),
    talk("terminate", *OPEN, send(run(NEVER)), reply(2), send(terminate(3), cancel(3)), closed()),
    talk("shutdown", *OPEN, send(run(NEVER)), reply(2), send(shutdown(3), cancel(3)), reply(3), send(open_session(4)), reply(4)),
    talk("unknown-then-used", *OPEN, send(cancel(2)), send(run("text('fine')")), closed()),
    talk("does-not-reach-the-next-wait", *OPEN, send(run("yield_control(); await tools.t(); text('end')")), asked(1), send(wait(3)), send(cancel(3)), reply(3), send(wait(4)), send(cancel(3)), send(answered(1, None)), closed()),
    talk("a-number-that-was-cancelled-is-used-up", *OPEN, send(run(f"yield_control(); {NEVER}")), initial(2), send(wait(3)), send(cancel(3)), reply(3), send(wait(3))),
)  # fmt: skip
