"""The commands of `codemode`, a module each: SUMMARY, DESCRIPTION, EXAMPLE, `configure(parser)` and `run(options)`.

The help imports all of these modules, so each imports its dependencies in `run` alone.
"""

from codemode_client._cli.commands.exit_status import ExitStatus, UsageError

__all__ = ["ExitStatus", "UsageError"]
