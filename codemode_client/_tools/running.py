"""Calls a tool's function, on the loop or in a thread, with a timeout."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from codemode_client._loops.threads import Threads
from codemode_protocol.errors import ToolError, tool_failure_text


class Runner:
    """The caller of one function, on any event loop.

    A plain function runs in a thread, which cannot be stopped: if its call is cancelled or times out, the thread
    continues and its result is dropped.

    Args:
        name: The tool's name, for messages.
        function: The function.
        is_async: Whether a call returns an awaitable.
        timeout: Seconds for each call; None for no limit.
        threads: The threads for plain functions.

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
            ToolError: The timeout has passed, or an async function needs another event loop.
            Exception: Any exception of the function.
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
        # A plain function around an async one returns a coroutine; trio rejects that as a mistake unless it is boxed.
        (result,) = await self._threads.run(partial(self._run_in_thread, args, keywords))
        return await result if inspect.isawaitable(result) else result

    def _run_in_thread(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any]:
        try:
            return (self._function(*args, **keywords),)
        except Exception:
            raise
        except BaseException as error:
            # SystemExit, or the cancellation of the function's own event loop, would end the program here.
            raise RuntimeError(f"the function ended with {tool_failure_text(error)}") from error


def _misses_asyncio(error: Exception) -> bool:
    """Return whether an exception comes from asyncio's functions in a trio task."""
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_task():
        return False
    text = str(error)
    return text == "no running event loop" or "trio.run received unrecognized yield message" in text
