"""The client: sessions on a host process of one's own, for trio.

What it exports is imported when it is first asked for, so that `codemode --help` does not wait for an event loop.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codemode_client._model.definitions import ModelToolDefinition
    from codemode_client._model.output import ModelOutput
    from codemode_client._model.tools import ModelTools
    from codemode_client._session.cells import StartedCell
    from codemode_client._session.provider import CodeModeProvider
    from codemode_client._session.session import Session
    from codemode_client._tools.toolbox import Tool, Toolbox
    from codemode_protocol.errors import ToolError

__all__ = [
    "CodeModeProvider",
    "ModelOutput",
    "ModelToolDefinition",
    "ModelTools",
    "Session",
    "StartedCell",
    "Tool",
    "ToolError",
    "Toolbox",
]

_HOMES = {
    "CodeModeProvider": "_session.provider:CodeModeProvider",
    "ModelOutput": "_model.output:ModelOutput",
    "ModelToolDefinition": "_model.definitions:ModelToolDefinition",
    "ModelTools": "_model.tools:ModelTools",
    "Session": "_session.session:Session",
    "StartedCell": "_session.cells:StartedCell",
    "Tool": "_tools.toolbox:Tool",
    "ToolError": "_tools.toolbox:ToolError",
    "Toolbox": "_tools.toolbox:Toolbox",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value: object = getattr(import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value
