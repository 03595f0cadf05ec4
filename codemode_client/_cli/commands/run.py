"""`codemode run`: run one script as a cell and stream its output."""

from __future__ import annotations

import argparse

from codemode_client._cli.commands import ExitStatus, UsageError, arguments
from codemode_client._cli.console.streams import tell

SUMMARY = "run a script and show its output as it comes"
DESCRIPTION = (
    "Run a script as one cell and show its output as it comes. "
    "The exit status is 0 when it succeeded, 1 when the script failed, 2 when the command line, the file or the "
    "tools cannot be used, 3 when the host failed, 130 after Ctrl-C."
)
EXAMPLE = "codemode run script.js --tools mytools:toolbox"


def configure(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("file", metavar="FILE", nargs="?", help="the script, or - for standard input")
    what.add_argument("-e", "--eval", metavar="SOURCE", help="a script given here instead of a file")
    arguments.add_tools(parser)
    arguments.add_servers(parser)
    parser.add_argument(
        "--yield-ms",
        type=arguments.milliseconds,
        default=None,
        metavar="N",
        help="how often to collect output while the script runs (default: what the script's pragma says, else 200)",
    )
    arguments.add_json(parser, "print one JSON object a line instead of text")
    arguments.add_host(parser)


def run(options: argparse.Namespace) -> int:
    """Run the script and return the exit status."""
    import asyncio
    import sys

    from codemode_client._cli.console.cells import follow, interval, start, succeeded
    from codemode_client._cli.console.display import Display, JsonDisplay, TextDisplay
    from codemode_client._cli.console.loading import connected, load_tools, read_source
    from codemode_client._cli.console.scripts import Script
    from codemode_client._session.provider import CodeModeProvider
    from codemode_protocol.errors import RequestFailedError, first_cause

    name, text = ("<eval>", options.eval) if options.eval is not None else read_source(options.file)
    try:
        text.encode()
    except UnicodeEncodeError as error:  # an argument may hold any bytes
        raise UsageError(f"{name} is not UTF-8 text: {error}") from error
    script = Script.parse(name, text)
    every = interval(script.source, options.yield_ms)
    toolbox = load_tools(options.tools)
    display: Display = JsonDisplay() if options.json else TextDisplay()
    toolbox.on_notify = display.notification

    async def main() -> bool:
        async with (
            connected(toolbox, options.mcp),
            CodeModeProvider(options.host) as provider,
            provider.session(toolbox) as session,
        ):
            cell = await start(session, script, toolbox.definitions, every)
            response = await follow(session, cell, display.output, every)
            display.ended(response, script)
            return succeeded(response)

    try:
        return ExitStatus.OK if asyncio.run(main()) else ExitStatus.SCRIPT_ERROR
    except BaseException as raised:
        cause = first_cause(raised)
        if isinstance(cause, RequestFailedError):
            tell(f"codemode run: {cause}")
            return ExitStatus.SCRIPT_ERROR
        if isinstance(cause, KeyboardInterrupt):
            sys.stderr.write("interrupted: the cell was stopped\n")
            return ExitStatus.INTERRUPTED
        raise
