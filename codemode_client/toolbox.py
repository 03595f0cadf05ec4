"""Python functions as tools: their definitions for a cell, and the delegate that calls them."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import msgspec
import trio
from msgspec import Raw, Struct

from codemode_protocol.errors import ToolError
from codemode_protocol.values import ToolDefinition, ToolInvocation, ToolKind, ToolName

F = TypeVar("F", bound=Callable[..., object])

_NULL = Raw(b"null")


class Tool:
    """One function, what a cell is told about it, and how its arguments are checked.

    The function takes its arguments by keyword; they come as one JSON object, which is checked against the
    type hints as msgspec understands them (a parameter without a hint takes anything). A plain function
    runs in a worker thread.

    Raises TypeError for a function that cannot be called with one JSON object.
    """

    def __init__(self, function: Callable[..., object], name: str, description: str) -> None:
        self._function = function
        self._async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
        try:
            hints = _type_hints(function)
            arguments = _arguments_type(function, name, hints)
            self._arguments = msgspec.json.Decoder(arguments)
            input_schema = _schema(arguments)
        except (TypeError, NameError, ValueError) as error:
            raise TypeError(f"{name} cannot be a tool: {error}") from error
        self.definition = ToolDefinition(
            name=name,
            tool_name=ToolName(name),
            description=description,
            kind=ToolKind.FUNCTION,
            input_schema=input_schema,
            output_schema=_output_schema(hints),
        )

    async def call(self, argument: Raw) -> Raw:
        """Call the function with a JSON object (or null, for no arguments) and give its result as JSON."""
        try:
            arguments = self._arguments.decode(b"{}" if bytes(argument) == b"null" else argument)
        except msgspec.DecodeError as error:
            raise ToolError(f"invalid arguments for {self.definition.name}: {error}") from error
        keywords = {name: getattr(arguments, name) for name in arguments.__struct_fields__}
        if self._async:
            result = await typing.cast(Any, self._function)(**keywords)
        else:
            result = await trio.to_thread.run_sync(partial(self._function, **keywords))
        return Raw(msgspec.json.encode(result))


class Toolbox:
    """Functions as tools, and the delegate of the sessions that use them.

    `on_notify` is called with the text of each notification, `on_cell_closed` with the id of each cell that
    is over.
    """

    def __init__(
        self,
        functions: Iterable[Callable[..., object]] = (),
        *,
        on_notify: Callable[[str], object] | None = None,
        on_cell_closed: Callable[[str], object] | None = None,
    ) -> None:
        self._tools: dict[str, Tool] = {}
        self.on_notify = on_notify
        self.on_cell_closed = on_cell_closed
        for function in functions:
            self.add(function)

    def add(self, function: Callable[..., object], *, name: str | None = None, description: str | None = None) -> None:
        """Add a function, by default under its own name and with its docstring as the description.

        Raises TypeError for a function that cannot be a tool, ValueError for a name that is taken.
        """
        if name is None:
            name = getattr(function, "__name__", type(function).__name__)
        if name in self._tools:
            raise ValueError(f"there is a tool named {name} already")
        self._tools[name] = Tool(
            function, name, description if description is not None else inspect.getdoc(function) or ""
        )

    def tool(self, function: F) -> F:
        """Add a function; for use as a decorator."""
        self.add(function)
        return function

    @property
    def definitions(self) -> list[ToolDefinition]:
        """What to give to a cell as its `enabled_tools`."""
        return [tool.definition for tool in self._tools.values()]

    async def invoke_tool(self, invocation: ToolInvocation) -> Raw:
        tool = self._tools.get(invocation.tool_name.name)
        if tool is None or invocation.tool_name.namespace is not None:
            raise ToolError(f"there is no tool named {invocation.tool_name.name}")
        return await tool.call(invocation.input)

    async def notify(self, call_id: str, cell_id: str, text: str) -> None:
        if self.on_notify is not None:
            self.on_notify(text)

    def cell_closed(self, cell_id: str) -> None:
        if self.on_cell_closed is not None:
            self.on_cell_closed(cell_id)


def _type_hints(function: Callable[..., object]) -> dict[str, Any]:
    if isinstance(function, partial):
        return _type_hints(function.func)
    target = function if inspect.isroutine(function) else type(function).__call__
    return typing.get_type_hints(target, include_extras=True)


def _arguments_type(function: Callable[..., object], name: str, hints: dict[str, Any]) -> type[Struct]:
    """A Struct with the function's parameters as its fields."""
    fields: list[tuple[str, Any, Any]] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"parameter {parameter} cannot be given by name")
        hint = hints.get(parameter.name, Any)
        if parameter.default is parameter.empty:
            fields.append((parameter.name, hint, msgspec.field()))
        elif parameter.default is None or isinstance(parameter.default, (bool, int, float, str)):
            fields.append((parameter.name, hint, msgspec.field(default=parameter.default)))
        else:
            # Not a value that a schema could show, nor one to hand out copies of: the function's own object.
            default = partial(_same, parameter.default)
            fields.append((parameter.name, hint, msgspec.field(default_factory=default)))
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)


def _same(value: object) -> object:
    return value


def _schema(type_: Any) -> Raw:
    """The JSON Schema of a type, with the type itself at the top and the types it uses in `$defs`."""
    (schema,), components = msgspec.json.schema_components((type_,), ref_template="#/$defs/{name}")
    reference = schema.get("$ref")
    text = msgspec.json.encode(components)
    if reference is not None and text.count(msgspec.json.encode(reference)) == 0:
        schema = components.pop(reference.removeprefix("#/$defs/"))
    if components:
        schema = {**schema, "$defs": components}
    return Raw(msgspec.json.encode(schema))


def _output_schema(hints: dict[str, Any]) -> Raw:
    if "return" not in hints:
        return _NULL
    try:
        return _schema(hints["return"])
    except TypeError:
        return _NULL  # a result that has no schema may still encode
