"""Explains why JSON does not fit a type, for the author of the JSON.

The errors of msgspec and Pydantic become lines such as ``points[2].x: expected integer, got "3"``, with the place as
JavaScript would write it and the JSON names of types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from codemode_client._tools.schemas import decode_hook

Path = tuple[str | int, ...]
"""A place in a JSON value: the keys and indices that lead to it."""

_MAX_VALUE_CHARACTERS = 60
"""The most characters of a value or a name in an error."""
_MAX_NAMES = 20

_MESSAGE = re.compile(r"(.*?)(?: - at (`key` in )?`\$([^`]*)`)?\Z", re.DOTALL)
_STEP = re.compile(r"\[(\d+)\]|\[(\.\.\.)\]|\.([^.\[]*)")
_MISSING = re.compile(r"Object missing required field `(.*)`\Z", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`\Z", re.DOTALL)
_EXPECTED = re.compile(r"Expected (.*?)(?:, got `(\w+)`)?\Z", re.DOTALL)
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z")
_WORDS = {
    "bool": "boolean",
    "bytes": "base64 string",
    "date": "date string",
    "datetime": "date-time string",
    "decimal": "decimal string",
    "duration": "ISO 8601 duration string",
    "float": "number",
    "int": "integer",
    "str": "string",
    "time": "time string",
    "uuid": "UUID string",
}
_FORMATS = {
    "Invalid RFC3339 encoded datetime": "an RFC 3339 date-time such as 2025-12-31T23:59:59Z",
    "Invalid RFC3339 encoded date": "a date such as 2025-12-31",
    "Invalid RFC3339 encoded time": "a time such as 23:59:59Z",
    "Invalid ISO8601 duration": "an ISO 8601 duration such as PT90S",
    "Invalid UUID": "a UUID",
    "Invalid decimal string": "a decimal number",
    "Invalid base64 encoded string": "base64",
}


class Mismatch(Struct, frozen=True):
    """One mismatch. `text` is what was expected, `got` the value as JSON or its type's name.

    `form` is the format of the place and the text.
    """

    path: Path
    text: str
    got: str = ""
    form: str = "{where}: {text}"

    def __str__(self) -> str:
        where = written(self.path)
        text = self.form.format(where=where, text=self.text) if where else self.text
        return f"{text}, got {self.got}" if self.got else text


def missing(path: Path) -> Mismatch:
    """Return the mismatch for a missing value."""
    return Mismatch(path, "is missing", form="{where} {text}")


def unknown(path: Path, noun: str, names: Sequence[str]) -> Mismatch:
    """Return the mismatch for an unknown name; `names` are the known ones."""
    more = len(names) - _MAX_NAMES
    expected = ", ".join(names[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
    text = f"expected: {expected}" if names else "none is expected"
    return Mismatch(path, text, form=f"unknown {noun} `{{where}}`; {{text}}")


def mismatches(hint: Any, value: Raw, path: Path, schema: Schema, *, values: bool = True) -> list[Mismatch]:
    """Return the mismatches of a JSON value, at `path`, with a type.

    Args:
        hint: The type.
        value: The JSON value.
        path: The place of the value.
        schema: The type's schema, which names the allowed values where msgspec's error does not.
        values: Whether parts of the value may be quoted.
    """
    try:
        msgspec.json.decode(value, type=hint, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        what, inner, is_key = _parse(error, hint, value)
        if is_pydantic_error(error.__cause__):
            return pydantic_mismatches(error.__cause__, (*path, *inner), values=values)
        found = _explained(what, inner, is_key, schema, value if values else None)
        return [msgspec.structs.replace(found, path=(*path, *found.path))]
    return []


def is_pydantic_error(error: object) -> bool:
    """Return whether an exception is a ValidationError of Pydantic's."""
    return isinstance(error, ValueError) and hasattr(error, "error_count")


def pydantic_mismatches(error: Any, path: Path, *, values: bool = True) -> list[Mismatch]:
    """Return the mismatches in Pydantic's exception."""
    found = []
    for detail in error.errors(include_url=False, include_context=False):
        where = (*path, *detail["loc"])
        if detail["type"] == "missing":
            found.append(missing(where))
        else:
            text = detail["msg"][:1].lower() + detail["msg"][1:]
            found.append(Mismatch(where, text, abbreviate(detail["input"]) if values else ""))
    return found


