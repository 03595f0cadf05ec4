"""Python types as JSON: their schemas, and hooks for types that msgspec does not know.

Pydantic itself decodes, encodes and describes its types. It is never imported here: code that has such a type has
imported it.
"""

from __future__ import annotations

import datetime
import functools
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from types import ModuleType, UnionType
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Raw

Mode = Literal["validation", "serialization"]
"""The schema of accepted or of returned values. Only Pydantic's types distinguish them."""

_REFERENCE = "#/$defs/{name}"
_DATE_TIME = Annotated[datetime.datetime, msgspec.Meta(extra_json_schema={"format": "date-time"})]
_CONTAINERS = (list, dict, set, frozenset, tuple)


class _Anything(dict[str, object]):
    """The schema that allows everything, truthy so that msgspec does not treat it as missing."""

    def __bool__(self) -> bool:
        return True


def pydantic() -> ModuleType | None:
    """Return Pydantic if it was imported."""
    return sys.modules.get("pydantic")


def is_pydantic(hint: Any) -> bool:
    """Return whether Pydantic must handle a type, because of it or one of its type arguments."""
    if pydantic() is None:
        return False
    if isinstance(hint, type) and (
        hasattr(hint, "__get_pydantic_core_schema__") or hasattr(hint, "__pydantic_validator__")
    ):
        return True
    if typing.get_origin(hint) is Annotated:
        inner, *metadata = typing.get_args(hint)
        return is_pydantic(inner) or any(_is_pydantic_metadata(item) for item in metadata)
    if typing.get_origin(hint) is Literal:
        return False
    aliased = getattr(hint, "__value__", None)  # `type X = …`
    return is_pydantic(aliased) if aliased is not None else any(map(is_pydantic, typing.get_args(hint)))


def adapter(hint: Any) -> Any:
    """Return Pydantic's TypeAdapter for a type. Raises TypeError if Pydantic cannot handle it."""
    module = pydantic()
    assert module is not None, "only asked for types that are Pydantic's"
    try:
        return module.TypeAdapter(hint)
    except module.errors.PydanticUserError as error:
        raise TypeError(error.message.partition("\n")[0]) from error


UNENCODABLE = (TypeError, ValueError, OverflowError, RecursionError)
"""The errors of `encode` for a value without a JSON form."""


def decode_hook(type_: Any, value: object) -> object:
    """Convert decoded JSON to a type that msgspec does not know; for msgspec's `dec_hook`."""
    if type_ is object:
        return value
    if isinstance(type_, type) and issubclass(type_, PurePath):
        if not isinstance(value, str):
            raise TypeError(f"Expected `str`, got `{_json_type(value)}`")
        return type_(value)
    if is_pydantic(type_):
        return _adapter_of(type_).validate_json(encode(value))
    raise TypeError(f"{type_} has no JSON form")


def json_schemas(hints: Sequence[Any], mode: Mode) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return the JSON Schemas of types, and by name those that they refer to as ``#/$defs/NAME``.

    Raises:
        TypeError: A type has no schema.
    """
    native = [Any if is_pydantic(hint) else _dated(hint) for hint in hints]
    definitions: dict[str, dict[str, Any]] = {}
    taken: frozenset[str] = frozenset()
    if pydantic() is not None:
        _, components = _components(native, lambda type_: {"type": type_} if is_pydantic(type_) else _hook(type_))
        taken = frozenset(components)

    def hook(type_: Any) -> dict[str, Any]:
        if not is_pydantic(type_):
            return _hook(type_)
        return _named(_pydantic_schema(_adapter_of(type_), mode), type_.__name__, definitions, taken)

    schemas, components = _components(native, hook)
    result = list(schemas)
    for index, hint in enumerate(hints):
        if is_pydantic(hint):
            schema = _pydantic_schema(adapter(hint), mode)
            if isinstance(hint, type):
                result[index] = _named(schema, hint.__name__, definitions, taken)
            else:
                result[index] = _merged(schema, definitions, taken)
    return result, {**components, **definitions}


def has_hidden_pydantic(hint: Any) -> bool:
    """Return whether a type that is not Pydantic's has a field, at any depth, whose type is."""
    if pydantic() is None:
        return False
    found: list[bool] = []

    def hook(type_: Any) -> dict[str, Any]:
        found.append(is_pydantic(type_))
        return _Anything()

    _components([hint], hook)
    return any(found)


