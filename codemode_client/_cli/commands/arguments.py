"""Options that several commands have."""

from __future__ import annotations

import argparse

_MOST_MILLISECONDS = 2**53 - 1  # as in a script's first line


def add_tools(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tools",
        metavar="MODULE:OBJECT",
        help="Python functions that scripts may call: a Toolbox, a function, or a list of functions; "
        "MODULE is looked up in the current directory first",
    )


def add_servers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mcp",
        metavar="FILE",
        help="MCP servers whose tools scripts may call: the mcpServers JSON that MCP clients are configured with",
    )


def add_host(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        type=command,
        metavar="COMMAND",
        help="the host program and its arguments (default: this environment's own host)",
    )


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=what)


def command(text: str) -> str:
    """A program and its arguments, for `shlex.split`."""
    import shlex

    try:
        if shlex.split(text):
            return text
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be split into words: {error}") from error
    raise argparse.ArgumentTypeError("names no program")


def milliseconds(text: str) -> int:
    """A whole number of milliseconds, zero or more."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    if value > _MOST_MILLISECONDS:
        raise argparse.ArgumentTypeError(f"must not be more than {_MOST_MILLISECONDS}")
    return value


def seconds(text: str) -> float:
    """Some seconds, more than zero."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value
