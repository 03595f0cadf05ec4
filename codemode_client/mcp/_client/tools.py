"""A tool of an MCP server as a tool for scripts."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import msgspec
from mcp.types import SERVER_INFO_META_KEY, CallToolResult, TextContent
from mcp.types import Tool as ServerTool
from msgspec import Raw

from codemode_protocol.errors import ToolError
from codemode_protocol.typescript import call_tool_result_schema
from codemode_protocol.values import ToolDefinition, ToolKind, ToolName

Call = Callable[[str, dict[str, object] | None], Awaitable[CallToolResult]]
"""Calls a tool of one server by its name and arguments."""


class McpTool:
    """`tools.SERVER__TOOL`, which takes the arguments as one object and returns the server's `CallToolResult`."""

    def __init__(self, server: str, tool: ServerTool, call: Call) -> None:
        self._name = tool.name
        self._call = call
        tool_name = ToolName(tool.name, server)
        self.definition = ToolDefinition(
            name=tool_name.qualified,
            tool_name=tool_name,
            description=tool.description or tool.title or "",
            kind=ToolKind.FUNCTION,
            input_schema=Raw(msgspec.json.encode(tool.input_schema)),
            output_schema=Raw(msgspec.json.encode(call_tool_result_schema(tool.output_schema))),
        )

    async def call(self, argument: Raw) -> Raw:
        """Call the tool. Raises ToolError with the text of a result that is marked as an error."""
        try:
            arguments = msgspec.json.decode(argument, type=dict[str, object] | None)
        except msgspec.ValidationError as error:
            raise ToolError(f"{self.definition.name} takes one object with its arguments") from error
        result = await self._call(self._name, arguments)
        if result.is_error:
            # If uncaught, this is all that is reported of the script's end, so it names the tool.
            raise ToolError(f"{self.definition.name} failed: {error_text(result) or 'it did not say why'}")
        return result_json(result)


def error_text(result: CallToolResult) -> str:
    """Return the text of a result that is marked as an error."""
    texts = [block.text for block in result.content if isinstance(block, TextContent)]
    if not texts and result.structured_content is not None:
        texts = [json.dumps(result.structured_content, ensure_ascii=False)]
    return "\n".join(texts)


def result_json(result: CallToolResult) -> Raw:
    """Return a result for scripts: `content`, `isError`, and `structuredContent` and `_meta` if they were sent."""
    # Fields that were not sent are left out, but a null that was sent is kept.
    value = result.model_dump(by_alias=True, mode="json", exclude_unset=True, exclude={"result_type"})
    value["isError"] = False
    # Every answer of the newer protocol has the server's identity, which is not part of the result.
    meta = value.get("_meta")
    if isinstance(meta, dict) and meta.pop(SERVER_INFO_META_KEY, None) is not None and not meta:
        del value["_meta"]
    return Raw(msgspec.json.encode(value))
