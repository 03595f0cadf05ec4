"""The client: sessions on a host process of one's own, on asyncio and on trio.

What it exports is imported when it is first asked for: `codemode --help` does not wait for an event loop, and a program
on asyncio does not import trio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codemode_client._model.definitions import ModelToolDefinition
    from codemode_client._model.output import ModelOutput
    from codemode_client._model.tools import ModelTools
    from codemode_client._session.cells import StartedCell
    from codemode_client._session.options import ProviderOptions
    from codemode_client._session.provider import CodeModeProvider
    from codemode_client._session.session import Session
    from codemode_client._tools.toolbox import Tool, Toolbox
    from codemode_client._version import __version__
    from codemode_protocol.errors import ScriptError, ToolError

__all__ = [
    "CodeModeProvider",
    "ModelOutput",
    "ModelToolDefinition",
    "ModelTools",
    "ProviderOptions",
    "ScriptError",
    "Session",
    "StartedCell",
    "Tool",
    "ToolError",
    "Toolbox",
    "__version__",
]

_HOMES = {
    "CodeModeProvider": "codemode_client._session.provider:CodeModeProvider",
    "ModelOutput": "codemode_client._model.output:ModelOutput",
    "ModelToolDefinition": "codemode_client._model.definitions:ModelToolDefinition",
    "ModelTools": "codemode_client._model.tools:ModelTools",
    "ProviderOptions": "codemode_client._session.options:ProviderOptions",
    "ScriptError": "codemode_protocol.errors:ScriptError",
    "Session": "codemode_client._session.session:Session",
    "StartedCell": "codemode_client._session.cells:StartedCell",
    "Tool": "codemode_client._tools.toolbox:Tool",
    "ToolError": "codemode_protocol.errors:ToolError",
    "Toolbox": "codemode_client._tools.toolbox:Toolbox",
    "__version__": "codemode_client._version:__version__",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value: object = getattr(import_module(module), attribute)
    globals()[name] = value
    return value
