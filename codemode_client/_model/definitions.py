"""The definitions of `exec` and `wait` for model APIs, and decoding a model's arguments."""

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
_UNTIL = (
    "When to come back: `yield` (default) when the cell ends or yields or the time is over; `news` when it ends or has "
    "written something; `end` when it ends. Use `end` instead of waiting again and again."
)
_YIELD_TIME = "Come back after so many milliseconds at the latest."
_WAIT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "cell_id": {"type": "string", "description": "The id of a running cell."},
        "until": {"type": "string", "enum": ["yield", "news", "end"], "description": _UNTIL},
        "yield_time_ms": {"type": "integer", "minimum": 0, "description": _YIELD_TIME},
        "max_tokens": {"type": "integer", "minimum": 0, "description": "Cut the output to about so many tokens."},
        "terminate": {"type": "boolean", "description": "Stop the cell now, and give what it has written."},
    },
    "required": ["cell_id"],
    "additionalProperties": False,
}


class ModelToolDefinition(Struct, frozen=True):
    """A tool for a model.

    Attributes:
        name: The tool's name.
        description: What the tool does.
        input_schema: The JSON Schema of its arguments.
        freeform: Whether its one argument may be sent as plain text, in APIs that have such tools.
    """

    name: str
    description: str
    input_schema: dict[str, Any]
    freeform: bool = False

    def openai_responses(self, *, freeform: bool = True) -> dict[str, Any]:
        """Return an entry of `tools` in OpenAI's Responses API: a custom tool if it is freeform, else a function.

        Args:
            freeform: False to make it a function in any case, for models without custom tools.
        """
        own = {"name": self.name, "description": self.description}
        if self.freeform and freeform:
            return {"type": "custom", **own, "format": {"type": "text"}}
        return {"type": "function", **own, "parameters": self.input_schema, "strict": False}

    def openai_chat(self) -> dict[str, Any]:
        """Return an entry of `tools` in OpenAI's Chat Completions API and compatible ones."""
        function = {"name": self.name, "description": self.description, "parameters": self.input_schema}
        return {"type": "function", "function": function}

    def anthropic(self) -> dict[str, Any]:
        """Return an entry of `tools` in Anthropic's Messages API."""
        return {"name": self.name, "description": self.description, "input_schema": self.input_schema}


def exec_definition(name: str, description: str) -> ModelToolDefinition:
    """Return the definition of `exec` under a name."""
    return ModelToolDefinition(name, description, _EXEC_SCHEMA, freeform=True)


def wait_definition(name: str, description: str) -> ModelToolDefinition:
    """Return the definition of `wait` under a name."""
    return ModelToolDefinition(name, description, _WAIT_SCHEMA)


# Arguments


class ArgumentsError(Exception):
    """A model's arguments do not fit the tool; the message is for the model."""


class ExecArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of `exec` as a function."""

    source: str


# JSON does not distinguish 1 and 1.0, and some clients decode every number as a float.
_Count = Annotated[float, Meta(ge=0, le=MAX_SAFE_INTEGER)]


class WaitArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of `wait`. Models also send null for absent ones, and numbers as cell ids."""

    cell_id: str | int
    until: Until | None = None
    yield_time_ms: _Count | None = None
    max_tokens: _Count | None = None
    terminate: bool | None = None


# No script begins like this: a block whose first statement is a string followed by a colon.
_JSON_OBJECT = re.compile(r'\s*\{\s*(?:"(?:[^"\\]|\\.)*"\s*:|\}\s*\Z)')


def exec_source(name: str, arguments: str | Mapping[str, object]) -> str:
    """Return the script in a model's arguments: raw text, JSON text or a decoded object. Raises `ArgumentsError`."""
    if isinstance(arguments, str) and _JSON_OBJECT.match(arguments) is None:
        return arguments
    return _decode(name, arguments, ExecArguments, 'one argument: {"source": "raw JavaScript"}').source


def wait_arguments(name: str, arguments: str | Mapping[str, object]) -> WaitArguments:
    """Return the arguments of a `wait` from JSON text or a decoded object. Raises `ArgumentsError`."""
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
