"""The tool made from one function: what a cell is told about it, and how it is called."""

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
"""How many plain functions of one toolbox run at once on one event loop, unless it is told otherwise."""


class FunctionTool:
    """One function as a tool. Works on asyncio and on trio, and on several event loops at once.

    A plain function runs in a thread, which cannot be stopped: when its call is cancelled or runs out of time, the
    thread goes on, and what it returns is dropped. `timeout` is in seconds, for the whole call.

    Raises TypeError for a function that cannot be a tool, ValueError for a name or a timeout that cannot be.
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
        if name is None:
            name = default_name(function)
        if not name or namespace == "":
            raise ValueError("the name of a tool, and that of a namespace, cannot be empty")
        tool_name = ToolName(name, namespace)
        full_name = tool_name.qualified
        try:
            signature = read_signature(function)
            kind = FreeformArgument if freeform else Arguments
            arguments = kind(full_name, signature.parameters, signature.rest)
        except NameError as error:
            raise TypeError(
                f"{name} cannot be a tool: {error}; its type hints are looked up in its module, at run time"
            ) from error
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
        """Call the function with JSON (an object, or null for no arguments; a string if it is freeform), for JSON.

        Raises:
            ToolError: The arguments or the result do not fit, or the time is over.
            Exception: Whatever the function raises.
        """
        return self._write(await self._run.call(**self._read(argument)))
