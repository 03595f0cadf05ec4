"""`codemode`: the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from enum import IntEnum


class ExitStatus(IntEnum):
    """What `codemode` ends with."""

    OK = 0
    SCRIPT_ERROR = 1
    """The script failed: it threw, it did not compile, or its cell met a limit."""
    USAGE = 2
    """The command line, the script's file or the tools cannot be used."""
    HOST_FAILURE = 3
    """The host could not be started, or was lost."""
    INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="codemode", description="Run JavaScript cells that call your tools.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run a script and show its output as it comes",
        description="Run a script as one cell and show its output as it comes. "
        "The exit status is 0 when it succeeded, 1 when the script failed, 2 when the command line, the file or the "
        "tools cannot be used, 3 when the host failed, 130 after Ctrl-C.",
        epilog="example: codemode run script.js --tools mytools:toolbox",
    )
    run.add_argument("file", metavar="FILE", help="the script, or - for standard input")
    run.add_argument(
        "--tools",
        metavar="MODULE:OBJECT",
        help="Python functions that the script may call: a Toolbox, a function, or a list of functions; "
        "MODULE is looked up in the current directory first",
    )
    run.add_argument(
        "--yield-ms",
        type=milliseconds,
        default=None,
        metavar="N",
        help="how often to collect output while the script runs (default: what the script's pragma says, else 200)",
    )
    run.add_argument("--json", action="store_true", help="print one JSON object a line instead of text")
    run.add_argument(
        "--host",
        metavar="COMMAND",
        help="the host program and its arguments (default: this environment's own host)",
    )
    replay = commands.add_parser(
        "replay",
        help="show a recorded conversation as a timed transcript",
        description="Show a conversation that `codemode-host --record FILE` wrote down: each message with its time and "
        "direction, and what is remarkable about it. The exit status is 0, or 2 when FILE is no recording.",
        epilog="example: codemode run script.js --host 'codemode-host --record talk.rec'; codemode replay talk.rec",
    )
    replay.add_argument("file", metavar="FILE", help="the recording")
    replay.add_argument("--full", action="store_true", help="show messages whole, however long they are")
    return top


def milliseconds(text: str) -> int:
    """A whole number of milliseconds, zero or more."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = parser().parse_args(argv)
    if options.command == "replay":
        from .replay import replay_command

        return replay_command(options)
    from .run import run_command

    return run_command(options)


if __name__ == "__main__":
    sys.exit(main())
