"""JSON Schema to TypeScript, for a model to read.

A type is never narrower than its schema, read as its author meant it: every value that the schema takes is assignable
to the type. What TypeScript cannot say is left out, or said in a comment. So `not` and `if` are left out, `properties`
without a `type` stand for an object, and properties without a name are shown only where the schema speaks of them.

A schema may come from anywhere: what is malformed in it counts as not there, and what is recursive, very deep or very
large ends in `unknown`. Recursion ends at the point where a `$ref` is met inside itself, with a comment that names it,
instead of in a named type: so every tool's declaration stands for itself, wherever it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from codemode_protocol.typescript_notes import notes_of
from codemode_protocol.typescript_text import (
    doc_comment,
    indented,
    inline_comment,
    number_literal,
    property_name,
    string_literal,
)

MAX_DEPTH = 24
"""How many schemas may stand in each other."""

MAX_CHARACTERS = 40_000
"""About how long one type may become."""

MAX_ENUM = 200
"""How many values of an enum are written out."""

_LINE = 100
_COST = 12
_SHORT = 60

_PRIMITIVES = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}
_OBJECT_KEYWORDS = ("properties", "required", "additionalProperties", "patternProperties", "unevaluatedProperties")
_ARRAY_KEYWORDS = ("items", "prefixItems", "additionalItems")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_NOWHERE = object()


class _Type(NamedTuple):
    """A type's text, and what belongs next to it.

    `members` are the members of a union; `joined` says that the outermost operator is `|` or `&`.
    """

    text: str
    notes: tuple[str, ...] = ()
    description: str = ""
    members: tuple[str, ...] = ()
    joined: bool = False

    @property
    def inline(self) -> str:
        """With its comments, where there is no line for them."""
        if self.description and "\n" in self.text:
            return f"{inline_comment(self.description)} {self._noted(self.notes)}"
        return self._noted((self.description, *self.notes) if self.description else self.notes)

    @property
    def noted(self) -> str:
        """With its notes alone: the description stands elsewhere."""
        return self._noted(self.notes)

    def _noted(self, notes: Sequence[str]) -> str:
        return f"{self.text} {inline_comment('; '.join(notes))}" if notes else self.text


_UNKNOWN = _Type("unknown")
_NEVER = _Type("never")
_NULL = _Type("null")
_ANY_OBJECT = _Type("Record<string, unknown>")


def schema_type(schema: object) -> str:
    """Return a decoded JSON Schema as one TypeScript type, perhaps of several lines. Never raises."""
    return _Translation(schema).type(schema, 0).inline


class _Translation:
    """One schema's way into one type."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._open = ["#"]  # the references that are being followed
        self._left = MAX_CHARACTERS

    def type(self, schema: object, depth: int, inherited: Sequence[str] = ()) -> _Type:
        """`inherited` are the types that the schema around this one allows, for one that names none itself."""
        self._left -= _COST
        if depth > MAX_DEPTH or self._left < 0:
            return _Type("unknown", ("too much to show",))
        if schema is False:
            return _NEVER
        if not isinstance(schema, dict):
            return _UNKNOWN
        described = schema.get("description")
        description = described.strip() if isinstance(described, str) else ""
        self._left -= len(description)
        found = self._meaning(schema, depth, inherited)
        if schema.get("nullable") is True:
            found = _union([found, _NULL])
        notes = (*found.notes, *(note for note in notes_of(schema) if note not in found.notes))
        return found._replace(notes=notes, description=description or found.description)

    def _meaning(self, schema: dict[Any, Any], depth: int, inherited: Sequence[str]) -> _Type:
        named = _named_types(schema)
        types = named or inherited or _meant_types(schema)
        if "const" in schema:
            return self._literals([schema["const"]], (), depth)
        if isinstance(values := schema.get("enum"), list) and values:
            return self._literals(
                values, [*named, "null"] if named and schema.get("nullable") is True else named, depth
            )
        parts = [self._reference(schema["$ref"], depth)] if isinstance(schema.get("$ref"), str) else []
        alternatives = [members for key in ("anyOf", "oneOf") if (members := _list(schema, key))]
        together = _list(schema, "allOf")
        speaks = any(key in schema for key in (*_OBJECT_KEYWORDS, *_ARRAY_KEYWORDS))
        if types and (speaks or not (parts or alternatives or together)):
            parts.append(_union([self._of_type(name, schema, depth) for name in types]))
            handed: Sequence[str] = ()
        else:
            handed = types
        parts += [self.type(member, depth + 1) for member in together]
        parts += [_union([self.type(member, depth + 1, handed) for member in members]) for members in alternatives]
        found = _intersection(parts)
        if found.text == "unknown" and handed:
            # What stands beside the type adds nothing to it that a type could say.
            base = _union([self._of_type(name, schema, depth) for name in handed])
            return base._replace(notes=(*base.notes, *found.notes), description=found.description)
        return found

    def _of_type(self, name: str, schema: dict[Any, Any], depth: int) -> _Type:
        if name == "object":
            return self._object(schema, depth)
        if name == "array":
            return self._array(schema, depth)
        return _Type(_PRIMITIVES[name], ("integer",) if name == "integer" else ())

    # References

    def _reference(self, reference: str, depth: int) -> _Type:
        pointer = unquote(reference, errors="replace")
        name = pointer.rpartition("/")[2] or pointer
        if pointer in self._open:
            return _Type("unknown", (f"recursive: {'the whole' if pointer == '#' else name}",))
        target = self._find(pointer)
        if target is _NOWHERE:
            return _Type("unknown", (name,))
        self._open.append(pointer)
        found = self.type(target, depth + 1)
        self._open.pop()
        return found

    def _find(self, pointer: str) -> object:
        first, *steps = pointer.split("/")
        if first != "#":
            return _NOWHERE
        found = self._root
        for step in steps:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif isinstance(found, list) and _INDEX.fullmatch(key) and int(key) < len(found):
                found = found[int(key)]
            else:
                return _NOWHERE
        return found

    # Literals

    def _literals(self, values: list[Any], types: Sequence[str], depth: int) -> _Type:
        fitting = [value for value in values if any(_is_of(value, name) for name in types)] or values
        if len(fitting) > MAX_ENUM:
            some = [text for value in fitting[:3] if len(text := self._literal(value, depth)) <= _SHORT]
            wide = _union([_Type(_kind(value)) for value in fitting])
            return wide._replace(notes=(f"one of {len(fitting)} values: {', '.join([*some, '…'])}",))
        return _union([_Type(self._literal(value, depth)) for value in fitting])

    def _literal(self, value: object, depth: int) -> str:
        self._left -= _COST
        if depth > MAX_DEPTH or self._left < 0:
            return "unknown"
        match value:
            case None | bool():
                return {None: "null", True: "true", False: "false"}[value]
            case str():
                self._left -= len(value)
                return string_literal(value) if self._left >= 0 else "string"
            case int() | float():
                return number_literal(value)
            case list():
                return f"[{', '.join(self._literal(item, depth + 1) for item in value)}]"
            case dict() if value:
                members = [
                    f"{property_name(str(key))}: {self._literal(item, depth + 1)};" for key, item in value.items()
                ]
                return f"{{ {' '.join(members)} }}"
        return _kind(value)

    # Objects

    def _object(self, schema: dict[Any, Any], depth: int) -> _Type:
        properties = _dict(schema, "properties")
        required = dict.fromkeys(name for name in _list(schema, "required") if isinstance(name, str))
        rest, notes = self._rest(schema, depth)
        members = []
        for name, value in properties.items():
            if isinstance(name, str):
                self._left -= len(name)
                members.append(_member(name, self.type(value, depth + 1), optional=name not in required))
        others = rest if isinstance(schema.get("additionalProperties"), dict) and rest is not None else _UNKNOWN
        members += [_member(name, others, optional=False) for name in required if name not in properties]
        if not members:
            if rest is not None:
                return _Type(f"Record<string, {rest.inline}>", notes)
            return _Type("Record<string, never>") if schema.get("additionalProperties") is False else _ANY_OBJECT
        if rest is not None:
            # TypeScript wants the named properties to fit here too, and nothing else fits them all.
            plain = rest.text if len(rest.text) <= _SHORT and "\n" not in rest.text and "/*" not in rest.text else ""
            said = (f"others: {plain}", *notes) if plain not in ("", "unknown") else notes
            members.append(f"[key: string]: {_Type('unknown', said).noted};")
        return _Type(_braced(members))

    def _rest(self, schema: dict[Any, Any], depth: int) -> tuple[_Type | None, tuple[str, ...]]:
        """Return the type of the properties without a name, if the schema speaks of them; and notes on their names."""
        notes = []
        values = []
        for pattern, value in _dict(schema, "patternProperties").items():
            values.append(self.type(value, depth + 1))
            notes.append(f"names match {pattern}")
        additional = schema.get("additionalProperties")
        if additional is True or isinstance(additional, dict):
            values.append(self.type(additional, depth + 1))
        elif schema.get("unevaluatedProperties") is True or isinstance(schema.get("unevaluatedProperties"), dict):
            values.append(_UNKNOWN)  # for what it says depends on the schemas beside it
        if names := _dict(schema, "propertyNames"):
            found = self.type(names, depth + 1)
            notes += [f"names: {found.text}"] if found.text not in ("unknown", "string") else []
            notes += [f"names: {note}" for note in found.notes]
        return (_union(values) if values else None), tuple(notes)

    # Arrays

    def _array(self, schema: dict[Any, Any], depth: int) -> _Type:
        items, further = schema.get("items"), schema.get("items")
        first = _list(schema, "prefixItems")
        if isinstance(items, list):
            first, further = items, schema.get("additionalItems")
        low, high = _count(schema, "minItems", 0), _count(schema, "maxItems", len(first) + 1)
        if not first:
            return _array_of(self.type(further, depth + 1))
        elements = []
        for index, value in enumerate(first[:high]):
            element = self.type(value, depth + 1)
            elements.append(element.inline if index < low else f"{_closed(element)}?")
        if further is not False and high > len(first):
            elements.append(f"...{_array_of(self.type(further, depth + 1)).text}")
        text = f"[{', '.join(elements)}]"
        if len(text) > _LINE or "\n" in text:
            text = "[\n" + indented(",\n".join(elements)) + "\n]"
        return _Type(text)


