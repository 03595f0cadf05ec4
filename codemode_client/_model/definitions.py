"""`exec` and `wait` as a model API wants tools defined, and the arguments that a model gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from codemode_protocol.source import MAX_SAFE_INTEGER

Until = Literal["yield", "news", "end"]

T = TypeVar("T")

_EXEC_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"source": {"type": "string", "description": "The script, as raw JavaScript source text."}},
    "required": ["source"],
    "additionalProperties": False,
}
_WAIT_PROPERTIES: dict[str, Any] = {
    "cell_id": {"type": "string", "description": "The id of a running cell."},
    "until": {
        "type": "string",
        "enum": ["yield", "news", "end"],
        "description": "When to come back: `yield` (default) when the cell ends or yields or the time is over; `news` "
        "when it ends or has written something; `end` when it ends. Use `end` instead of waiting again and again.",
    },
    "yield_time_ms": {
        "type": "integer",
        "minimum": 0,
        "description": "Come back after so many milliseconds at the latest.",
    },
    "max_tokens": {"type": "integer", "minimum": 0, "description": "Cut the output to about so many tokens."},
    "terminate": {"type": "boolean", "description": "Stop the cell now, and give what it has written."},
}


class ModelToolDefinition(Struct, frozen=True):
    """A tool for a model: what it is called, what it does, and its arguments as a JSON Schema.

    `freeform`: its one argument may be sent as plain text, in the APIs that have such tools.
    """

    name: str
    description: str
    input_schema: dict[str, Any]
    freeform: bool = False

    def openai_responses(self, *, freeform: bool = True) -> dict[str, Any]:
        """An entry of `tools` in OpenAI's Responses API: a custom tool if it is freeform, else a function.

        `freeform=False` makes it a function in any case, for models that have no custom tools.
        """
        if self.freeform and freeform:
            return {
                "type": "custom",
                "name": self.name,
                "description": self.description,
                "format": {"type": "text"},
            }
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.input_schema,
            "strict": False,
        }

    def openai_chat(self) -> dict[str, Any]:
        """An entry of `tools` in OpenAI's Chat Completions API, and in the many that are like it."""
        function = {"name": self.name, "description": self.description, "parameters": self.input_schema}
        return {"type": "function", "function": function}

    def anthropic(self) -> dict[str, Any]:
        """An entry of `tools` in Anthropic's Messages API."""
        return {"name": self.name, "description": self.description, "input_schema": self.input_schema}


def exec_definition(name: str, description: str) -> ModelToolDefinition:
    """`exec` under a name."""
    return ModelToolDefinition(name, description, _EXEC_SCHEMA, freeform=True)


def wait_definition(name: str, description: str) -> ModelToolDefinition:
    """`wait` under a name."""
    schema = {
        "type": "object",
        "properties": _WAIT_PROPERTIES,
        "required": ["cell_id"],
        "additionalProperties": False,
    }
    return ModelToolDefinition(name, description, schema)


# Arguments


class ArgumentsError(Exception):
    """A model's arguments are not what the tool takes; the message is for the model."""


class ExecArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """What `exec` takes where it is a function."""

    source: str


# JSON does not tell 1 and 1.0 apart, and some clients decode every number as the latter.
_Count = Annotated[float, Meta(ge=0, le=MAX_SAFE_INTEGER)]


class WaitArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """What `wait` takes. Null is as good as nothing, and a number will do for a cell's id: models send both."""

    cell_id: str | int
    until: Until | None = None
    yield_time_ms: _Count | None = None
    max_tokens: _Count | None = None
    terminate: bool | None = None


# No script begins like this: a block whose first statement is a string, and then a colon.
_JSON_OBJECT = re.compile(r'\s*\{\s*(?:"(?:[^"\\]|\\.)*"\s*:|\}\s*\Z)')


def exec_source(name: str, arguments: str | Mapping[str, object]) -> str:
    """The script among a model's arguments: raw text, JSON text or a decoded object. Raises `ArgumentsError`."""
    if isinstance(arguments, str) and _JSON_OBJECT.match(arguments) is None:
        return arguments
    return _decode(name, arguments, ExecArguments, 'one argument: {"source": "raw JavaScript"}').source


def wait_arguments(name: str, arguments: str | Mapping[str, object]) -> WaitArguments:
    """The arguments of a `wait`: JSON text or a decoded object. Raises `ArgumentsError`."""
    takes = 'cell_id, and optionally until, yield_time_ms, max_tokens and terminate: {"cell_id": "1", "until": "end"}'
    return _decode(name, arguments, WaitArguments, takes)


def _decode(name: str, arguments: object, kind: type[T], takes: str) -> T:
    try:
        if isinstance(arguments, str):
            return msgspec.json.decode(arguments, type=kind)
        return msgspec.convert(dict(arguments) if isinstance(arguments, Mapping) else arguments, kind)
    except msgspec.ValidationError as error:
        problem = f"The arguments do not fit: {error}."
    except (msgspec.DecodeError, UnicodeError) as error:
        problem = f"The arguments are not valid JSON: {error}."
    except RecursionError:
        problem = "The arguments are nested too deeply."
    raise ArgumentsError(f"{problem} `{name}` takes {takes}.") from None
