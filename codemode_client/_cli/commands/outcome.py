"""How a command ends."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """What `codemode` ends with."""

    OK = 0
    SCRIPT_ERROR = 1
    """The script failed (it threw, it did not compile, its cell met a limit), or what was examined is not in order."""
    USAGE = 2
    """The command line, a file that it names, or the tools cannot be used."""
    HOST_FAILURE = 3
    """The host could not be started, or was lost."""
    INTERRUPTED = 130


class UsageError(Exception):
    """What the user asked for cannot be done; the message says why and what would do."""
