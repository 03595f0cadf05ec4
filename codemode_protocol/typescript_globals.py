"""The declarations of what every cell has. docs/javascript.md says what each of them does."""

from __future__ import annotations

from collections.abc import Sequence

from codemode_protocol import helpers
from codemode_protocol.helpers import declarations

CONTENT_BLOCK = """\
/** A piece of what a tool of an MCP server returns. */
type ContentBlock =
  | { type: "text"; text: string; }
  | { type: "image"; data: string /* base64 */; mimeType: string; }
  | { type: "audio"; data: string /* base64 */; mimeType: string; }
  | { type: "resource"; resource: { uri: string; mimeType?: string; text?: string; blob?: string /* base64 */; }; }
  | {
      type: "resource_link"; uri: string; name: string; title?: string; description?: string; mimeType?: string;
      size?: number;
    };"""

CALL_TOOL_RESULT = """\
/** What a tool of an MCP server returns. */
type CallToolResult<T = unknown> = {
  content: ContentBlock[];
  /** The result as data, of a tool that declares its form. */
  structuredContent?: T;
  isError?: boolean;
};"""

GLOBALS = declarations()


def module_declaration(name: str, exports: Sequence[str]) -> str:
    """A module that exports these globals."""
    lines = "\n".join(f"  export const {export}: typeof globalThis.{export};" for export in exports)
    return f'declare module "{name}" {{\n{lines}\n}}'


MODULES = "\n\n".join(module_declaration(name, exports) for name, exports in helpers.MODULES.items())
