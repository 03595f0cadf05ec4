"""`codemode repl`: cells from a prompt or a pipe, one session for all of them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from codemode_client._cli.commands import ExitStatus, UsageError, arguments

if TYPE_CHECKING:
    from codemode_client._cli.console.display import Display
    from codemode_client._cli.console.repl import Repl
    from codemode_client._tools.toolbox import Toolbox

SUMMARY = "run cells from a prompt or a pipe"
DESCRIPTION = (
    "Run what is typed, each input as a cell of its own. Cells share what they store(); variables end with their cell. "
    "Without a terminal, cells are read from standard input, separated by blank lines that are not within a statement. "
    "The exit status is 0, 1 when a piped cell failed, 2 when the command line or the tools cannot be used, 3 when the "
    "host failed, 130 after Ctrl-C while cells are piped in."
)
EXAMPLE = "codemode repl --tools mytools:toolbox"

COMMANDS = {
    ".help": "this",
    ".tools": "the tools; `.tools NAME` for the declaration of one",
    ".exit": "leave, as Ctrl-D does",
}

HELP = f"""\
Each input runs as a cell of its own: a script with top-level `await`, on a fresh runtime. So `const` and `let` end
with it; `store("name", value)` keeps a value of JSON, and `load("name")` gives it to later cells.
The value of the last statement is shown if that is an expression; text(value) writes any other.

  Enter       run, or go on in a new line while the statement is not finished
  Esc Enter   run in any case
  Tab         complete a tool's name or a global
  Ctrl-C      end the running cell, or give up the input
  Ctrl-D      leave
{chr(10).join(f"  {name:<12}{about}" for name, about in COMMANDS.items())}
"""


def configure(parser: argparse.ArgumentParser) -> None:
    arguments.add_tools(parser)
    arguments.add_servers(parser)
    arguments.add_json(parser, "print one JSON object a line instead of text, and show no prompt")
    arguments.add_host(parser)


def run(options: argparse.Namespace) -> int:
    """Run cells until the end of input, and return the exit status."""
    import asyncio
    import sys

    from codemode_client._cli.console.display import JsonDisplay, TextDisplay
    from codemode_client._cli.console.loading import connected, load_tools
    from codemode_client._cli.console.repl import Repl
    from codemode_client._session.provider import CodeModeProvider

    if sys.stdin is None:
        raise UsageError("cannot read standard input: it is closed")
    toolbox = load_tools(options.tools)
    display: Display = JsonDisplay() if options.json else TextDisplay()
    toolbox.on_notify = display.notification
    converse = _prompt if sys.stdin.isatty() and not options.json else _pipe

    async def main() -> ExitStatus:
        async with (
            connected(toolbox, options.mcp),
            CodeModeProvider(options.host) as provider,
            provider.session(toolbox) as session,
        ):
            return await converse(Repl(session, toolbox, display), toolbox, display)

    return asyncio.run(main())


async def _pipe(repl: Repl, toolbox: Toolbox, display: Display) -> ExitStatus:
    from codemode_client._cli.console.pipe import cells

    async for cell in cells():
        await repl.run(cell)
    return ExitStatus.SCRIPT_ERROR if repl.failures else ExitStatus.OK


async def _prompt(repl: Repl, toolbox: Toolbox, display: Display) -> ExitStatus:
    import asyncio

    from codemode_client._cli.console.terminal import Prompt
    from codemode_protocol.tools import visible_tools

    tools = {tool.name: tool.description.partition("\n")[0] for tool in visible_tools(toolbox.definitions)}
    prompt = Prompt(tools, COMMANDS)
    count = "1 tool" if len(tools) == 1 else f"{len(tools)} tools"
    display.value(f"codemode: {count}; each input is a cell of its own. .help says more.")
    with repl.interruptible():
        while True:
            try:
                text = await asyncio.to_thread(prompt.read)
            except EOFError:
                return ExitStatus.OK
            match (text or "").split():
                case []:
                    pass
                case [".exit"]:
                    return ExitStatus.OK
                case [".help"]:
                    display.value(HELP)
                case [".tools", *names]:
                    display.value(_declarations(toolbox, names))
                case [word, *_] if word[0] == "." and not word[1:2].isdigit():
                    display.refused(f"there is no command {word}: .help shows those that there are")
                case _:
                    assert text is not None
                    await repl.run(text)


def _declarations(toolbox: Toolbox, names: list[str]) -> str:
    """Return the declarations of the tools with these names, or a line for each tool."""
    from codemode_protocol.tools import normalize_tool_name
    from codemode_protocol.typescript import tool_declaration

    if not names:
        lines = [f"tools.{normalize_tool_name(one.name)}  {one.description}" for one in toolbox.definitions]
        return "\n".join(line.partition("\n")[0] for line in lines) or "there are no tools: give some with --tools"
    found = [one for one in toolbox.definitions if normalize_tool_name(one.name) in names or one.name in names]
    return "\n".join(map(tool_declaration, found)) or f"there is no tool {' '.join(names)}"
