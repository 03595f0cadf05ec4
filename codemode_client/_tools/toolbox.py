"""The tools of a session: Python functions and ready-made ones under their names, and the delegate that calls them."""

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
    """Something that a script can call."""

    @property
    def definition(self) -> ToolDefinition: ...

    async def call(self, argument: Raw) -> Raw:
        """Answer a call: JSON in, JSON out.

        `argument` is an object for a function, a string for a freeform tool, null for no arguments. An exception
        rejects the promise in JavaScript; `ToolError` is the one whose text is all that the script is told.
        """


class Toolbox:
    """The tools of a session, and the delegate that calls them for it. It works on any event loop, and on several.

    `namespace` and `timeout` (seconds for each call, None for as long as it takes) hold for every function that is
    added without its own. At most `threads` plain functions run at once on one event loop; the calls beyond wait.

    `on_notify` is called with the text of each notification, `on_cell_closed` with the id of each cell that is over.
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
        """Add a function, or a tool that is there as JSON already.

        Args:
            function: The function, whose type hints are its schema.
            name: The tool's name; by default the function's own.
            description: What it does; by default the function's docstring.
            input_schema: Instead of a function: the JSON Schema of the arguments, an object.
            output_schema: With `input_schema`: the JSON Schema of the result.
            call: With `input_schema`: takes the arguments as a dict and gives what can be written as JSON; plain or
                async.
            namespace: Where the tool belongs; by default the toolbox's own.
            timeout: Seconds for each call; by default the toolbox's own.
            freeform: The function takes one str, and scripts call it with a string instead of an object.

        Raises:
            TypeError: The function cannot be a tool, or the parameters do not belong together.
            ValueError: The name is taken in JavaScript, or a value cannot be.
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
        """Add a ready-made tool. Raises ValueError when its name, as JavaScript sees it, is taken."""
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
        """Take a tool out again. A cell that runs already can still call it, and is told that it is gone.

        Raises KeyError when there is none of that name.
        """
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
        """Add a function; a decorator, with or without the options of `add`. The function stays what it was."""
        if function is None:
            return lambda decorated: self.tool(decorated, **options)
        if not callable(function):
            raise TypeError(f"@toolbox.tool takes its options by name, as in tool(name={function!r})")
        self.add(function, **options)
        return function

    @property
    def definitions(self) -> list[ToolDefinition]:
        """What to give to a cell as its `enabled_tools`."""
        return [tool.definition for tool in self._tools.values()]

    async def invoke_tool(self, invocation: ToolInvocation) -> Raw:
        tool = self._tools.get(invocation.tool_name)
        if tool is None:
            raise ToolError(f"there is no tool named {invocation.tool_name.qualified}")
        return await tool.call(invocation.input)

    async def notify(self, call_id: str, cell_id: str, text: str) -> None:
        if self.on_notify is not None:
            self.on_notify(text)

    def cell_closed(self, cell_id: str) -> None:
        if self.on_cell_closed is not None:
            self.on_cell_closed(cell_id)
