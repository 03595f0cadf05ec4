"""Sessions: opening, reusing, shutting down, ids, and what is shared between cells and what is not."""

# ruff: noqa: E501 (a script, or the steps of a conversation, read best in one line)

from __future__ import annotations

from tests.interop.differential.cases import CloseInput, talk
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
    shutdown,
    terminate,
    wait,
    withdrawn,
)

OPEN = (send(open_session(1)), reply(1))

CASES = (
    talk("open-and-shut-down", *OPEN, send(shutdown(2)), reply(2)),
    talk("open-twice", *OPEN, send(open_session(2)), reply(2)),
    talk("reused-after-shutdown", *OPEN, send(shutdown(2)), reply(2), send(open_session(3)), reply(3)),
    talk("shut-down-twice", *OPEN, send(shutdown(2)), reply(2), send(shutdown(3)), reply(3)),
    talk("unknown-session", send(shutdown(1)), reply(1), send(execute(2, "")), reply(2), send(wait(3)), reply(3), send(terminate(4)), reply(4)),
    talk("everything-after-shutdown", *OPEN, send(shutdown(2)), reply(2), send(execute(3, "")), reply(3), send(wait(4)), reply(4), send(terminate(5)), reply(5)),
    talk("two-sessions-have-their-own-cells", *OPEN, send(open_session(2, "t")), reply(2), send(execute(3, "text('s')")), closed(), send(execute(4, "text('t')", "t")), closed("1", "t"), send(execute(5, "text('t2')", "t")), closed("2", "t")),
    talk("two-sessions-have-their-own-values", *OPEN, send(open_session(2, "t")), reply(2), send(execute(3, "store('k', 's')")), closed(), send(execute(4, "text(String(load('k')))", "t")), closed("1", "t")),
    talk("one-session-ends-another-stays", *OPEN, send(open_session(2, "t")), reply(2), send(shutdown(3)), reply(3), send(execute(4, "text('t')", "t")), closed("1", "t")),
    talk("case-and-space-make-other-sessions", *OPEN, send(open_session(2, "S")), reply(2), send(open_session(3, "s ")), reply(3)),
    talk("message-names-the-session", send(shutdown(1, "ünï `☃`\n")), reply(1), send(open_session(2, "a`b")), reply(2), send(open_session(3, "a`b")), reply(3)),
    talk("cell-ids-count-up", *OPEN, send(execute(2, "")), closed("1"), send(execute(3, "throw 'x'")), closed("2"), send(execute(4, "exit()")), closed("3"), send(execute(5, "import 'x'")), closed("4"), send(execute(6, "")), closed("5")),
    talk("order-of-a-cell", *OPEN, send(execute(2, "text('a'); notify('n'); await tools.t(1); text('b')", tools=["t"])), asked(2), send(delivered(1), answered(2, None)), closed()),
    talk("three-cells-one-after-the-other", *OPEN, send(execute(2, "text(1)")), closed("1"), send(execute(3, "text(2)")), closed("2"), send(execute(4, "text(3)")), closed("3")),
    talk("cells-run-side-by-side", *OPEN, send(execute(2, "await tools.t('a'); text('a')", tools=["t"])), asked(1), send(execute(3, "await tools.t('b'); text('b')", tools=["t"])), asked(2), send(answered(2, None)), closed("2"), send(answered(1, None)), closed("1")),
    talk("a-loop-does-not-stop-others", *OPEN, send(execute(2, "notify('n'); while (true) {}")), asked(1), send(execute(3, "text('other')")), closed("2"), send(terminate(4)), closed("1")),
    talk("a-cell-sees-the-values-of-its-start", *OPEN, send(execute(2, "store('k', 'old')")), closed("1"), send(execute(3, "await tools.t(); text(load('k'))", tools=["t"])), asked(1), send(execute(4, "store('k', 'new'); store('n', 1)")), closed("3"), send(answered(1, None)), closed("2"), send(execute(5, "text([load('k'), load('n')])")), closed("4")),
    talk("the-last-one-to-end-wins", *OPEN, send(execute(2, "store('k', 'first'); await tools.t()", tools=["t"])), asked(1), send(execute(3, "store('k', 'second'); store('o', 1)")), closed("2"), send(answered(1, None)), closed("1"), send(execute(4, "text([load('k'), load('o')])")), closed("3")),
    talk("reading-writes-nothing-back", *OPEN, send(execute(2, "store('k', 1)")), closed("1"), send(execute(3, "load('k'); await tools.t()", tools=["t"])), asked(1), send(execute(4, "store('k', 2)")), closed("3"), send(answered(1, None)), closed("2"), send(execute(5, "text(load('k'))")), closed("4")),
    talk("terminated-cells-store-nothing", *OPEN, send(execute(2, f"store('k', 1); notify('n'); {NEVER}")), asked(1), send(terminate(3)), closed("1"), send(execute(4, "text(String(load('k')))")), closed("2")),
    talk("values-are-committed-with-the-result", *OPEN, send(execute(2, "store('k', 1); notify('n')")), asked(1), send(execute(3, "text(String(load('k')))")), closed("2"), send(delivered(1)), closed("1"), send(execute(4, "text(String(load('k')))")), closed("3")),
    talk("shutdown-with-a-running-cell", *OPEN, send(execute(2, f"text('a'); notify('n'); {NEVER}")), asked(1), send(delivered(1)), send(shutdown(3)), reply(3)),
    talk("shutdown-with-a-loop", *OPEN, send(execute(2, "text('a'); notify('n'); while (true) {}")), asked(1), send(delivered(1)), send(shutdown(3)), reply(3)),
    talk("shutdown-with-a-yielded-cell", *OPEN, send(execute(2, f"text('a'); yield_control(); {NEVER}")), initial(2), send(shutdown(3)), reply(3)),
    talk("shutdown-with-a-pending-wait", *OPEN, send(execute(2, f"yield_control(); await tools.t(); text('a'); notify('n'); {NEVER}", tools=["t"])), asked(1), send(wait(3), answered(1, None)), asked(2), send(delivered(2)), send(shutdown(4)), reply(4)),
    talk("shutdown-with-a-pending-call", *OPEN, send(execute(2, "text('a'); await tools.t()", tools=["t"])), asked(1), send(shutdown(3)), reply(3)),
    talk("shutdown-with-a-finishing-cell", *OPEN, send(execute(2, "text('a'); notify('n')")), asked(1), send(shutdown(3)), reply(3)),
    talk("shutdown-with-an-unobserved-result", *OPEN, send(execute(2, "yield_control(); tools.t()", tools=["t"])), withdrawn(1), send(shutdown(3)), reply(3)),
    talk("shutdown-with-three-cells", *OPEN, send(execute(2, f"text('a'); notify('n'); {NEVER}")), asked(1), send(delivered(1)), send(execute(3, f"text('b'); yield_control(); {NEVER}")), initial(3), send(execute(4, f"text('c'); notify('n'); {NEVER}")), asked(2), send(delivered(2)), send(shutdown(5)), reply(5), unordered=True),
    talk("other-sessions-go-on-during-a-shutdown", *OPEN, send(open_session(2, "t")), reply(2), send(execute(3, "notify('n'); while (true) {}")), asked(1), send(shutdown(4)), reply(4), send(execute(5, "text('t')", "t")), closed("1", "t")),
    talk("end-of-input-with-a-running-cell", *OPEN, send(execute(2, f"text('a'); notify('n'); {NEVER}")), asked(1), CloseInput()),
    talk("end-of-input-with-a-loop", *OPEN, send(execute(2, "notify('n'); while (true) {}")), asked(1), CloseInput()),
    talk("end-of-input-with-a-pending-wait", *OPEN, send(execute(2, f"yield_control(); await tools.t(); notify('n'); {NEVER}", tools=["t"])), asked(1), send(wait(3), answered(1, None)), asked(2), CloseInput()),
    talk("end-of-input-with-a-pending-call", *OPEN, send(execute(2, "await tools.t()", tools=["t"])), asked(1), CloseInput()),
    talk("end-of-input-with-an-unobserved-result", *OPEN, send(execute(2, "yield_control(); tools.t()", tools=["t"])), withdrawn(1), CloseInput()),
    talk("end-of-input-after-shutdown", *OPEN, send(execute(2, "text(1)")), closed(), send(shutdown(3)), reply(3), CloseInput()),
)  # fmt: skip
