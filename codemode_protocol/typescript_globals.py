"""The declarations of what every cell has. docs/javascript.md says what each of them does."""

from __future__ import annotations

from collections.abc import Sequence

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

GLOBALS = """\
type ImageDetail = "auto" | "low" | "high" | "original";

/** What a promise came to; `index` is its position, or its key in a Map. */
type Settled<K, V> =
  | { index: K; status: "fulfilled"; value: V; }
  | { index: K; status: "rejected"; reason: unknown; };

/** The enabled tools: their names as properties of `tools`, and their descriptions. */
declare var ALL_TOOLS: { name: string; description: string; }[];

/** Adds text to the output: primitives as String(value), anything else as JSON. */
declare function text(value: unknown): void;

/** Adds an image, of a data: URL or an MCP block, to the output. */
declare function image(
  value:
    | string
    | { image_url: string; detail?: ImageDetail | null; }
    | { type: "image"; data: string; mimeType?: string; },
  detail?: ImageDetail | null,
): void;

/** Adds a sound, of a data: URL or an MCP block, to the output. */
declare function audio(
  value: string | { audio_url: string; } | { type: "audio"; data: string; mimeType?: string; },
): void;

/** Adds MCP content blocks to the output: content(result.content). */
declare function content(value: ContentBlock | Iterable<ContentBlock>): void;

/** Adds the image to the output, and after it the hint as text. */
declare function generatedImage(value: { image_url: string; detail?: ImageDetail | null; output_hint?: string; }): void;

/** Keeps a JSON value for later cells of the session. */
declare function store(key: string, value: unknown): void;

/** A fresh copy of a stored value, undefined when there is none. */
declare function load(key: string): any;

/** Sends text to the caller at once. */
declare function notify(value: unknown): void;

/** Hands over the output so far; the script goes on. */
declare function yield_control(): void;

/** Ends the cell successfully, at once. */
declare function exit(): never;

/** Calls back after so many milliseconds. A pending timer does not keep the cell alive. */
declare function setTimeout(callback: () => void, delay?: number): number;
declare function clearTimeout(id?: number | null): void;

/** What the promises come to, in the order in which they settle. */
declare function as_settled<K, V>(promises: Map<K, V>): AsyncGenerator<Settled<K, Awaited<V>>, void, void>;
declare function as_settled<V>(promises: Iterable<V>): AsyncGenerator<Settled<number, Awaited<V>>, void, void>;

/** Calls back with each of these results, one after the other, and awaits what that returns. */
declare function stream_settled<K, V>(
  promises: Map<K, V>,
  callback: (result: Settled<K, Awaited<V>>) => unknown,
): Promise<void>;
declare function stream_settled<V>(
  promises: Iterable<V>,
  callback: (result: Settled<number, Awaited<V>>) => unknown,
): Promise<void>;"""

NAMES = (
    *("tools", "ALL_TOOLS", "text", "image", "audio", "content", "generatedImage", "store", "load", "notify"),
    *("yield_control", "exit", "setTimeout", "clearTimeout", "as_settled", "stream_settled"),
)
"""What is global in a cell beside the language's own."""


def module_declaration(name: str, exports: Sequence[str]) -> str:
    """A module that exports these globals."""
    lines = "\n".join(f"  export const {export}: typeof globalThis.{export};" for export in exports)
    return f'declare module "{name}" {{\n{lines}\n}}'


MODULES = "\n\n".join(
    [module_declaration("@openai/code_mode", NAMES), module_declaration("tools.js", ("tools", "ALL_TOOLS"))]
)
