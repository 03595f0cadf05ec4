"""`codemode mcp`: code mode for any MCP client, over the tools of MCP servers."""

from __future__ import annotations

import argparse

from codemode_client._cli.commands import ExitStatus, UsageError, arguments
from codemode_client._cli.console.streams import tell

SUMMARY = "be an MCP server that offers exec and wait over the tools of other MCP servers"
DESCRIPTION = (
    "Speak MCP on standard input and output, and offer two tools, exec and wait, with which a model runs scripts. "
    "The scripts can call the tools of the servers in FILE, which has the mcpServers JSON that MCP clients are "
    "configured with, and Python functions. "
    "The exit status is 0 when the client is done or SIGTERM came, 2 when the command line, the file, a server in it "
    "or the tools cannot be used, 3 when the host failed, 130 after Ctrl-C."
)
EXAMPLE = "codemode mcp --config servers.json"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="the servers whose tools scripts may call, as mcpServers JSON")
    arguments.add_tools(parser)
    parser.add_argument(
        "--start-timeout",
        type=arguments.seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long each server has to start and list its tools (default: 30)",
    )
    parser.add_argument(
        "--call-timeout",
        type=arguments.seconds,
        default=None,
        metavar="SECONDS",
        help="how long a call of a server's tool may go on without progress (default: no limit)",
    )
    parser.add_argument(
        "--go-on-without",
        action="store_true",
        help="do without servers that cannot be started, with a line on standard error, instead of ending",
    )
    arguments.add_host(parser)
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="warning",
        help="what to log on standard error (default: warning; info has what servers write to theirs)",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until the client closes the connection, and return the exit status."""
    import asyncio
    import logging
    import signal
    import sys

    from codemode_client._cli.console.loading import load_tools
    from codemode_client._cli.console.signals import heeded
    from codemode_protocol.errors import first_cause

    if options.config is None and options.tools is None:
        raise UsageError("there is nothing to serve: give --config FILE, --tools MODULE:OBJECT, or both")
    try:
        from codemode_client.mcp import Config, McpServerError, load_config
        from codemode_client.mcp._server.program import Program
        from codemode_client.mcp._server.stdio import claimed
    except ImportError as error:
        raise UsageError(str(error)) from error
    logging.basicConfig(
        stream=sys.stderr, level=options.log_level.upper(), format="%(levelname)s %(name)s: %(message)s"
    )
    config = load_config(options.config) if options.config is not None else Config({})
    with claimed() as descriptors:
        program = Program(
            config,
            load_tools(options.tools),
            host=options.host,
            start_timeout=options.start_timeout,
            call_timeout=options.call_timeout,
            go_on_without=options.go_on_without,
        )
        try:
            stopped = asyncio.run(program.run(*descriptors, stopped_by=heeded(signal.SIGINT, signal.SIGTERM)))
        except BaseException as raised:
            cause = first_cause(raised)
            if not isinstance(cause, McpServerError):
                raise
            for failure in (cause, *getattr(cause, "__notes__", ())):
                tell(f"codemode mcp: {failure}")
            return ExitStatus.USAGE
    return ExitStatus.INTERRUPTED if stopped == signal.SIGINT else ExitStatus.OK
