"""The result of one function: its JSON Schema, and encoding it as JSON that fits."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from codemode_client._observability.foreign import ForeignLog
from codemode_client._tools.mismatches import Mismatch, Schema, is_pydantic_error, mismatches, pydantic_mismatches
from codemode_client._tools.schemas import (
    UNENCODABLE,
    adapter,
    decode_hook,
    encode,
    has_hidden_pydantic,
    is_pydantic,
    json_schemas,
)
from codemode_protocol.errors import ToolError

logger: ForeignLog = ForeignLog("codemode_client")

_OPEN = (Any, object, UNSET)
_PLAIN = (str, bool, int)


class Results:
    """The results of a function. `hint` is its return type, UNSET for none.

    A type that JSON cannot be checked against (a user's class, a union of dataclasses) is no error: such results
    have no schema and are encoded unchecked.
    """

    def __init__(self, tool: str, hint: Any) -> None:
        self._tool = tool
        self._hint = hint
        self._fits = _always_fits(hint)
        self._adapter: Any
        self._check: Any
        self._schema: dict[str, Any] | None
        self._definitions: dict[str, dict[str, Any]]
        try:
            self._adapter, self._check = _checks(hint)
            self._schema, self._definitions = _schema(hint)
        except TypeError as error:
            logger.debug("the tool %s has no output schema: %s", tool, error)
            self._adapter = self._check = self._schema = None
            self._definitions = {}
        self.schema = Raw(b"null") if self._schema is None else Raw(encode(self._whole_schema(self._schema)))

    def write(self, value: Any) -> Raw:
        """Return a result as JSON. Raises ToolError if it has no JSON form or does not fit the declared type.

        The error's text does not reveal the value or its class; these are logged.
        """
        try:
            if self._adapter is not None:
                return Raw(self._adapter.dump_json(self._adapter.validate_python(value), by_alias=True))
            text = encode(value)
            if self._check is not None and type(value) is not self._fits:
                self._check(text)
            return Raw(text)
        except UNENCODABLE as error:
            raise self._complaint(value, error) from error

    def _complaint(self, value: Any, error: Exception) -> ToolError:
        logger.warning("the tool %s gave a %s: %s", self._tool, type(value).__qualname__, error)
        if is_pydantic_error(error):
            return self._unfitting(pydantic_mismatches(error, ("result",), values=False))
        if isinstance(error, msgspec.ValidationError):
            schema = Schema(self._schema, self._definitions)
            return self._unfitting(mismatches(self._hint, Raw(encode(value)), ("result",), schema, values=False))
        return ToolError(f"{self._tool} gave a result that cannot be written as JSON: this is a fault of the tool")

    def _unfitting(self, found: list[Mismatch]) -> ToolError:
        reasons = "; ".join(map(str, found[:3]))
        return ToolError(f"{self._tool} gave a result that is not of its type: {reasons}. This is a fault of the tool")

    def _whole_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema with its definitions; inline the root's definition if nothing else refers to it."""
        definitions = dict(self._definitions)
        reference = schema.get("$ref")
        if reference is not None and len(schema) == 1 and encode(reference) not in encode(definitions):
            schema = definitions.pop(reference.rpartition("/")[2])
        return {**schema, "$defs": definitions} if definitions else schema


def _schema(hint: Any) -> tuple[dict[str, Any] | None, dict[str, dict[str, Any]]]:
    """Return the schema of a return type and the definitions that it refers to."""
    if hint is UNSET:
        return None, {}
    (schema,), definitions = json_schemas([hint], "serialization")
    return schema, definitions


def _checks(hint: Any) -> tuple[Any, Any]:
    """Return Pydantic's adapter that checks results of a type, or else a function that checks them as JSON."""
    if is_pydantic(hint):
        return adapter(hint), None
    if hint in _OPEN or has_hidden_pydantic(hint):
        # Inside other types, Pydantic's models may be encoded under other names than they are decoded.
        return None, None
    return None, msgspec.json.Decoder(hint, dec_hook=decode_hook).decode


def _always_fits(hint: Any) -> type | None:
    """Return the class whose instances always fit a type if they can be encoded at all."""
    if hint in _PLAIN or hint in (dict, list):
        return typing.cast("type", hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list and arguments[0] in _OPEN:
        return list
    if origin is dict and arguments[0] is str and arguments[1] in _OPEN:
        return dict
    return None