def _components(
    hints: Sequence[Any], hook: Callable[[Any], dict[str, Any]]
) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    try:
        return msgspec.json.schema_components(hints, schema_hook=hook, ref_template=_REFERENCE)
    except RecursionError as error:
        raise TypeError("the type refers to itself without end") from error


def _hook(type_: Any) -> dict[str, Any]:
    """Return the schema of a type that msgspec does not know and `decode_hook` does."""
    if type_ is object:
        return _Anything()
    if isinstance(type_, type) and issubclass(type_, PurePath):
        return {"type": "string", "format": "path"}
    raise TypeError(f"{getattr(type_, '__qualname__', type_)} has no JSON form")


def _pydantic_schema(type_adapter: Any, mode: Mode) -> dict[str, Any]:
    module = pydantic()
    assert module is not None
    try:
        schema: dict[str, Any] = type_adapter.json_schema(mode=mode)
    except module.errors.PydanticUserError as error:
        raise TypeError(error.message.partition("\n")[0]) from error
    return schema


def _named(
    schema: dict[str, Any], name: str, definitions: dict[str, dict[str, Any]], taken: frozenset[str]
) -> dict[str, Any]:
    """Move a model's schema to the definitions, so that it is there once; return a reference to it."""
    if "$ref" not in schema:
        inner = schema.pop("$defs", {})
        schema = {"$ref": _REFERENCE.format(name=name), "$defs": {**inner, name: schema}}
    return _merged(schema, definitions, taken)


def _merged(schema: dict[str, Any], definitions: dict[str, dict[str, Any]], taken: frozenset[str]) -> dict[str, Any]:
    """Move a schema's own `$defs` to `definitions`, renamed where a name is taken."""
    inner: dict[str, dict[str, Any]] = schema.pop("$defs", {})
    names: dict[str, str] = {}
    for name, body in inner.items():
        free, number = name, 2
        while free in taken or definitions.get(free, body) != body or (free != name and free in inner):
            free, number = f"{name}_{number}", number + 1
        names[name] = free
    references = {
        _REFERENCE.format(name=name): _REFERENCE.format(name=free) for name, free in names.items() if name != free
    }
    for name, body in inner.items():
        definitions[names[name]] = _rewritten(body, references)
    return typing.cast("dict[str, Any]", _rewritten(schema, references))


def _rewritten(schema: Any, references: Mapping[str, str]) -> Any:
    if isinstance(schema, dict):
        return {key: _rewritten(value, references) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_rewritten(value, references) for value in schema]
    return references.get(schema, schema) if isinstance(schema, str) else schema


def _dated(hint: Any) -> Any:
    """Return the type with a format for each datetime; msgspec sets it only where a time zone is required."""
    if hint is datetime.datetime:
        return _DATE_TIME
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, UnionType):
        return Union[tuple(_dated(argument) for argument in arguments)]  # noqa: UP007 - of a tuple
    if origin in _CONTAINERS and arguments:
        return origin[tuple(_dated(argument) for argument in arguments)]
    return hint


def _is_pydantic_metadata(item: object) -> bool:
    package = type(item).__module__.partition(".")[0]
    return package in ("pydantic", "annotated_types") or hasattr(item, "__get_pydantic_core_schema__")


def _json_type(value: object) -> str:
    names = {type(None): "null", list: "array", dict: "object"}
    return names.get(type(value), type(value).__name__)


def _encode_hook(value: object) -> object:
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "__pydantic_serializer__"):
        type_: Any = type(value)
        return Raw(_adapter_of(type_).dump_json(value, by_alias=True))
    raise TypeError(f"a {type(value).__qualname__} has no JSON form")


@functools.lru_cache(maxsize=1024)
def _adapter_of(type_: Any) -> Any:
    return adapter(type_)


encode = msgspec.json.Encoder(enc_hook=_encode_hook).encode
"""Encode a value as JSON text. Raises one of `UNENCODABLE` if it has no JSON form."""
