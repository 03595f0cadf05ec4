"""The commands of `codemode`, a module each: SUMMARY, DESCRIPTION, EXAMPLE, `configure(parser)` and `run(options)`.

All of these modules are imported to show the help, so each imports what it works with in `run` alone.
"""

from codemode_client._cli.commands.outcome import ExitStatus, UsageError

__all__ = ["ExitStatus", "UsageError"]
