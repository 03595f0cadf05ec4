"""`codemode`: the command line. Each command is a module of `codemode_client._cli.commands`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from codemode_client._cli.commands import ExitStatus, UsageError
from codemode_client._cli.console.streams import tell
from codemode_protocol.errors import CodeModeError, HostError, first_cause

COMMANDS = ("run", "repl", "tools", "doctor", "mcp", "ps", "kill", "replay", "conformance")
"""In the order of the help."""

_EXAMPLE = "example: "


class _Help(argparse.HelpFormatter):
    """A formatter that keeps an example on one line, so that it can be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(_EXAMPLE) else super()._fill_text(text, width, indent)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line with all commands."""
    top = argparse.ArgumentParser(
        prog="codemode",
        description="Run JavaScript cells that call your tools.",
        epilog="`codemode COMMAND --help` says more, with an example.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"codemode_client._cli.commands.{name}")
        command = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.DESCRIPTION,
            epilog=f"{_EXAMPLE}{module.EXAMPLE}",
            formatter_class=_Help,
        )
        module.configure(command)
        command.set_defaults(run=module.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status. The entry point of `codemode`."""
    try:
        _give_missing_streams()
        options = parser().parse_args(argv)
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BaseException as raised:  # the cause may be nested in exception groups
        failed = _report_failure(options.command, first_cause(raised))
        if failed is None:
            raise
        return failed
    return status


def _report_failure(command: str, cause: BaseException) -> ExitStatus | None:
    """Write what ended a command to standard error and return its exit status; None for a bug in this program."""
    status = ExitStatus.USAGE
    if isinstance(cause, HostError):
        status = ExitStatus.HOST_FAILURE
    elif isinstance(cause, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        return ExitStatus.INTERRUPTED
    elif isinstance(cause, OSError):
        _discard_output()
        if isinstance(cause, BrokenPipeError):
            return ExitStatus.OK  # the reader of our output has closed it
    elif not isinstance(cause, (CodeModeError, UsageError)):
        return None
    tell(f"codemode {command}: {cause}")
    return status


def _give_missing_streams() -> None:
    """Replace a standard output or standard error that was closed when the program started."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal cannot show must not end the program.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Send buffered output to the null device: the interpreter would fail to write it at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
