"""How a tool's function is called: awaited on the loop or run in a thread, in limited time."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from codemode_client._loops.threads import Threads
from codemode_protocol.errors import ToolError, tool_failure_text


class Runner:
    """Calls one function, on every event loop.

    A plain function runs in a thread, which cannot be stopped: when its call is cancelled or runs out of time, the
    thread goes on, and what it returns is dropped.

    Args:
        name: The tool's name, for messages.
        function: What to call.
        is_async: Calling it gives something to await.
        timeout: Seconds for each call; None for as long as it takes.
        threads: Where plain functions run.

    Raises:
        ValueError: The timeout is not more than 0.
    """

    def __init__(
        self, name: str, function: Callable[..., Any], is_async: bool, timeout: float | None, threads: Threads
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise ValueError(f"the timeout of {name} must be more than 0 seconds, not {timeout}")
        self._name = name
        self._function = function
        self._is_async = is_async
        self._timeout = timeout
        self._threads = threads

    async def call(self, *args: Any, **keywords: Any) -> Any:
        """Call the function and return its result.

        Raises:
            ToolError: The time is over, or an async function needs another event loop than runs here.
            Exception: Whatever the function raises.
        """
        if self._timeout is None:
            return await self._call(args, keywords)
        import anyio

        result = None
        with anyio.move_on_after(self._timeout) as scope:
            result = await self._call(args, keywords)
        if scope.cancelled_caught:
            raise ToolError(f"{self._name} took longer than {self._timeout:g} s and was given up")
        return result

    async def _call(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if self._is_async:
            try:
                return await self._function(*args, **keywords)
            except (RuntimeError, TypeError) as error:
                if _misses_asyncio(error):
                    raise ToolError(
                        f"{self._name} uses asyncio, and this program runs on trio: run it with asyncio.run, or write "
                        "the tool with trio or anyio"
                    ) from error
                raise
        # A plain function around an async one gives something to wait for; trio takes that for a mistake, unless boxed.
        (result,) = await self._threads.run(partial(self._run_in_thread, args, keywords))
        return await result if inspect.isawaitable(result) else result

    def _run_in_thread(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any]:
        try:
            return (self._function(*args, **keywords),)
        except Exception:
            raise
        except BaseException as error:
            # What ends the main thread (sys.exit) or a task of an event loop of its own would end the program here.
            raise RuntimeError(f"the function ended with {tool_failure_text(error)}") from error


def _misses_asyncio(error: Exception) -> bool:
    """Return whether an exception comes of asyncio's functions in a task of trio's."""
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_task():
        return False
    text = str(error)
    return text == "no running event loop" or "trio.run received unrecognized yield message" in text
