"""Why JSON does not fit a type, in words that whoever wrote the JSON can act on.

msgspec and Pydantic say in their own ways where a value does not fit. Here both become lines such as
``points[2].x: expected integer, got "3"``: the place as JavaScript would write it, the types by their JSON names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from codemode_client._tools.schemas import decode_hook

Path = tuple[str | int, ...]
"""Where in a JSON value: the keys and indices on the way."""

_LONGEST_EXCERPT = 60
"""Characters of a value, or of a name, that are repeated in an error."""
_MOST_NAMES = 20

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
    """One thing that does not fit. `text` says what was expected, `got` what came, as JSON or as a type's name.

    `form` is how the place and the text are put together.
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
    """Say that something required is not there."""
    return Mismatch(path, "is missing", form="{where} {text}")


def unknown(path: Path, noun: str, names: Sequence[str]) -> Mismatch:
    """Say that something is there that is not expected; `names` are what is."""
    more = len(names) - _MOST_NAMES
    expected = ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
    text = f"expected: {expected}" if names else "none is expected"
    return Mismatch(path, text, form=f"unknown {noun} `{{where}}`; {{text}}")


def mismatches(hint: Any, value: Raw, path: Path, schema: Schema, *, values: bool = True) -> list[Mismatch]:
    """What about a JSON value does not fit a type; nothing when it fits. `path` leads to the value.

    The schema is the type's: it names what is allowed where the error does not. Without `values` no part of the value
    is repeated.
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
    """Whether an exception is a ValidationError of Pydantic's."""
    return isinstance(error, ValueError) and hasattr(error, "error_count")


def pydantic_mismatches(error: Any, path: Path, *, values: bool = True) -> list[Mismatch]:
    """Each of the errors in Pydantic's exception."""
    found = []
    for detail in error.errors(include_url=False, include_context=False):
        where = (*path, *detail["loc"])
        if detail["type"] == "missing":
            found.append(missing(where))
        else:
            text = detail["msg"][:1].lower() + detail["msg"][1:]
            found.append(Mismatch(where, text, excerpt(detail["input"]) if values else ""))
    return found


class Schema:
    """A JSON Schema, to be asked what it allows at a place. Places in several alternatives are all looked at."""

    def __init__(self, schema: Any, definitions: Mapping[str, Any]) -> None:
        self._schema = schema
        self._definitions = definitions

    def at(self, path: Path) -> list[dict[str, Any]]:
        """The schemas that say what may stand there, without references and alternatives."""
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
    """What msgspec says about a place below the value's own. Without the value, `got` is a type's name, if anything."""
    if match := _MISSING.match(what):
        return missing((*path, match[1]))
    if match := _UNKNOWN.match(what):
        names = {name for found in schema.at(path) for name in found.get("properties", ())}
        return unknown((*path, match[1]), "field", sorted(names))
    text, got = what, ""  # the text of an error that the type's own code raised
    if what.startswith("Invalid enum value"):
        allowed = [option for found in schema.at(path) for option in _options(found)]
        text = f"expected one of {', '.join(map(excerpt, allowed))}" if allowed else "expected another value"
        got = what.removeprefix("Invalid enum value ") if value is not None else ""
    elif what in _FORMATS:
        text = f"expected {_FORMATS[what]}"
    elif match := _EXPECTED.match(what):
        text = "expected " + re.sub(r"`([^`]*)`", lambda types: _types(types[1]), match[1])
        got = _types(match[2] or "")
    if is_key:
        return Mismatch(path, f"a key: {text}", got)
    return Mismatch(path, text, got if value is None else excerpt(_value_at(value, path)))


def _options(schema: dict[str, Any]) -> list[Any]:
    if "enum" in schema:
        return list(schema["enum"])
    return [None] if schema.get("type") == "null" else []


def _types(types: str) -> str:
    return " | ".join(_WORDS.get(name, name) for name in types.split(" | "))


def _parse(error: msgspec.ValidationError, hint: Any, value: Raw) -> tuple[str, Path, bool]:
    """An error of msgspec's: what it says, the place that it is about, and whether that is a key there."""
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
    """The key in the object at `path` whose value does not fit, which msgspec does not tell.

    It is the one that fails alone. The object keeps that one entry, so that an object below it can be asked next.
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


def excerpt(value: Any) -> str:
    """A value as JSON, cut when it is long; nothing for UNSET."""
    if value is msgspec.UNSET:
        return ""
    text = msgspec.json.encode(value, enc_hook=str).decode()
    if len(text) <= _LONGEST_EXCERPT:
        return text
    return f"{text[:_LONGEST_EXCERPT]}… ({len(text)} characters)"


def written(path: Path) -> str:
    """A place as JavaScript would write it, the first step being a variable."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif len(step) > _LONGEST_EXCERPT or not _IDENTIFIER.match(step):
            text += f"[{excerpt(step)}]" if text else excerpt(step)
        else:
            text += f".{step}" if text else step
    return text
