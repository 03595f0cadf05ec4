"""A tool made from one Python function."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Raw

from codemode_client._loops.threads import Threads
from codemode_client._tools.arguments import Arguments, FreeformArgument
from codemode_client._tools.results import Results
from codemode_client._tools.running import Runner
from codemode_client._tools.signatures import default_name, read_signature
from codemode_protocol.values import ToolDefinition, ToolKind, ToolName

DEFAULT_THREADS = 40
"""The number of plain functions of one toolbox that run at once on one event loop, by default."""


class FunctionTool:
    """One function as a tool, on asyncio and trio and on several event loops at once.

    For the parameters see `Toolbox.add`, for plain functions in threads `Runner`.

    Raises:
        TypeError: The function cannot be a tool.
        ValueError: The name or namespace is empty, or the timeout is not more than 0.
    """

    def __init__(
        self,
        function: Callable[..., object],
        *,
        name: str | None = None,
        namespace: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
        freeform: bool = False,
        threads: Threads | None = None,
    ) -> None:
        tool_name = checked_name(default_name(function) if name is None else name, namespace)
        name, full_name = tool_name.name, tool_name.qualified
        try:
            signature = read_signature(function)
            kind = FreeformArgument if freeform else Arguments
            arguments = kind(full_name, signature.parameters, signature.rest)
        except NameError as error:
            hint = "its type hints are looked up in its module, at run time"
            raise TypeError(f"{name} cannot be a tool: {error}; {hint}") from error
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name} cannot be a tool: {error}") from error
        results = Results(full_name, signature.returns)
        self.definition = ToolDefinition(
            name=full_name,
            tool_name=tool_name,
            description=description if description is not None else signature.description,
            kind=ToolKind.FREEFORM if freeform else ToolKind.FUNCTION,
            input_schema=arguments.schema,
            output_schema=results.schema,
        )
        self._read = arguments.read
        self._write = results.write
        threads = threads if threads is not None else Threads(DEFAULT_THREADS)
        self._run = Runner(self.definition.name, function, signature.calls_are_async, timeout, threads)

    async def call(self, argument: Raw) -> Raw:
        """Call the function with JSON arguments (an object or null; a string if freeform) and return JSON.

        Raises:
            ToolError: The arguments or the result do not fit, or the timeout has passed.
            Exception: Any exception of the function.
        """
        return self._write(await self._run.call(**self._read(argument)))


def checked_name(name: str, namespace: str | None) -> ToolName:
    """Return a tool's name. Raises ValueError if it or the namespace is empty."""
    if not name or namespace == "":
        raise ValueError("the name of a tool, and that of a namespace, cannot be empty")
    return ToolName(name, namespace)