# Putting types together


def _union(types: Iterable[_Type]) -> _Type:
    """One of these. A single one keeps its notes."""
    kept: dict[str, _Type] = {}
    for found in types:
        if found.members and not found.notes and not found.description:
            kept.update((text, _Type(text)) for text in found.members)
        elif found.text != "never":
            kept[found.inline] = found
    if "unknown" in kept:
        return _UNKNOWN
    if len(kept) < 2:
        return next(iter(kept.values()), _NEVER)
    members = tuple(kept)
    return _Type(" | ".join(members), members=members, joined=True)


def _intersection(types: Sequence[_Type]) -> _Type:
    """All of these at once; `unknown` for none. What is unknown leaves its notes alone."""
    said = [found for found in types if found.text != "unknown"]
    notes = tuple(note for found in types if found.text == "unknown" for note in found.notes)
    distinct = list({found.inline: found for found in said}.values())
    if len(distinct) > 1:
        return _Type(" & ".join(_closed(found) for found in distinct), notes, joined=True)
    if not distinct:
        return _Type("unknown", notes, next((found.description for found in types if found.description), ""))
    return distinct[0]._replace(notes=(*distinct[0].notes, *notes))


def _closed(found: _Type) -> str:
    """As one operand: nothing written after it can belong to a part of it."""
    return f"({found.inline})" if found.joined or found.inline != found.text else found.text


