"""`codemode`: the command line. Each command is a module of `codemode_client._cli.commands`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from codemode_client._cli.commands import ExitStatus, UsageError
from codemode_protocol.errors import CodeModeError, HostError, first_cause

# In the order of the help.
COMMANDS = (
    "run",
    "repl",
    "tools",
    "doctor",
    "mcp",
    "ps",
    "kill",
    "replay",
    "conformance",
)


_EXAMPLE = "example: "


class _Help(argparse.HelpFormatter):
    """Breaks no line of an example, so that it can be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(_EXAMPLE) else super()._fill_text(text, width, indent)


def parser() -> argparse.ArgumentParser:
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
    """Entry point; returns the exit status."""
    try:
        _give_missing_streams()
        options = parser().parse_args(argv)
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BaseException as raised:  # a group may hold what is meant, however deep
        told = _tell(options.command, first_cause(raised))
        if told is None:
            raise
        return told
    return status


def _tell(command: str, cause: BaseException) -> ExitStatus | None:
    """Say on standard error what ended a command, and give its status; None for what is a mistake in this program."""
    status = ExitStatus.USAGE
    if isinstance(cause, HostError):
        status = ExitStatus.HOST_FAILURE
    elif isinstance(cause, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        return ExitStatus.INTERRUPTED
    elif isinstance(cause, OSError):
        _discard_output()
        if isinstance(cause, BrokenPipeError):
            return ExitStatus.OK  # whoever read our output has had enough
    elif not isinstance(cause, (CodeModeError, UsageError)):
        return None
    sys.stderr.write(f"codemode {command}: {cause}\n")
    return status


def _give_missing_streams() -> None:
    """A program may be started with its standard output or its standard error closed."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character is no reason to stop.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """What is still buffered for standard output goes nowhere: the interpreter would fail once more to write it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
