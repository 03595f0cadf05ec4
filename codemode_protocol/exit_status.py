"""The statuses that `codemode-host` ends with."""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class HostExitStatus(IntEnum):
    """An exit status of `codemode-host`; docs/operations.md says what to do about each.

    Attributes:
        meaning: What has happened, as docs/operations.md says it.
    """

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """Make a member of its number and its meaning."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    OK = 0, "its input ended, or it refused the handshake"
    MALFORMED_INPUT = 1, "the client sent something malformed"
    USAGE = 2, "the command line is wrong"
    ENGINE_PANIC = 70, "engine panic: a runtime or the zygote died of something that was not asked for"
    HOST_FAULT = 71, "a task of the host failed"
    CLIENT_LOST = 74, "the client is lost"
    REFUSED = 78, "refused to start: something that it promises cannot be had here"
    INTERRUPTED = 130, "interrupted"


FAILURES = frozenset(
    {
        HostExitStatus.ENGINE_PANIC,
        HostExitStatus.HOST_FAULT,
        HostExitStatus.CLIENT_LOST,
        HostExitStatus.REFUSED,
    }
)
"""The statuses that come with a block on standard error that says what failed."""

_FAILURE_NAMES = {status.value: status.name.lower() for status in FAILURES}


def name_ending(exit_status: int) -> str:
    """Return the name under which a client counts hosts that ended so: `engine_panic`, `exit_1`, `SIGKILL`.

    Args:
        exit_status: As `subprocess` reports it: negative for the signal that ended the host.
    """
    if exit_status >= 0:
        return _FAILURE_NAMES.get(exit_status, f"exit_{exit_status}")
    import signal

    try:
        return signal.Signals(-exit_status).name
    except ValueError:
        return f"signal_{-exit_status}"
