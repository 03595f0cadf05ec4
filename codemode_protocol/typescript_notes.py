"""What a JSON Schema says that a TypeScript type cannot: formats, ranges, defaults; as short notes for a comment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from codemode_protocol.typescript_text import one_line, snippet

# What is counted, and the keywords that bound it.
_RANGES = (
    ("", "minimum", "maximum"),
    ("length ", "minLength", "maxLength"),
    ("items ", "minItems", "maxItems"),
    ("properties ", "minProperties", "maxProperties"),
)
_LONGEST_PATTERN = 120


def notes_of(schema: Mapping[str, object]) -> tuple[str, ...]:
    """Return the notes in a fixed order. Keywords of a wrong type give none."""
    return tuple(_notes(schema))


def _notes(schema: Mapping[str, object]) -> Iterator[str]:
    for keyword in ("format", "contentEncoding", "contentMediaType"):
        if isinstance(words := schema.get(keyword), str):
            yield one_line(words)
    if isinstance(pattern := schema.get("pattern"), str) and len(pattern) <= _LONGEST_PATTERN:
        yield f"matches {one_line(pattern)}"
    for what, low, high in _RANGES:
        if text := _range(_number(schema.get(low)), _number(schema.get(high))):
            yield what + text
    # Draft 4 has a boolean here, which says too little to be worth a note.
    for keyword, sign in (("exclusiveMinimum", ">"), ("exclusiveMaximum", "<"), ("multipleOf", "multiple of")):
        if number := _number(schema.get(keyword)):
            yield f"{sign} {number}"
    if schema.get("uniqueItems") is True:
        yield "unique"
    if schema.get("deprecated") is True:
        yield "deprecated"
    # Next to `| null`, a null is no news.
    if schema.get("default") is not None and (default := snippet(schema["default"])):
        yield f"default {default}"
    examples = schema.get("examples")
    if isinstance(examples, list) and examples and (example := snippet(examples[0])):
        yield f"e.g. {example}"


def _number(value: object) -> str | None:
    return snippet(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _range(low: str | None, high: str | None) -> str:
    if low and high:
        return low if low == high else f"{low}..{high}"
    return f">= {low}" if low else f"<= {high}" if high else ""
