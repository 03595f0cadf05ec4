"""What a model is told about `exec` and `wait`.

The text of `exec` ends with the tools, as much of them as fits: their declarations, or a line for each, or how many
there are. What is not shown a script finds in `ALL_TOOLS`, where `typescript.with_declarations` puts the declarations.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from codemode_protocol.helpers import GUIDE
from codemode_protocol.source import PRAGMA_PREFIX
from codemode_protocol.tools import normalize_tool_name
from codemode_protocol.typescript import MCP_TYPES, tool_declaration, uses_mcp_types
from codemode_protocol.typescript_text import one_line
from codemode_protocol.values import (
    DEFAULT_MAX_OUTPUT_TOKENS,
    DEFAULT_YIELD_TIME_MS,
    NAMESPACE_SEPARATOR,
    ToolDefinition,
)

DEFAULT_MAX_CHARACTERS = 24_000
"""How long the description of `exec` may become, about 6000 tokens."""

_LONGEST_SENTENCE = 160
_MORE = "- and {} namespaces more"
_SENTENCE = re.compile(r".+?[.!?](?=\s|$)")

_EXEC = f"""\
Runs JavaScript that calls tools. Put as much of a job as you can into one script: call tools in loops and in \
parallel, filter and join what they return, and write out only what you need to see.

The source is raw JavaScript: not JSON, not in quotes, no Markdown fence. It runs as an async module: `await` \
works at the top level, `return` does not. There are no files, no network, no `console`, `fetch`, `require` or \
`process`: everything outside is reached through tools. An uncaught error fails the script and is reported with \
its line; what was written and stored before it is kept.

A first line like this one is optional, and so is each of its two fields:
`{PRAGMA_PREFIX} {{"yield_time_ms": {DEFAULT_YIELD_TIME_MS}, "max_output_tokens": {DEFAULT_MAX_OUTPUT_TOKENS}}}`
`yield_time_ms` is how many milliseconds the script has before it is left running and its output so far comes \
back, `max_output_tokens` how much output comes back.

Globals:
{GUIDE}
The script is over when its last statement is done: await every call whose result or effect matters."""

_RUNNING = """\
A script that takes longer than `yield_time_ms` is left running, and the answer names its cell: call `{wait}` with \
that id to see the rest."""

_WAIT = """\
Observes a script that `{exec}` left running, by the cell id in its answer, and returns what it has written since \
the last answer. A script can also be stopped with it: what it wrote comes back, and its cell is gone. A script \
whose end was reported cannot be waited for again."""

_FIND = """\
To find one, search for a word, and read the declarations before you call:
```js
const found = ALL_TOOLS.filter((t) => /WORD/i.test(t.name + t.description));
text(found.map((t) => t.description).join("\\n\\n"));
```"""


def exec_description(
    tools: Sequence[ToolDefinition], *, max_characters: int = DEFAULT_MAX_CHARACTERS, wait_name: str = "wait"
) -> str:
    """Return what a model reads about `exec`.

    `max_characters` bounds the whole: what does not fit with the declarations of all tools has a line for each tool, or
    else the number of tools in each namespace. What is said about `exec` itself stays, however small the bound.
    """
    text = f"{_EXEC}\n\n{_RUNNING.format(wait=wait_name)}"
    if not tools:
        return f"{text}\n\nNo tools are enabled."
    types = f"{MCP_TYPES}\n\n" if uses_mcp_types(tools) else ""
    full = f"{text}\n\nThe tools:\n```ts\n{types}{_declared(tools)}\n```"
    if len(full) <= max_characters:
        return full
    if types:
        text = f"{text}\n\n```ts\n{MCP_TYPES}\n```"
    text = f"{text}\n\nThere are {_many(len(tools))}. {_FIND}"
    lines = [_line(tool) for tool in tools]
    if len(text) + _length(lines) > max_characters:
        lines = _counted(tools, max_characters - len(text))
    return "\n".join([text, *lines])


def wait_description(*, exec_name: str = "exec") -> str:
    """Return what a model reads about `wait`."""
    return _WAIT.format(exec=exec_name)


def first_sentence(text: str) -> str:
    """Return the first sentence of a description on one line, or as much of it as fits."""
    line = one_line(text.strip().partition("\n\n")[0])
    found = _SENTENCE.match(line)
    sentence = found[0] if found else line
    return sentence if len(sentence) <= _LONGEST_SENTENCE else f"{sentence[: _LONGEST_SENTENCE - 1].rstrip()}…"


def _declared(tools: Sequence[ToolDefinition]) -> str:
    # Not indented: a model reads it as well, and it is a tenth shorter.
    members = "\n\n".join(tool_declaration(tool) for tool in tools)
    return f"declare const tools: {{\n{members}\n}};"


def _line(tool: ToolDefinition) -> str:
    name, sentence = f"- `{normalize_tool_name(tool.name)}`", first_sentence(tool.description)
    return f"{name}: {sentence}" if sentence else name


def _counted(tools: Sequence[ToolDefinition], room: int) -> list[str]:
    """How many tools each namespace has, the largest first, as many lines as there is room for."""
    counts = Counter(tool.tool_name.namespace for tool in tools).most_common()
    lines = [_namespace(namespace, count) for namespace, count in counts]
    if _length(lines) <= room:
        return lines
    room -= _length([_MORE.format(len(lines))])
    shown = 0
    while (room := room - len(lines[shown]) - 1) >= 0:  # they do not all fit
        shown += 1
    return [*lines[:shown], _MORE.format(len(lines) - shown)] if shown else []


def _namespace(namespace: str | None, count: int) -> str:
    if namespace is None:
        return f"- {_many(count)} in no namespace"
    return f"- {_many(count)} with names that begin with `{normalize_tool_name(namespace)}{NAMESPACE_SEPARATOR}`"


def _length(lines: Sequence[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def _many(count: int) -> str:
    return f"{count} tool" if count == 1 else f"{count} tools"
