"""Cells: executed, observed, yielding, waited for."""

from __future__ import annotations

from codemode_protocol.testing.patterns import ANY_TEXT, starts
from codemode_protocol.testing.steps import Conversation, Step
from codemode_protocol.testing.words import (
    NEVER,
    answer,
    called,
    cancel,
    closed,
    delivered,
    execute,
    expect,
    failed,
    in_session,
    initial,
    leaving_a_cell,
    live,
    missing,
    notified,
    result,
    send,
    started,
    wait,
    withdrawn,
    yielded,
)

RULE = "docs/protocol.md#what-happens-when"
OBSERVED = "exec cell 1 already has an active observer"
CANCELLED = "code-mode request cancelled"


def _talk(name: str, proves: str, *steps: Step) -> Conversation:
    return in_session(f"cells/{name}", proves, RULE, *steps)


def _leave(name: str, proves: str, *steps: Step) -> Conversation:
    return leaving_a_cell(f"cells/{name}", proves, RULE, *steps)


def _runs(source: str, *expected: object) -> tuple[Step, ...]:
    """Execute a script as request 2, and as a cell whose first messages are these."""
    return (send(execute(2, source)), expect(started(2), *expected))


CONVERSATIONS = (
    _talk(
        "output-and-result",
        "runs a script and hands over what it wrote, in order",
        *_runs(
            "text('a'); text(6 * 7); text({ é: [1, null] })", initial(2, result("a", "42", '{"é":[1,null]}')), closed()
        ),
    ),
    _talk("no-output", "runs a script that writes nothing", *_runs("", initial(2, result()), closed())),
    _talk(
        "image",
        "hands over an image between texts",
        send(execute(2, "text('1'); image('data:image/png;base64,aa', 'low'); text('2')")),
        expect(
            started(2),
            initial(
                2,
                {
                    "Result": {
                        "cell_id": "1",
                        "content_items": [
                            {"type": "input_text", "text": "1"},
                            {"type": "input_image", "image_url": "data:image/png;base64,aa", "detail": "low"},
                            {"type": "input_text", "text": "2"},
                        ],
                        "error_text": None,
                    }
                },
            ),
            closed(),
        ),
    ),
    _talk(
        "throws-a-value",
        "tells what a script threw, and what it wrote before",
        *_runs("text('a'); throw 'x'", initial(2, result("a", error="x")), closed()),
    ),
    _talk(
        "throws-an-error",
        "tells an error by its name and message",
        *_runs("throw new RangeError('no')", initial(2, result(error=starts("RangeError: no"))), closed()),
    ),
    _talk(
        "does-not-compile",
        "tells what cannot be compiled as the end of its cell",
        *_runs("let = ;", initial(2, result(error=ANY_TEXT)), closed()),
    ),
    _talk("exit", "ends a script at exit()", *_runs("text('a'); exit(); text('b')", initial(2, result("a")), closed())),
    _talk(
        "ids",
        "counts cells from 1, however each ends, and never uses an id again",
        send(execute(2, "")),
        expect(started(2), initial(2, result()), closed()),
        send(execute(3, "throw 'x'")),
        expect(started(3, "2"), initial(3, result(cell="2", error="x")), closed("2")),
        send(execute(4, "exit()")),
        expect(started(4, "3"), initial(4, result(cell="3")), closed("3")),
    ),
    _talk(
        "side-by-side",
        "runs cells side by side, in whatever order they end",
        send(execute(2, "text(await tools.t('a'))")),
        expect(started(2), called("a", "a")),
        send(execute(3, "text(await tools.t('b'))")),
        expect(started(3, "2"), called("b", "b", cell="2")),
        send(answer("b", 2)),
        expect(initial(3, result("2", cell="2")), closed("2")),
        send(answer("a", 1)),
        expect(initial(2, result("1")), closed("1")),
    ),
    _talk(
        "yield",
        "answers at yield_control(), and the wait after it at the end",
        *_runs("text('a'); yield_control(); text('b'); text(await tools.t())", initial(2, yielded("a")), called("c")),
        send(wait(3), answer("c", "c")),
        expect(live(3, result("b", "c")), closed()),
    ),
    _talk(
        "yield-answers-a-wait",
        "answers a wait at yield_control()",
        *_runs(
            "yield_control(); await tools.t(1); text('a'); yield_control(); await tools.t(2)",
            initial(2, yielded()),
            called("c", 1),
        ),
        send(wait(3), answer("c", None)),
        expect(live(3, yielded("a")), called("d", 2, number=2)),
        send(wait(4), answer("d", None)),
        expect(live(4, result()), closed()),
    ),
    _talk(
        "yield-unobserved",
        "forgets a yield_control() without an observer",
        *_runs(
            "yield_control(); text('a'); yield_control(); await tools.t(); text('b')",
            initial(2, yielded()),
            called("c"),
        ),
        send(wait(3), wait(4, "none")),
        expect(missing(4, "none")),
        send(answer("c", None)),
        expect(live(3, result("a", "b")), closed()),
    ),
    _leave(
        "time-over",
        "answers when the yield time is over, with what there is",
        send(execute(2, f"text('a'); {NEVER}", yield_time_ms=1000)),
        expect(started(2), initial(2, yielded("a"))),
        send(wait(3, "1", 20)),
        expect(live(3, yielded())),
    ),
    _leave(
        "no-time",
        "answers a wait without yield time at once, with what there is, and each piece once",
        *_runs(f"yield_control(); text('a'); notify('n'); {NEVER}", initial(2, yielded()), notified("n", "n")),
        send(wait(3, "1", 0)),
        expect(live(3, yielded("a"))),
        send(wait(4, "1", 0)),
        expect(live(4, yielded())),
    ),
    _leave(
        "no-time-to-execute",
        "answers an execute without yield time before its cell ends",
        send(execute(2, NEVER, yield_time_ms=0)),
        expect(started(2), initial(2, yielded())),
    ),
    _talk(
        "no-yield-time-said",
        "takes an execute that leaves its yield time open",
        send(execute(2, "text('a')", yield_time_ms=None)),
        expect(started(2), initial(2, result("a")), closed()),
    ),
    _leave(
        "second-observer",
        "refuses a wait while another observes the cell",
        *_runs(f"yield_control(); {NEVER}", initial(2, yielded())),
        send(wait(3), wait(4)),
        expect(failed(4, OBSERVED)),
        send(cancel(3)),
        expect(failed(3, CANCELLED)),
    ),
    _leave(
        "execute-observes",
        "refuses a wait while the execute observes its cell",
        *_runs(f"notify('n'); {NEVER}", notified("n", "n")),
        send(wait(3, "1", 0)),
        expect(failed(3, OBSERVED)),
    ),
    _talk(
        "missing",
        "says of a cell that never was that it is not there",
        send(wait(2, "77"), wait(3, "zz ü"), wait(4, "")),
        expect(missing(2, "77"), missing(3, "zz ü"), missing(4, "")),
    ),
    _talk(
        "closed",
        "says of a cell that has closed that it is not there",
        *_runs("text('a')", initial(2, result("a")), closed()),
        send(wait(3)),
        expect(missing(3, "1")),
    ),
    _talk(
        "kept-result",
        "keeps the result of a cell without an observer for the next wait, and no longer",
        *_runs(
            "yield_control(); text('a'); tools.t(1); await tools.t(2)",
            initial(2, yielded()),
            called("c", 1),
            called("d", 2, number=2),
        ),
        send(answer("d", None)),
        expect(withdrawn("c")),
        send(wait(3)),
        expect(live(3, result("a")), closed()),
        send(wait(4)),
        expect(missing(4, "1")),
    ),
    _leave(
        "cancelled-wait",
        "takes a wait back, and keeps the output for the next one",
        *_runs(
            f"yield_control(); text('a'); await tools.t(1); text('b'); await tools.t(2); {NEVER}",
            initial(2, yielded()),
            called("c", 1),
        ),
        send(wait(3), answer("c", None)),
        expect(called("d", 2, number=2)),
        send(cancel(3)),
        expect(failed(3, CANCELLED)),
        send(wait(4, "1", 0)),
        expect(live(4, yielded("a", "b"))),
    ),
    _talk(
        "cancelled-execute",
        "ignores the cancel of an execute",
        *_runs("text(await tools.t())", called("c")),
        send(cancel(2), answer("c", "a")),
        expect(initial(2, result("a")), closed()),
    ),
    _talk(
        "values-at-the-end",
        "stores values with the result of a cell, after its notifications",
        *_runs("store('k', 1); notify('n')", notified("n", "n")),
        send(execute(3, "text(load('k'))")),
        expect(started(3, "2"), initial(3, result("undefined", cell="2")), closed("2")),
        send(delivered("n")),
        expect(initial(2, result()), closed("1")),
        send(execute(4, "text(load('k'))")),
        expect(started(4, "3"), initial(4, result("1", cell="3")), closed("3")),
    ),
)
