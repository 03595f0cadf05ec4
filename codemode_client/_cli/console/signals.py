"""Which signals a command takes."""

from __future__ import annotations

import signal


def heeded(*numbers: signal.Signals) -> tuple[signal.Signals, ...]:
    """Return those of the signals that a command may take for itself.

    One that is ignored from the start stays so: the one who started the command, `nohup` or a script's `&`, wants it to
    go on.
    """
    return tuple(number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN)
