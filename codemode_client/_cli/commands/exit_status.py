"""The exit statuses of commands, and the error of a wrong use."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """The exit statuses of `codemode`."""

    OK = 0
    SCRIPT_ERROR = 1
    """The script failed (it threw, did not compile, or met a limit), or what was examined is not in order."""
    USAGE = 2
    """The command line, a file that it names, or the tools cannot be used."""
    HOST_FAILURE = 3
    """The host could not be started, or was lost."""
    INTERRUPTED = 130


class UsageError(Exception):
    """The command cannot be run as requested; the message says why and what would work."""
