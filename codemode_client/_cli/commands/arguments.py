"""Options of several commands."""

from __future__ import annotations

import argparse

_MAX_MILLISECONDS = 2**53 - 1  # as in a script's pragma


def add_tools(parser: argparse.ArgumentParser) -> None:
    """Add `--tools`."""
    parser.add_argument(
        "--tools",
        metavar="MODULE:OBJECT",
        help="Python functions that scripts may call: a Toolbox, a function, or a list of functions; "
        "MODULE is looked up in the current directory first",
    )


def add_servers(parser: argparse.ArgumentParser) -> None:
    """Add `--mcp`."""
    parser.add_argument(
        "--mcp",
        metavar="FILE",
        help="MCP servers whose tools scripts may call: the mcpServers JSON that MCP clients are configured with",
    )


def add_host(parser: argparse.ArgumentParser) -> None:
    """Add `--host`, whose value is a list or None."""
    parser.add_argument(
        "--host",
        type=command,
        metavar="COMMAND",
        help="the host program and its arguments (default: this environment's own host)",
    )


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--json` with this help."""
    parser.add_argument("--json", action="store_true", help=what)


def command(text: str) -> list[str]:
    """Parse a program and its arguments, separated as in a shell."""
    import shlex

    try:
        if words := shlex.split(text):
            return words
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be split into words: {error}") from error
    raise argparse.ArgumentTypeError("names no program")


def milliseconds(text: str) -> int:
    """Parse a whole number of milliseconds, zero or more."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    if value > _MAX_MILLISECONDS:
        raise argparse.ArgumentTypeError(f"must not be more than {_MAX_MILLISECONDS}")
    return value


def seconds(text: str) -> float:
    """Accept a number of seconds, more than zero."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value
