"""The helpers: what is global in a cell beside the language's own.

Each is declared here once. From this come the prelude's globals and its modules, the TypeScript declarations and the
words that a prompt completes; the descriptions for models, docs/javascript.md and what a real cell finds are checked
against it. Read by the zygote at its start, so it imports nothing.
"""

from __future__ import annotations


class Helper:
    """A global function or variable of a cell. `declaration` is its TypeScript, with its comment."""

    __slots__ = ("declaration", "name")

    def __init__(self, name: str, declaration: str) -> None:
        self.name = name
        self.declaration = declaration


TYPES = """\
type ImageDetail = "auto" | "low" | "high" | "original";

/** What a promise came to; `index` is its position, or its key in a Map. */
type Settled<K, V> =
  | { index: K; status: "fulfilled"; value: V; }
  | { index: K; status: "rejected"; reason: unknown; };"""
"""What the declarations refer to."""

ALL_TOOLS = Helper(
    "ALL_TOOLS",
    """\
/** The enabled tools: their names as properties of `tools`, and their descriptions. */
declare var ALL_TOOLS: { name: string; description: string; }[];""",
)

HELPERS = (
    Helper(
        "text",
        """\
/** Adds text to the output: primitives as String(value), anything else as JSON. */
declare function text(value: unknown): void;""",
    ),
    Helper(
        "image",
        """\
/** Adds an image, of a data: URL or an MCP block, to the output. */
declare function image(
  value:
    | string
    | { image_url: string; detail?: ImageDetail | null; }
    | { type: "image"; data: string; mimeType?: string; },
  detail?: ImageDetail | null,
): void;""",
    ),
    Helper(
        "audio",
        """\
/** Adds a sound, of a data: URL or an MCP block, to the output. */
declare function audio(
  value: string | { audio_url: string; } | { type: "audio"; data: string; mimeType?: string; },
): void;""",
    ),
    Helper(
        "content",
        """\
/** Adds MCP content blocks to the output: content(result.content). */
declare function content(value: ContentBlock | Iterable<ContentBlock>): void;""",
    ),
    Helper(
        "generatedImage",
        """\
/** Adds the image to the output, and after it the hint as text. */
declare function generatedImage(value: { image_url: string; detail?: ImageDetail | null; output_hint?: string; }):
void;""",
    ),
    Helper(
        "store",
        """\
/** Keeps a JSON value for later cells of the session. */
declare function store(key: string, value: unknown): void;""",
    ),
    Helper(
        "load",
        """\
/** A fresh copy of a stored value, undefined when there is none. */
declare function load(key: string): any;""",
    ),
    Helper(
        "notify",
        """\
/** Sends text to the caller at once. */
declare function notify(value: unknown): void;""",
    ),
    Helper(
        "yield_control",
        """\
/** Hands over the output so far; the script goes on. */
declare function yield_control(): void;""",
    ),
    Helper(
        "exit",
        """\
/** Ends the cell successfully, at once. */
declare function exit(): never;""",
    ),
    Helper(
        "setTimeout",
        """\
/** Calls back after so many milliseconds. A pending timer does not keep the cell alive. */
declare function setTimeout(callback: () => void, delay?: number): number;""",
    ),
    Helper(
        "clearTimeout",
        """\
declare function clearTimeout(id?: number | null): void;""",
    ),
    Helper(
        "as_settled",
        """\
/** What the promises come to, in the order in which they settle. */
declare function as_settled<K, V>(promises: Map<K, V>): AsyncGenerator<Settled<K, Awaited<V>>, void, void>;
declare function as_settled<V>(promises: Iterable<V>): AsyncGenerator<Settled<number, Awaited<V>>, void, void>;""",
    ),
    Helper(
        "stream_settled",
        """\
/** Calls back with each of these results, one after the other, and awaits what that returns. */
declare function stream_settled<K, V>(
  promises: Map<K, V>,
  callback: (result: Settled<K, Awaited<V>>) => unknown,
): Promise<void>;
declare function stream_settled<V>(
  promises: Iterable<V>,
  callback: (result: Settled<number, Awaited<V>>) => unknown,
): Promise<void>;""",
    ),
)
"""In the order in which they are explained."""

HELPER_NAMES = tuple(helper.name for helper in HELPERS)
NAMES = ("tools", "ALL_TOOLS", *HELPER_NAMES)
MODULES = {"@openai/code_mode": NAMES, "tools.js": ("tools", "ALL_TOOLS")}
"""The modules that a script can import, and what each exports."""


def declarations() -> str:
    """Return the TypeScript declarations of all helpers; those of the tools are made for each cell."""
    declared = [TYPES, ALL_TOOLS.declaration]
    for helper in HELPERS:
        if helper.declaration.startswith("/**"):
            declared.append(helper.declaration)
        else:  # it shares the comment of the one before it
            declared[-1] += "\n" + helper.declaration
    return "\n\n".join(declared)
