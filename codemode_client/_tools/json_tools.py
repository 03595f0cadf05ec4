"""A tool made from a name, a JSON Schema of its arguments, and a function that takes them decoded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from codemode_client._loops.threads import Threads
from codemode_client._tools.functions import checked_name
from codemode_client._tools.running import Runner
from codemode_client._tools.schemas import UNENCODABLE, encode
from codemode_protocol.errors import ToolError
from codemode_protocol.values import ToolDefinition, ToolKind

_arguments = msgspec.json.Decoder(dict[str, Any] | None)


class JsonTool:
    """A tool made from a JSON Schema and a function of one argument, an object that is not checked against the schema.

    Raises:
        ValueError: The name is empty, or a schema cannot be written as JSON.
    """

    def __init__(
        self,
        call: Callable[[dict[str, Any]], object],
        *,
        name: str,
        namespace: str | None,
        description: str,
        input_schema: Mapping[str, object],
        output_schema: Mapping[str, object] | None,
        timeout: float | None,
        threads: Threads,
    ) -> None:
        tool_name = checked_name(name, namespace)
        full_name = tool_name.qualified
        self.definition = ToolDefinition(
            name=full_name,
            tool_name=tool_name,
            description=description,
            kind=ToolKind.FUNCTION,
            input_schema=_schema(full_name, input_schema),
            output_schema=Raw(b"null") if output_schema is None else _schema(full_name, output_schema),
        )
        is_async = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004
        self._run = Runner(full_name, call, is_async, timeout, threads)

    async def call(self, argument: Raw) -> Raw:
        """Call the function with JSON arguments and return JSON.

        Raises:
            ToolError: The arguments are no object, the result has no JSON form, or the timeout has passed.
            Exception: Any exception of the function.
        """
        name = self.definition.name
        try:
            arguments = _arguments.decode(argument)
        except msgspec.DecodeError as error:
            raise ToolError(f"{name} takes one object with its arguments") from error
        result = await self._run.call(arguments or {})
        try:
            return Raw(encode(result))
        except UNENCODABLE as error:
            raise ToolError(
                f"{name} gave a result that cannot be written as JSON: this is a fault of the tool"
            ) from error


def _schema(name: str, schema: Mapping[str, object]) -> Raw:
    try:
        return Raw(encode(dict(schema)))
    except UNENCODABLE as error:
        raise ValueError(f"a schema of {name} cannot be written as JSON: {error}") from error