class Schema:
    """A JSON Schema that can be searched by place, in all of its alternatives."""

    def __init__(self, schema: Any, definitions: Mapping[str, Any]) -> None:
        self._schema = schema
        self._definitions = definitions

    def at(self, path: Path) -> list[dict[str, Any]]:
        """Return the schemas of a place, with references and alternatives resolved."""
        here = self._alternatives(self._schema)
        for step in path:
            below: list[dict[str, Any]] = []
            for schema in here:
                below += self._alternatives(_child(schema, step))
            here = below
        return here

    def _alternatives(self, schema: Any) -> list[dict[str, Any]]:
        if not isinstance(schema, dict):
            return []
        if "$ref" in schema:
            return self._alternatives(self._definitions.get(schema["$ref"].rpartition("/")[2]))
        if "anyOf" in schema:
            return [found for choice in schema["anyOf"] for found in self._alternatives(choice)]
        return [schema]


def _child(schema: dict[str, Any], step: str | int) -> Any:
    if isinstance(step, str):
        return schema.get("properties", {}).get(step, schema.get("additionalProperties"))
    first = schema.get("prefixItems", ())
    return first[step] if step < len(first) else schema.get("items")


def _explained(what: str, path: Path, is_key: bool, schema: Schema, value: Raw | None) -> Mismatch:
    """Return the mismatch for msgspec's message `what`. Without the value, `got` is a type's name or empty."""
    if match := _MISSING.match(what):
        return missing((*path, match[1]))
    if match := _UNKNOWN.match(what):
        names = {name for found in schema.at(path) for name in found.get("properties", ())}
        return unknown((*path, match[1]), "field", sorted(names))
    text, got = what, ""  # the text of an error that the type's own code raised
    if what.startswith("Invalid enum value"):
        allowed = [option for found in schema.at(path) for option in _options(found)]
        text = f"expected one of {', '.join(map(abbreviate, allowed))}" if allowed else "expected another value"
        got = what.removeprefix("Invalid enum value ") if value is not None else ""
    elif what in _FORMATS:
        text = f"expected {_FORMATS[what]}"
    elif match := _EXPECTED.match(what):
        text = "expected " + re.sub(r"`([^`]*)`", lambda types: _types(types[1]), match[1])
        got = _types(match[2] or "")
    if is_key:
        return Mismatch(path, f"a key: {text}", got)
    return Mismatch(path, text, got if value is None else abbreviate(_value_at(value, path)))


def _options(schema: dict[str, Any]) -> list[Any]:
    if "enum" in schema:
        return list(schema["enum"])
    return [None] if schema.get("type") == "null" else []


def _types(types: str) -> str:
    return " | ".join(_WORDS.get(name, name) for name in types.split(" | "))


def _parse(error: msgspec.ValidationError, hint: Any, value: Raw) -> tuple[str, Path, bool]:
    """Return the message of msgspec's error, its place, and whether it is about a key there."""
    match = _MESSAGE.match(str(error))
    assert match is not None, "the pattern matches every text"
    what, key, place = match.groups()
    whole: Any = None
    steps: list[str | int] = []
    for index, unknown, name in _STEP.findall(place or ""):
        if index:
            steps.append(int(index))
        elif unknown:
            whole = msgspec.json.decode(value) if whole is None else whole
            steps.append(_failing_key(str(error), hint, whole, tuple(steps)))
        else:
            steps.append(name)
    return what, tuple(steps), key is not None


def _failing_key(message: str, hint: Any, whole: Any, path: Path) -> str:
    """Return the key in the object at `path` whose value does not fit, which msgspec does not tell.

    Each entry is tried alone. The object in `whole` keeps only the failing entry, for the search below it.
    """
    container: Any = whole
    for step in path:
        container = container[step]
    entries = dict(container)
    for key, entry in entries.items():
        container.clear()
        container[key] = entry
        try:
            msgspec.json.decode(msgspec.json.encode(whole), type=hint, dec_hook=decode_hook)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return str(key)
    return "…"


def _value_at(value: Raw, path: Path) -> Any:
    found: Any = msgspec.json.decode(value)
    for step in path:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            return msgspec.UNSET
    return found


def abbreviate(value: Any) -> str:
    """Return a value as JSON, cut if it is long; empty for UNSET."""
    if value is msgspec.UNSET:
        return ""
    text = msgspec.json.encode(value, enc_hook=str).decode()
    if len(text) <= _MAX_VALUE_CHARACTERS:
        return text
    return f"{text[:_MAX_VALUE_CHARACTERS]}… ({len(text)} characters)"


def written(path: Path) -> str:
    """Return a place as JavaScript would write it, with the first step as a variable."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif len(step) > _MAX_VALUE_CHARACTERS or not _IDENTIFIER.match(step):
            text += f"[{abbreviate(step)}]" if text else abbreviate(step)
        else:
            text += f".{step}" if text else step
    return text
