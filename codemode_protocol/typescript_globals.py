"""The declarations of what every cell has. docs/javascript.md says what each of them does."""

from __future__ import annotations

from collections.abc import Sequence

from codemode_protocol import helpers
from codemode_protocol.helpers import HELPERS, Helper

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

_TYPES = """\
type ImageDetail = "auto" | "low" | "high" | "original";

/** What a promise came to; `index` is its position, or its key in a Map. */
type Settled<K, V> =
  | { index: K; status: "fulfilled"; value: V; }
  | { index: K; status: "rejected"; reason: unknown; };"""


def _declared(helper: Helper) -> str:
    return f"\n\n/** {helper.description} */\n{helper.declaration}" if helper.description else f"\n{helper.declaration}"


GLOBAL_DECLARATIONS = _TYPES + "".join(map(_declared, HELPERS))


def module_declaration(name: str, exports: Sequence[str]) -> str:
    """Return a module that exports these globals."""
    lines = "\n".join(f"  export const {export}: typeof globalThis.{export};" for export in exports)
    return f'declare module "{name}" {{\n{lines}\n}}'


MODULE_DECLARATIONS = "\n\n".join(module_declaration(name, exports) for name, exports in helpers.MODULES.items())
