"""Calls a tool's function, on the loop or in a thread, with a timeout."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import Struct

from codemode_client._loops.threads import Threads
from codemode_protocol.errors import ToolError, tool_failure_text


class Runner(Struct, frozen=True, eq=False):
    """The caller of one function, on any event loop.

    A plain function runs in a thread, which cannot be stopped: if its call is cancelled or times out, the thread
    continues and its result is dropped. `timeout` is in seconds, None for no limit.

    Raises:
        ValueError: The timeout is not more than 0.
    """

    name: str
    function: Callable[..., Any]
    is_async: bool
    """A call returns an awaitable."""
    timeout: float | None
    threads: Threads

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"the timeout of {self.name} must be more than 0 seconds, not {self.timeout}")

    async def call(self, *args: Any, **keywords: Any) -> Any:
        """Call the function and return its result.

        Raises:
            ToolError: The timeout has passed, or an async function needs another event loop.
            Exception: Any exception of the function.
        """
        if self.timeout is None:
            return await self._call(args, keywords)
        import anyio

        result = None
        with anyio.move_on_after(self.timeout) as scope:
            result = await self._call(args, keywords)
        if scope.cancelled_caught:
            raise ToolError(f"{self.name} took longer than {self.timeout:g} s and was given up")
        return result

    async def _call(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if self.is_async:
            try:
                return await self.function(*args, **keywords)
            except (RuntimeError, TypeError) as error:
                if _misses_asyncio(error):
                    raise ToolError(
                        f"{self.name} uses asyncio, and this program runs on trio: run it with asyncio.run, or write "
                        "the tool with trio or anyio"
                    ) from error
                raise
        # A plain function around an async one returns a coroutine; trio rejects that as a mistake unless it is boxed.
        (result,) = await self.threads.run(partial(self._run_in_thread, args, keywords))
        return await result if inspect.isawaitable(result) else result

    def _run_in_thread(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any]:
        try:
            return (self.function(*args, **keywords),)
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
