"""The arguments of one function: their JSON Schema, and decoding them from JSON."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from codemode_client._tools.mismatches import (
    Mismatch,
    Schema,
    abbreviate,
    is_pydantic_error,
    mismatches,
    missing,
    pydantic_mismatches,
    unknown,
)
from codemode_client._tools.schemas import UNENCODABLE, adapter, decode_hook, encode, is_pydantic, json_schemas
from codemode_client._tools.signatures import Parameter
from codemode_protocol.errors import ToolError

_MAX_MISMATCHES = 8
"""The most mismatches in one error."""

_raws = msgspec.json.Decoder(dict[str, Raw])


class Arguments:
    """The arguments of a function as one JSON object, whose fields are the arguments by name.

    Args:
        tool: The tool's name, for messages.
        parameters: The function's parameters.
        rest: The parameter for all other names (`**kwargs`), if the function has one.

    Raises:
        TypeError: The type of a parameter has no JSON form.
    """

    def __init__(self, tool: str, parameters: list[Parameter], rest: Parameter | None) -> None:
        self._tool = tool
        self._parameters = {parameter.name: parameter for parameter in parameters}
        self._rest = rest
        self._properties, self._rest_schema, self._definitions = _describe(parameters, rest)
        self._readers = {p.name: _reader(p.hint) for p in parameters}
        self._adapted = [(p.name, self._readers[p.name]) for p in parameters if is_pydantic(p.hint)]
        self._rest_reader = None if rest is None else _reader(rest.hint)
        self._plain = not self._adapted and rest is None
        fields = [(p.name, Raw if is_pydantic(p.hint) else p.hint, _field(p)) for p in parameters]
        struct = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=rest is None)
        self._decode = msgspec.json.Decoder(typing.Optional[struct], dec_hook=decode_hook).decode  # noqa: UP045
        self.schema = self._schema()

    def read(self, argument: Raw) -> dict[str, Any]:
        """Return the keyword arguments for a call; null stands for an empty object. Raises ToolError on a mismatch."""
        try:
            arguments = self._decode(argument)
            if arguments is None:
                arguments = self._decode(b"{}")
            keywords = msgspec.structs.asdict(arguments)
            return keywords if self._plain else self._complete(argument, keywords)
        except ValueError as error:
            if not isinstance(error, msgspec.DecodeError) and not is_pydantic_error(error):
                raise
            raise ToolError(f"invalid arguments for {self._tool}: {self._explain(argument) or error}") from error

    def _complete(self, argument: Raw, keywords: dict[str, Any]) -> dict[str, Any]:
        """Decode what msgspec left alone: Pydantic's types, and the arguments for `**kwargs`."""
        for name, read in self._adapted:
            if isinstance(keywords[name], Raw):
                keywords[name] = read(keywords[name])
        if self._rest_reader is not None:
            for name, value in _object(argument).items():
                if name not in self._parameters:
                    keywords[name] = self._rest_reader(value)
        return keywords

    def _explain(self, argument: Raw) -> str:
        """Return all mismatches, argument by argument."""
        try:
            given = _object(argument)
        except msgspec.ValidationError:
            names = ", ".join(self._parameters)
            wanted = f"one object with {names}" if names else "an empty object"
            return f"expected {wanted}, got {abbreviate(msgspec.json.decode(argument))}"
        except msgspec.DecodeError as error:
            return str(error)
        found: list[Mismatch] = []
        for name, parameter in self._parameters.items():
            if name in given:
                found += self._mismatches(name, parameter.hint, given[name], self._properties[name])
            elif parameter.required:
                found.append(missing((name,)))
        for name in given.keys() - self._parameters.keys():
            if self._rest is None:
                found.append(unknown((name,), "argument", list(self._parameters)))
            else:
                found += self._mismatches(name, self._rest.hint, given[name], self._rest_schema)
        more = len(found) - _MAX_MISMATCHES
        return "; ".join(map(str, found[:_MAX_MISMATCHES])) + (f"; and {more} more" if more > 0 else "")

    def _mismatches(self, name: str, hint: Any, value: Raw, schema: Any) -> list[Mismatch]:
        if not is_pydantic(hint):
            return mismatches(hint, value, (name,), Schema(schema, self._definitions))
        try:
            adapter(hint).validate_json(bytes(value))
        except ValueError as error:
            if not is_pydantic_error(error):
                raise
            return pydantic_mismatches(error, (name,))
        return []

    def _schema(self) -> Raw:
        schema: dict[str, Any] = {"type": "object", "properties": self._properties}
        if required := [p.name for p in self._parameters.values() if p.required]:
            schema["required"] = required
        schema["additionalProperties"] = False if self._rest is None else dict(self._rest_schema) or True
        if self._definitions:
            schema["$defs"] = self._definitions
        return Raw(encode(schema))


