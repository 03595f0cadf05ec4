"""The tool made from one function: what a cell is told about it, and how it is called."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
from msgspec import Raw

from codemode_client.arguments import Arguments, FreeformArgument
from codemode_client.results import Results
from codemode_client.signatures import default_name, read_signature
from codemode_protocol.errors import ToolError, tool_failure_text
from codemode_protocol.values import ToolDefinition, ToolKind, ToolName

DEFAULT_THREADS = 40
"""How many plain functions of one toolbox run at once on one event loop, unless it is told otherwise."""


class Threads:
    """How many threads plain functions may take: `most` on each event loop. The calls beyond wait in order."""

    def __init__(self, most: int = DEFAULT_THREADS) -> None:
        if most < 1:
            raise ValueError(f"threads: {most} is less than 1")
        self.most = most

    @property
    def limiter(self) -> anyio.CapacityLimiter:
        """What counts them on the running event loop."""
        try:
            limiters = _limiters.get()
        except LookupError:
            limiters = weakref.WeakKeyDictionary()
            _limiters.set(limiters)
        if (limiter := limiters.get(self)) is None:
            limiters[self] = limiter = anyio.CapacityLimiter(self.most)
        return limiter


_limiters: anyio.lowlevel.RunVar[weakref.WeakKeyDictionary[Threads, anyio.CapacityLimiter]] = anyio.lowlevel.RunVar(
    "codemode_client.functions.limiters"
)


class FunctionTool:
    """One function as a tool. Works on every event loop that anyio knows, and on several.

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
        if timeout is not None and not timeout > 0:
            raise ValueError(f"the timeout of {name} must be more than 0 seconds, not {timeout}")
        full_name = ToolName(name, namespace).qualified
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
            tool_name=ToolName(name, namespace),
            description=description if description is not None else signature.description,
            kind=ToolKind.FREEFORM if freeform else ToolKind.FUNCTION,
            input_schema=arguments.schema,
            output_schema=results.schema,
        )
        self.timeout = timeout
        self._function: Callable[..., Any] = function
        self._async = signature.calls_are_async
        self._at_once = self._async and timeout is None
        self._threads = threads if threads is not None else Threads()
        self._read = arguments.read
        self._write = results.write

    async def call(self, argument: Raw) -> Raw:
        """Call the function with JSON (an object, or null for no arguments; a string if it is freeform), for JSON.

        Raises ToolError for arguments or a result that do not fit and when the time is over, and whatever the function
        raises.
        """
        keywords = self._read(argument)
        result = await self._function(**keywords) if self._at_once else await self._in_time(keywords)
        return self._write(result)

    async def _in_time(self, keywords: dict[str, Any]) -> Any:
        if self.timeout is None:
            return await self._run(keywords)
        result = None
        with anyio.move_on_after(self.timeout) as scope:
            result = await self._run(keywords)
        if scope.cancelled_caught:
            raise ToolError(f"{self.definition.name} took longer than {self.timeout:g} s and was given up")
        return result

    async def _run(self, keywords: dict[str, Any]) -> Any:
        if self._async:
            return await self._function(**keywords)
        # A plain function around an async one gives something to wait for; trio takes that for a mistake, unless boxed.
        (result,) = await anyio.to_thread.run_sync(
            self._in_thread, keywords, abandon_on_cancel=True, limiter=self._threads.limiter
        )
        return await result if inspect.isawaitable(result) else result

    def _in_thread(self, keywords: dict[str, Any]) -> tuple[Any]:
        try:
            return (self._function(**keywords),)
        except Exception:
            raise
        except BaseException as error:
            # What ends the main thread (sys.exit) or a task of an event loop of its own would end the program here.
            raise RuntimeError(f"the function ended with {tool_failure_text(error)}") from error
