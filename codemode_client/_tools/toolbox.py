"""The toolbox: tools under their names, and the delegate that calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar, overload

from msgspec import UNSET, Raw, UnsetType

from codemode_client._loops.threads import Threads
from codemode_client._tools.functions import DEFAULT_THREADS, FunctionTool
from codemode_client._tools.json_tools import JsonTool
from codemode_protocol.errors import ToolError
from codemode_protocol.tools import normalize_tool_name
from codemode_protocol.values import ToolDefinition, ToolInvocation, ToolName

F = TypeVar("F", bound=Callable[..., object])


class Tool(Protocol):
    """A tool that scripts can call."""

    @property
    def definition(self) -> ToolDefinition: ...

    async def call(self, argument: Raw) -> Raw:
        """Answer a call. An exception rejects the promise in JavaScript.

        Args:
            argument: JSON: an object for a function, a string for a freeform tool, null for no arguments.

        Returns:
            The result as JSON.

        Raises:
            ToolError: The call failed; the script gets exactly this text.
        """


class Toolbox:
    """The tools of a session and the delegate that calls them, for any number of sessions and event loops.

    Args:
        functions: Functions to add.
        namespace: The namespace of tools added without one.
        timeout: Seconds for each call of a tool added without a timeout; None for no limit.
        threads: The number of plain functions that may run at once on one event loop; further calls wait.
        on_notify: Called with the text of each notification.
        on_cell_closed: Called with the id of each cell that has ended.

    Raises:
        TypeError: A function cannot be a tool.
        ValueError: A name is taken, or a parameter is out of range.
    """

    def __init__(
        self,
        functions: Iterable[Callable[..., object]] = (),
        *,
        namespace: str | None = None,
        timeout: float | None = None,
        threads: int = DEFAULT_THREADS,
        on_notify: Callable[[str], object] | None = None,
        on_cell_closed: Callable[[str], object] | None = None,
    ) -> None:
        self.on_notify = on_notify
        self.on_cell_closed = on_cell_closed
        self._namespace = namespace
        self._timeout = timeout
        self._threads = Threads(threads)
        self._tools: dict[ToolName, Tool] = {}
        self._identifiers: dict[str, str] = {}
        for function in functions:
            self.add(function)

    @overload
    def add(
        self,
        function: Callable[..., object],
        *,
        name: str | None = None,
        description: str | None = None,
        namespace: str | UnsetType | None = UNSET,
        timeout: float | UnsetType | None = UNSET,
        freeform: bool = False,
    ) -> None: ...

    @overload
    def add(
        self,
        *,
        name: str,
        description: str = "",
        input_schema: Mapping[str, object],
        call: Callable[[dict[str, Any]], object],
        output_schema: Mapping[str, object] | None = None,
        namespace: str | UnsetType | None = UNSET,
        timeout: float | UnsetType | None = UNSET,
    ) -> None: ...

    def add(
        self,
        function: Callable[..., object] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        input_schema: Mapping[str, object] | None = None,
        output_schema: Mapping[str, object] | None = None,
        call: Callable[[dict[str, Any]], object] | None = None,
        namespace: str | UnsetType | None = UNSET,
        timeout: float | UnsetType | None = UNSET,
        freeform: bool = False,
    ) -> None:
        """Add a function, or a tool with a JSON Schema.

        Args:
            function: The function; its type hints become the schema.
            name: The tool's name; by default the function's own.
            description: What the tool does; by default the function's docstring.
            input_schema: Instead of a function: the JSON Schema of the arguments, an object.
            output_schema: With `input_schema`: the JSON Schema of the result.
            call: With `input_schema`: a plain or async function of the arguments, a dict; its result becomes JSON.
            namespace: The tool's namespace; by default the toolbox's.
            timeout: Seconds for each call; by default the toolbox's.
            freeform: The function takes one str; scripts pass a string instead of an object.

        Raises:
            TypeError: The function cannot be a tool, or the parameters do not belong together.
            ValueError: The name is taken in JavaScript, or a value is out of range.
        """
        namespace = self._namespace if namespace is UNSET else namespace
        timeout = self._timeout if timeout is UNSET else timeout
        if function is not None and input_schema is None and output_schema is None and call is None:
            tool: Tool = FunctionTool(
                function,
                name=name,
                namespace=namespace,
                description=description,
                timeout=timeout,
                freeform=freeform,
                threads=self._threads,
            )
        elif function is None and name is not None and input_schema is not None and call is not None and not freeform:
            tool = JsonTool(
                call,
                name=name,
                namespace=namespace,
                description=description or "",
                input_schema=input_schema,
                output_schema=output_schema,
                timeout=timeout,
                threads=self._threads,
            )
        else:
            raise TypeError("add takes a function, or else name, input_schema and call")
        self.add_tool(tool)

    def add_tool(self, tool: Tool) -> None:
        """Add a ready-made tool. Raises ValueError if its name is taken in JavaScript."""
        definition = tool.definition
        identifier = normalize_tool_name(definition.name)
        if (taken := self._identifiers.get(identifier)) is not None:
            if taken == definition.name:
                raise ValueError(f"there is a tool named {taken} already: give one of the two another name")
            raise ValueError(
                f"the tools {taken} and {definition.name} are both tools.{identifier} in JavaScript: "
                "give one of the two another name"
            )
        if definition.tool_name in self._tools:
            raise ValueError(f"there is a tool with the canonical name {definition.tool_name.qualified} already")
        self._identifiers[identifier] = definition.name
        self._tools[definition.tool_name] = tool

    def remove_tool(self, name: ToolName) -> None:
        """Remove a tool; calls to it from running cells fail. Raises KeyError if there is none of that name."""
        tool = self._tools.pop(name)
        del self._identifiers[normalize_tool_name(tool.definition.name)]

    @overload
    def tool(self, function: F, /) -> F: ...

    @overload
    def tool(
        self,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        namespace: str | UnsetType | None = UNSET,
        timeout: float | UnsetType | None = UNSET,
        freeform: bool = False,
    ) -> Callable[[F], F]: ...

    def tool(self, function: Callable[..., object] | None = None, /, **options: Any) -> Any:
        """Add a function and return it unchanged; a decorator, with or without the options of `add`."""
        if function is None:
            return lambda decorated: self.tool(decorated, **options)
        if not callable(function):
            raise TypeError(f"@toolbox.tool takes its options by name, as in tool(name={function!r})")
        self.add(function, **options)
        return function

    @property
    def definitions(self) -> list[ToolDefinition]:
        """The tools' definitions, for a cell's `enabled_tools`."""
        return [tool.definition for tool in self._tools.values()]

    async def invoke_tool(self, invocation: ToolInvocation) -> Raw:
        """Call a tool, as the session's delegate."""
        tool = self._tools.get(invocation.tool_name)
        if tool is None:
            raise ToolError(f"there is no tool named {invocation.tool_name.qualified}")
        return await tool.call(invocation.input)

    async def notify(self, call_id: str, cell_id: str, text: str) -> None:
        """Call `on_notify`, as the session's delegate."""
        if self.on_notify is not None:
            self.on_notify(text)

    def cell_closed(self, cell_id: str) -> None:
        """Call `on_cell_closed`, as the session's delegate."""
        if self.on_cell_closed is not None:
            self.on_cell_closed(cell_id)