class FreeformArgument:
    """The argument of a freeform tool: one JSON string, for the only parameter of its function.

    Raises:
        TypeError: The function does not have exactly one parameter, a str.
    """

    schema = Raw(b"null")

    def __init__(self, tool: str, parameters: list[Parameter], rest: Parameter | None) -> None:
        if len(parameters) != 1 or rest is not None:
            raise TypeError("a freeform tool takes one str")
        (self._parameter,) = parameters
        hint = str if self._parameter.hint is Any else self._parameter.hint
        if hint is not str and getattr(hint, "__origin__", None) is not str:
            raise TypeError(f"a freeform tool takes one str, but {self._parameter.name} is {hint}")
        self._tool = tool
        self._hint = hint
        self._decode = msgspec.json.Decoder(hint).decode

    def read(self, argument: Raw) -> dict[str, Any]:
        """Return the keyword argument for a call. Raises ToolError on a mismatch."""
        try:
            return {self._parameter.name: self._decode(argument)}
        except msgspec.ValidationError as error:
            (found,) = mismatches(self._hint, argument, (), Schema({}, {}))
            raise ToolError(f"invalid arguments for {self._tool}: {found}") from error


def _object(argument: Raw) -> dict[str, Raw]:
    return {} if bytes(argument) == b"null" else _raws.decode(argument)


def _reader(hint: Any) -> Callable[[Raw], Any]:
    """Return a function that decodes JSON to a type."""
    if is_pydantic(hint):
        validate = adapter(hint).validate_json
        return lambda value: validate(bytes(value))
    return msgspec.json.Decoder(hint, dec_hook=decode_hook).decode


def _field(parameter: Parameter) -> Any:
    if parameter.required:
        return msgspec.field()
    # The function's own object each time, as in a call from Python: msgspec would copy or refuse a default.
    return msgspec.field(default_factory=lambda: parameter.default)


def _describe(
    parameters: list[Parameter], rest: Parameter | None
) -> tuple[dict[str, dict[str, Any]], dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the schemas of the parameters by name, that of the rest, and the definitions that they refer to."""
    everything = [*parameters, rest] if rest is not None else parameters
    for parameter in everything:
        try:
            json_schemas([parameter.hint], "validation")
            _reader(parameter.hint)
        except TypeError as error:
            raise TypeError(f"parameter {parameter.name}: {error}") from error
    schemas, definitions = json_schemas([parameter.hint for parameter in everything], "validation")
    for parameter, schema in zip(everything, schemas, strict=True):
        if parameter.description:
            schema.setdefault("description", parameter.description)
        if not parameter.required and (default := _shown(parameter)) is not UNSET:
            schema["default"] = default
    rest_schema = schemas.pop() if rest is not None else {}
    return dict(zip((p.name for p in parameters), schemas, strict=True)), rest_schema, definitions


def _shown(parameter: Parameter) -> Any:
    """Return a default as JSON; UNSET if it has no JSON form, or one that the parameter does not accept."""
    try:
        text = encode(parameter.default)
        _reader(parameter.hint)(Raw(text))
    except UNENCODABLE:
        return UNSET
    return msgspec.json.decode(text)
