"""Tools as TypeScript declarations, for a model that writes scripts, and for a compiler that checks them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from codemode_protocol.tools import normalize_tool_name
from codemode_protocol.typescript_globals import (
    CALL_TOOL_RESULT,
    CONTENT_BLOCK,
    GLOBAL_DECLARATIONS,
    MODULE_DECLARATIONS,
)
from codemode_protocol.typescript_schemas import schema_type
from codemode_protocol.typescript_text import doc_comment, indented
from codemode_protocol.values import ToolDefinition, ToolKind

__all__ = [
    "MCP_TYPES",
    "call_tool_result_schema",
    "declarations",
    "schema_type",
    "tool_declaration",
    "tool_signature",
    "uses_mcp_types",
    "with_declarations",
]

MCP_TYPES = f"{CONTENT_BLOCK}\n\n{CALL_TOOL_RESULT}"
"""The types that the declarations of an MCP server's tools name: `ContentBlock` and `CallToolResult<T>`."""


def call_tool_result_schema(structured: object = None) -> dict[str, Any]:
    """Return the schema of what a script gets from an MCP server's tool, whose own output schema is `structured`.

    A definition with this as its `output_schema` is declared as returning `CallToolResult<T>`. A `$ref` inside
    `structured` starts at `structured` itself.
    """
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "content": {"type": "array", "items": {"type": "object"}},
            "isError": {"type": "boolean"},
        },
        "required": ["content"],
    }
    if structured is not None:
        schema["properties"]["structuredContent"] = structured
    return schema


def tool_signature(tool: ToolDefinition) -> str:
    """Return a tool as a method: `weather(args: { city: string; }): Promise<{ celsius: number; }>;`. Never raises."""
    name = normalize_tool_name(tool.name)
    if name == "new":
        name = '"new"'  # which would be a constructor without the quotes
    return f"{name}({_parameter(tool)}): Promise<{_result(tool)}>;"


def tool_declaration(tool: ToolDefinition) -> str:
    """`tool_signature` below the tool's description, as a comment. Never raises."""
    signature = tool_signature(tool)
    # A description from `with_declarations` ends with the declaration.
    comment = doc_comment(tool.description.removesuffix(signature))
    return f"{comment}\n{signature}" if comment else signature


def with_declarations(tools: Sequence[ToolDefinition]) -> list[ToolDefinition]:
    """Return the tools, each with its signature at the end of its description, as scripts find them in `ALL_TOOLS`."""
    described = []
    for tool in tools:
        signature = tool_signature(tool)
        text = tool.description.removesuffix(signature).rstrip()
        described.append(msgspec.structs.replace(tool, description=f"{text}\n\n{signature}" if text else signature))
    return described


def uses_mcp_types(tools: Sequence[ToolDefinition]) -> bool:
    """Whether a declaration of these names one of `MCP_TYPES`."""
    return any(_is_call_tool_result(_decoded(tool.output_schema)) for tool in tools)


def declarations(tools: Sequence[ToolDefinition]) -> str:
    """Return a `.d.ts` for scripts of a cell with these tools: its globals, `tools`, and the modules it can import.

    It is meant for a compiler without the types of a browser or of Node (`--lib esnext`).
    """
    members = "\n\n".join(tool_declaration(tool) for tool in tools)
    body = f"{{\n{indented(members)}\n}}" if members else "{}"
    comment = doc_comment("The enabled tools. A call that fails rejects with its message, a string.")
    return (
        "\n\n".join([MCP_TYPES, GLOBAL_DECLARATIONS, f"{comment}\ndeclare var tools: {body};", MODULE_DECLARATIONS])
        + "\n"
    )


def _parameter(tool: ToolDefinition) -> str:
    if tool.kind is ToolKind.FREEFORM:
        return "input: string"
    schema = _decoded(tool.input_schema)
    if schema is None:
        return "args?: unknown"
    if not isinstance(schema, Mapping):
        return f"args: {schema_type(schema)}"
    if schema.get("properties") == {} and all(schema.get(keyword) in (None, False, []) for keyword in _OPEN):
        return ""
    required = schema.get("required")
    optional = schema.get("type") == "object" and not required and not schema.keys() & _COMBINED
    return f"args{'?' if optional else ''}: {schema_type(schema)}"


# With these, a schema may want more than its own `required` says.
_COMBINED = {"$ref", "allOf", "anyOf", "oneOf", "minProperties"}
# With these, there can be arguments without any in `properties`.
_OPEN = _COMBINED | {"additionalProperties", "patternProperties", "required", "unevaluatedProperties"}


def _result(tool: ToolDefinition) -> str:
    schema = _decoded(tool.output_schema)
    if not _is_call_tool_result(schema):
        return schema_type(schema)
    structured = schema["properties"].get("structuredContent")
    if structured is None:
        return "CallToolResult"
    return f"CallToolResult<{schema_type(structured)}>"


def _is_call_tool_result(schema: Any) -> bool:
    if not isinstance(schema, dict) or not isinstance(properties := schema.get("properties"), dict):
        return False
    content = properties.get("content")
    return isinstance(content, dict) and content.get("type") == "array" and "isError" in properties


def _decoded(schema: Raw) -> Any:
    """Return the schema as Python values; None for what is no JSON."""
    try:
        return json.loads(bytes(schema))  # which takes halves of characters, as JavaScript does, and msgspec does not
    except (ValueError, RecursionError):
        return None
