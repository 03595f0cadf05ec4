"""What every cell has beside the language's own globals. docs/javascript.md says what each of them does.

The TypeScript declarations, the text that models are given and the modules that a script can import are made from it.
The process that cells are forked from imports it while it starts, so it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


class Helper:
    """One global of a cell.

    Attributes:
        name: Its name in JavaScript.
        description: A line about it; empty where it is described with the one before it.
        declaration: Its declaration in TypeScript, all overloads of it.
    """

    __slots__ = ("declaration", "description", "name")

    def __init__(self, name: str, description: str, declaration: str) -> None:
        self.name: str = name
        self.description: str = description
        self.declaration: str = declaration


HELPERS: Final = (
    Helper(
        "ALL_TOOLS",
        "The enabled tools: their names as properties of `tools`, and their descriptions.",
        "declare var ALL_TOOLS: { name: string; description: string; }[];",
    ),
    Helper(
        "text",
        "Adds text to the output: primitives as String(value), anything else as JSON.",
        "declare function text(value: unknown): void;",
    ),
    Helper(
        "image",
        "Adds an image, of a data: URL or an MCP block, to the output.",
        """\
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
        "Adds a sound, of a data: URL or an MCP block, to the output.",
        """\
declare function audio(
  value: string | { audio_url: string; } | { type: "audio"; data: string; mimeType?: string; },
): void;""",
    ),
    Helper(
        "content",
        "Adds MCP content blocks to the output: content(result.content).",
        "declare function content(value: ContentBlock | Iterable<ContentBlock>): void;",
    ),
    Helper(
        "generatedImage",
        "Adds the image to the output, and after it the hint as text.",
        "declare function generatedImage("
        "value: { image_url: string; detail?: ImageDetail | null; output_hint?: string; }): void;",
    ),
    Helper(
        "store",
        "Keeps a JSON value for later cells of the session.",
        "declare function store(key: string, value: unknown): void;",
    ),
    Helper(
        "load",
        "A fresh copy of a stored value, undefined when there is none.",
        "declare function load(key: string): any;",
    ),
    Helper(
        "notify",
        "Sends text to the caller at once.",
        "declare function notify(value: unknown): void;",
    ),
    Helper(
        "yield_control",
        "Hands over the output so far; the script goes on.",
        "declare function yield_control(): void;",
    ),
    Helper(
        "exit",
        "Ends the cell successfully, at once.",
        "declare function exit(): never;",
    ),
    Helper(
        "setTimeout",
        "Calls back after so many milliseconds. A pending timer does not keep the cell alive.",
        "declare function setTimeout(callback: () => void, delay?: number): number;",
    ),
    Helper(
        "clearTimeout",
        "",
        "declare function clearTimeout(id?: number | null): void;",
    ),
    Helper(
        "as_settled",
        "What the promises come to, in the order in which they settle.",
        """\
declare function as_settled<K, V>(promises: Map<K, V>): AsyncGenerator<Settled<K, Awaited<V>>, void, void>;
declare function as_settled<V>(promises: Iterable<V>): AsyncGenerator<Settled<number, Awaited<V>>, void, void>;""",
    ),
    Helper(
        "stream_settled",
        "Calls back with each of these results, one after the other, and awaits what that returns.",
        """\
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

NAMES: Final[tuple[str, ...]] = ("tools", *(helper.name for helper in HELPERS))
"""What is global in a cell beside the language's own: the enabled tools, and the helpers."""

MODULES: Final[dict[str, tuple[str, ...]]] = {"@openai/code_mode": NAMES, "tools.js": ("tools", "ALL_TOOLS")}
"""The modules that a script can import, and the globals that each exports."""

GUIDE: Final = """\
- `tools.NAME(args)`: calls a tool; a promise of its result. A call that fails rejects with its message, a string. \
Start calls that do not need each other together: `await Promise.all([...])`.
- `ALL_TOOLS`: every tool as `{name, description}`, the description with the tool's declaration at its end.
- `text(value)`: writes to the output; what is no primitive value as JSON. You see only what is written.
- `image(url, detail?)`, `audio(url)`: write an image or a sound, as a `data:` URL; `content(result.content)` \
writes what an MCP tool returned, `generatedImage(result)` an image and the hint that came with it.
- `store(key, value)`, `load(key)`: JSON values that later scripts find. Variables end with their script.
- `notify(value)`: sends text at once, while the script runs. `yield_control()`: hands over the output so far.
- `exit()`: ends the script at once, successfully.
- `setTimeout(f, ms)`, `clearTimeout(id)`. `as_settled(promises)`: an async iterator over what promises come to, \
as they do: `{index, status: "fulfilled", value}` or `{index, status: "rejected", reason}`; \
`stream_settled(promises, f)` calls `f` with each."""
"""The globals as models are told of them, a line for each group of them."""
