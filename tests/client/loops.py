"""What tests of the client's parts need of the event loop that they run on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from codemode_client._loops.interface import Loop
from codemode_client._loops.running import running_loop


@asynccontextmanager
async def enter_loop() -> AsyncIterator[Loop]:
    """The running loop as a provider uses it, for the block."""
    loop = running_loop()
    await loop.enter()
    try:
        yield loop
    except BaseException as error:
        await loop.leave(type(error), error, error.__traceback__)
        raise
    await loop.leave(None, None, None)


async def run_turns(loop: Loop, turns: int = 5) -> None:
    """Let the loop run what it has."""
    for _ in range(turns):
        await loop.checkpoint()
