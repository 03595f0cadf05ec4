"""`codemode tools`: show the tools as a model sees them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from codemode_client._cli.commands import ExitStatus, UsageError, arguments
from codemode_client._cli.console.streams import show

if TYPE_CHECKING:
    from codemode_protocol.values import ToolDefinition

SUMMARY = "show the declarations that a model would see of tools"
DESCRIPTION = (
    "Show tools as TypeScript declares them, which is how a model is told about them. "
    "The exit status is 0, or 2 when the command line or the tools cannot be used."
)
EXAMPLE = "codemode tools --tools mytools:toolbox"


def configure(parser: argparse.ArgumentParser) -> None:
    arguments.add_tools(parser)
    arguments.add_servers(parser)
    parser.add_argument(
        "--description",
        action="store_true",
        help="show all that a model is told about exec, of which the tools are the end",
    )
    arguments.add_json(parser, "print one JSON array of the tools' definitions, with their schemas and declarations")


def run(options: argparse.Namespace) -> int:
    """Print the tools and return the exit status."""
    import asyncio

    from codemode_client._cli.console.loading import connected, load_tools
    from codemode_client._cli.console.streams import write_json
    from codemode_protocol.descriptions import exec_description, wait_description
    from codemode_protocol.tools import visible_tools
    from codemode_protocol.typescript import declarations, tool_declaration

    if options.tools is None and options.mcp is None:
        raise UsageError("there are no tools to show: give --tools MODULE:OBJECT, --mcp FILE, or both")
    toolbox = load_tools(options.tools)

    async def enabled() -> list[ToolDefinition]:
        async with connected(toolbox, options.mcp):
            return toolbox.definitions

    definitions = asyncio.run(enabled())
    visible = visible_tools(definitions)
    if options.description and options.json:
        write_json({"exec": exec_description(definitions), "wait": wait_description()})
    elif options.description:
        show(exec_description(definitions))
    elif options.json:
        write_json(
            [
                {"javascript_name": name.name, "declaration": tool_declaration(tool), "definition": tool}
                for name, tool in zip(visible, definitions, strict=True)
            ]
        )
    else:
        show(declarations(definitions).rstrip("\n"))
    return ExitStatus.OK
