"""The statuses that `codemode-host` ends with."""

from __future__ import annotations

from enum import IntEnum


class HostExitStatus(IntEnum):
    """What a host's exit status means. docs/operations.md says what to do about each."""

    OK = 0
    """End of input at a frame boundary, or a rejected handshake."""
    MALFORMED_INPUT = 1
    """The client broke the protocol."""
    USAGE = 2
    """The command line was wrong."""
    ENGINE_PANIC = 70
    """A runtime or the zygote died of something that was not asked for."""
    HOST_FAULT = 71
    """A task of the host itself failed."""
    CLIENT_LOST = 74
    """The client stopped reading."""
    REFUSED = 78
    """The host would have had to run without something that it promises."""
    INTERRUPTED = 130
    """Ctrl-C."""


_FAILURES = (
    HostExitStatus.ENGINE_PANIC,
    HostExitStatus.HOST_FAULT,
    HostExitStatus.CLIENT_LOST,
    HostExitStatus.REFUSED,
)


def name_exit_status(status: int) -> str:
    """Return the name under which a host's end is counted.

    Args:
        status: As `subprocess` reports it: negative for the signal that ended the process.

    Returns:
        A failure's own name, such as `engine_panic`; `SIGKILL` or `signal_99` for a signal; else `exit_3`.
    """
    if status < 0:
        import signal

        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal_{-status}"
    return HostExitStatus(status).name.lower() if status in _FAILURES else f"exit_{status}"
