"""TypeScript's small change: names, literals, and comments that cannot end before their end.

Whatever goes in may have been written by anybody: a tool's author, or the server that a tool is on. What comes out
can be put into a declaration as it is, and into UTF-8.
"""

from __future__ import annotations

import json
import re

from codemode_protocol.printable import has_invisible, without_invisible

INDENT = "  "

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_CONTROLS = re.compile("[\0-\x08\x0e-\x1f\x7f-\x9f]")
_LINE_START = re.compile(r"^(?=[^\n])", re.MULTILINE)
_SURROGATES = re.compile("[\ud800-\udfff]")

_LONGEST_SNIPPET = 80
_LARGEST_EXACT = 2**53


def string_literal(text: str) -> str:
    """Return the text in double quotes, on one line; what a reader could not see there, as an escape."""
    literal = json.dumps(text, ensure_ascii=False)
    if literal.isprintable() and not has_invisible(literal):
        return literal
    return "".join(map(_visible, literal))


def _visible(character: str) -> str:
    if character.isprintable() and not has_invisible(character):
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\u{{{code:x}}}"


def property_name(name: str) -> str:
    """Return the name as it stands when it is an identifier, else as a string literal."""
    return name if _IDENTIFIER.fullmatch(name) else string_literal(name)


def number_literal(value: float) -> str:
    """Return a literal, or `number` for what has none that is exact: infinities, NaN and very large integers."""
    if not -_LARGEST_EXACT <= value <= _LARGEST_EXACT:
        return "number"
    return repr(int(value) if value == int(value) else value)


def snippet(value: object) -> str | None:
    """Return a value as short JSON for a comment; None when it is no JSON, or too long to help."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return None
    return text if len(text) <= _LONGEST_SNIPPET else None


def one_line(text: str) -> str:
    """Return the text with every run of white space and line breaks as one blank."""
    return " ".join(_seen(text).split())


def inline_comment(text: str) -> str:
    """`/* text */` on one line."""
    return f"/* {_harmless(one_line(text))} */"


def doc_comment(text: str) -> str:
    """`/** text */`, with a line of its own for each line of a longer text; nothing for a blank one."""
    lines = [_harmless(_seen(line).rstrip()) for line in text.strip().splitlines()]
    if len(lines) < 2:
        return f"/** {lines[0]} */" if lines else ""
    return "\n".join(["/**", *(f" * {line}".rstrip() for line in lines), " */"])


def indented(text: str) -> str:
    """Return the text, each line that is not empty one step further in."""
    return _LINE_START.sub(INDENT, text)


def _seen(text: str) -> str:
    """Return the text without what a reader would not see: what a model reads, a person can read as well."""
    return without_invisible(_CONTROLS.sub(" ", text))


def _harmless(text: str) -> str:
    """Nothing that ends a comment or that a compiler takes for an instruction, and no half of a character.

    A `*/` is most often part of a pattern for files. With the backslash it still reads as one, and means the same
    when it is copied into a string of JavaScript.
    """
    return _SURROGATES.sub("\ufffd", text.replace("*/", "*\\/").replace("@ts-", "@ ts-"))
