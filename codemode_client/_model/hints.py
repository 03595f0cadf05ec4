"""Hints for errors that models often cause: a table of mistakes, and suggestions of tool names.

Each row of the table was observed on the engine, and a test runs it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from msgspec import Struct


class Hint(Struct, frozen=True):
    """The hint for an error text that begins with `error` in a script that contains `source`, if given (patterns)."""

    error: str
    text: str
    source: str | None = None


_TYPESCRIPT = (
    "The source is run as plain JavaScript. If this is TypeScript, leave out type annotations, `interface`, `type`, "
    "`enum`, `as` and the `!` after an expression."
)

HINTS = (
    Hint(
        r'SyntaxError: |TypeError: "" is not a function',
        "Send raw JavaScript, without a Markdown fence (```) around it.",
        source=r"\A\s*```|\n[ \t]*```\s*\Z",
    ),
    Hint(
        r"SyntaxError: (?:missing = in const declaration|unexpected token: ['\":!])",
        _TYPESCRIPT,
        source=r"\b(?:const|let|var)\s+[\w$]+\s*(?:!\s*)?:|[\w$)\]]!\s*[;.)\]]",
    ),
    Hint(
        r"SyntaxError: missing \) (?:after formal parameters|in parenthetical)|SyntaxError: unexpected token: ['\":]",
        _TYPESCRIPT,
        source=r"[(,]\s*[\w$]+\??\s*:\s*[\w$]|\)\s*:\s*[\w$]",
    ),
    Hint(
        r"SyntaxError: (?:unexpected token: (?:identifier|keyword)|missing keyword 'from' after import clause)",
        _TYPESCRIPT,
        source=r"\b(?:declare\s+[a-z]|type\s+[\w$]+(?:<[^>]{0,200}>)?\s*=|import\s+type\b)",
    ),
    Hint(
        r"SyntaxError: (?:interface is a reserved identifier|expected expression, got reserved word 'enum'"
        r"|unexpected token: 'as')",
        _TYPESCRIPT,
    ),
    Hint(
        r"SyntaxError: return not in function",
        "There is no `return` at the top level. Show values with text(value); end early with exit().",
    ),
    Hint(
        r"[Uu]nsupported import in exec|ReferenceError: (?:require|module|exports) is not defined",
        "There are no modules to load, neither of Node.js nor from a registry. Use the language itself and the "
        "functions of `tools`.",
    ),
    Hint(
        r"ReferenceError: (?:fetch|XMLHttpRequest|WebSocket|EventSource) is not defined",
        "Scripts have no network. Whatever is outside is reached through `tools` alone; ALL_TOOLS lists them.",
    ),
    Hint(
        r"ReferenceError: (?:process|Buffer|global|__dirname|__filename|Deno|Bun) is not defined",
        "This is plain JavaScript, not Node.js: no process, environment or files. Whatever is outside is reached "
        "through `tools` alone; ALL_TOOLS lists them.",
    ),
    Hint(
        r"ReferenceError: (?:window|document|navigator|localStorage|sessionStorage|location) is not defined",
        "This is plain JavaScript, not a browser. store(key, value) and load(key) keep values from one script to "
        "the next.",
    ),
    Hint(
        r"ReferenceError: (?:console|print|alert|printf|puts) is not defined",
        "Write output with text(value); a value that is no string is shown as JSON.",
    ),
    Hint(
        r"ReferenceError: (?:sleep|delay|setInterval|setImmediate) is not defined",
        "Of timers there is setTimeout: await new Promise((resolve) => setTimeout(resolve, milliseconds)).",
    ),
    Hint(
        r"ReferenceError: (?:URL|URLSearchParams|TextEncoder|TextDecoder|atob|btoa|crypto|performance|structuredClone"
        r"|queueMicrotask|WebAssembly) is not defined",
        "Only the language's own objects are there (Date, Intl, JSON, Map, Math, RegExp, …), none of the web's.",
    ),
    Hint(
        r"ReferenceError: assignment to undeclared variable",
        "Scripts run in strict mode: declare variables with const or let. They do not outlive the script; store(key, "
        "value) and load(key) do that.",
    ),
    Hint(
        r"SyntaxError: JSON\.parse: ",
        "What a tool returned is a value already. JSON.parse is for strings that hold JSON.",
    ),
)

_NOT_A_TOOL = re.compile(
    r"""TypeError: (?:tools(?:\.([\w$]+)|\[(?:'([^']*)'|"([^"]*)")\]) is not a function"""
    r"""|can't access property "[^"]*", tools\.([\w$]+) is undefined)"""
)
_BARE_NAME = re.compile(r"ReferenceError: ([\w$]+) is not defined")

MAX_LISTED = 12
"""The most tools to list if no name is similar; with more the hint refers to ALL_TOOLS."""

MAX_SEARCHED = 20_000
"""Only both ends of a longer script, in characters, are searched, to bound the time."""

MAX_NAME = 100
"""The most characters of a wrong name that are compared and shown."""


def hint(error_text: str, source: str | None, tools: Sequence[str]) -> str | None:
    """Return a hint for the author of a failed script; `tools` are the names in JavaScript."""
    if source is not None and len(source) > MAX_SEARCHED:
        source = f"{source[: MAX_SEARCHED // 2]}\n{source[-MAX_SEARCHED // 2 :]}"
    if (match := _NOT_A_TOOL.match(error_text)) is not None:
        wanted = next(name for name in match.groups() if name is not None)[:MAX_NAME]
        if wanted not in tools:
            return f"There is no tool `{wanted}`. {suggestion(wanted, tools)}"
    if (match := _BARE_NAME.match(error_text)) is not None and match[1] in tools:
        return f"Tools are functions of `tools`: await tools.{match[1]}(…)."
    for row in HINTS:
        if re.match(row.error, error_text) and (
            row.source is None or (source is not None and re.search(row.source, source) is not None)
        ):
            return row.text
    return None


def suggestion(wanted: str, tools: Sequence[str]) -> str:
    """Return a sentence that names tools to call instead of an unknown one."""
    if not tools:
        return "No tools are enabled."
    lower = wanted.lower()
    near = difflib.get_close_matches(wanted, tools, n=3, cutoff=0.6)
    near += [name for name in tools if len(lower) > 2 and lower in name.lower() and name not in near][:3]
    if near:
        return f"Did you mean {' or '.join(f'tools.{name}' for name in near)}?"
    if len(tools) <= MAX_LISTED:
        return f"The tools are: {', '.join(f'tools.{name}' for name in tools)}."
    return f"ALL_TOOLS lists the {len(tools)} tools: {{name, description}}."
