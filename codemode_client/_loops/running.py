"""Find the running event loop."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codemode_client._loops.interface import Loop


def running_loop() -> Loop:
    """Return a `Loop` for the event loop that runs the caller: trio's, or else asyncio's.

    Raises:
        RuntimeError: No event loop runs here.
    """
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():  # first: in guest mode, asyncio runs here as well
        from codemode_client._loops.on_trio import TrioLoop

        return TrioLoop()
    from codemode_client._loops.on_asyncio import AsyncioLoop

    return AsyncioLoop()