def _array_of(item: _Type) -> _Type:
    """`T[]` where that reads well, `Array<T>` where the brackets would be lost behind what T is."""
    if item.inline == item.text and "\n" not in item.text:
        return _Type(f"({item.text})[]" if item.joined else f"{item.text}[]")
    return _Type(f"Array<{item.inline}>")


def _member(name: str, found: _Type, *, optional: bool) -> str:
    signature = f"{property_name(name)}{'?' if optional else ''}: {found.noted};"
    comment = doc_comment(found.description)
    return f"{comment}\n{signature}" if comment else signature


def _braced(members: Sequence[str]) -> str:
    line = f"{{ {' '.join(members)} }}"
    if len(line) <= _LINE and "\n" not in line:
        return line
    return "{\n" + indented("\n".join(members)) + "\n}"


# Reading a schema that may be malformed


def _dict(schema: dict[Any, Any], key: str) -> dict[Any, Any]:
    value = schema.get(key)
    return value if isinstance(value, dict) else {}


def _list(schema: dict[Any, Any], key: str) -> list[Any]:
    value = schema.get(key)
    return value if isinstance(value, list) else []


def _count(schema: dict[Any, Any], key: str, default: int) -> int:
    value = schema.get(key)
    return max(0, int(value)) if isinstance(value, int | float) and abs(value) < 2**53 else default


def _named_types(schema: dict[Any, Any]) -> list[str]:
    value = schema.get("type")
    names = value if isinstance(value, list) else [value]
    return [name for name in names if isinstance(name, str) and (name in _PRIMITIVES or name in ("object", "array"))]


def _meant_types(schema: dict[Any, Any]) -> list[str]:
    """Return what a schema without a type is about, by the keywords that it has."""
    meant = [("object", _OBJECT_KEYWORDS), ("array", _ARRAY_KEYWORDS)]
    return [name for name, keywords in meant if any(key in schema for key in keywords)]


def _is_of(value: object, name: str) -> bool:
    kind = _kind(value)
    if name == "integer":
        return isinstance(value, int | float) and kind == "number" and value == value // 1
    return kind == {"object": _ANY_OBJECT.text, "array": "unknown[]"}.get(name, name)


def _kind(value: object) -> str:
    """Return the widest type of a JSON value; `unknown` for what is none."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "unknown[]"
        case dict():
            return _ANY_OBJECT.text
    return "unknown"
