"""What JavaScript sees of the enabled tools: identifiers and descriptions.

JavaScript calls a tool by its normalised name, a nested call carries its canonical one; the call's index into
`enabled_tools` ties the two together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from codemode_protocol.errors import CodeModeError
from codemode_protocol.values import ToolDefinition

_NOT_FIRST = re.compile(r"[^A-Za-z_$]")
_NOT_LATER = re.compile(r"[^A-Za-z0-9_$]")


class ToolNameConflictError(CodeModeError):
    """Two enabled tools have one name in JavaScript. Nothing was started; rename or leave out one of them.

    `names` are the two as they were given, `identifier` is what both become.
    """

    def __init__(self, names: tuple[str, str], identifier: str) -> None:
        first, second = names
        super().__init__(
            f"tool `{first}` is enabled twice"
            if first == second
            else f"tools `{first}` and `{second}` are both `tools.{identifier}` in JavaScript: rename one of them"
        )
        self.names = names
        self.identifier = identifier


class JavaScriptTool(msgspec.Struct, frozen=True):
    """One entry of `ALL_TOOLS`."""

    name: str
    description: str


def normalize_tool_name(name: str) -> str:
    """Return the identifier by which JavaScript calls a tool, by the reference host's rule.

    Each code point that cannot stand in its place becomes `_`: the first must be an ASCII letter, `_` or `$`, the
    others may be ASCII digits too. The empty name is `_`. Reserved words stay as they are: they are only used as
    property names.
    """
    if name.isascii() and name.isidentifier():  # the usual case, decided fast
        return name
    return _NOT_FIRST.sub("_", name[:1]) + _NOT_LATER.sub("_", name[1:]) or "_"


def visible_tools(tools: Sequence[ToolDefinition]) -> list[JavaScriptTool]:
    """Return the tools as JavaScript sees them, in the order given. Raises `ToolNameConflictError`.

    (The reference host lets the last of several win, which calls a tool that was not meant.)
    """
    names: dict[str, str] = {}
    visible = []
    for tool in tools:
        identifier = normalize_tool_name(tool.name)
        if identifier in names:
            raise ToolNameConflictError((names[identifier], tool.name), identifier)
        names[identifier] = tool.name
        visible.append(JavaScriptTool(identifier, tool.description))
    return visible


def javascript_tools(tools: Sequence[ToolDefinition]) -> bytes:
    """`visible_tools` as JSON: ``[{"name":…,"description":…},…]``."""
    return msgspec.json.encode(visible_tools(tools))
