"""PythonMonkey's own promise jobs, for when the engine's queue cannot be had.

PythonMonkey hands every promise job to the running asyncio loop. This loop does nothing but keep the jobs in
the order in which they come, which is the order that the language asks for.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# References to a job in `run`: the list, the variable and the argument of getrefcount.
_OWN_REFERENCES = 3


class JobLoop(asyncio.AbstractEventLoop):
    """The least that PythonMonkey takes for a running event loop."""

    # PythonMonkey looks for an exception handler and finds that there is one; nothing ever calls it.
    _exception_handler = True

    def __init__(self) -> None:
        self._jobs: list[Callable[[], object]] = []

    def call_soon_threadsafe(self, callback: Callable[..., object], *_: Any, **__: Any) -> Any:  # type: ignore[override]
        """Queue a job. The only method that PythonMonkey calls for a promise."""
        self._jobs.append(callback)

    def run(self) -> None:
        """Run jobs until there are none."""
        while self._jobs:
            jobs, self._jobs = self._jobs, []
            for job in jobs:
                job()
                # PythonMonkey 1.4.1 keeps a reference to each job for ever, and the awaited value with it.
                if sys.getrefcount(job) > _OWN_REFERENCES:
                    ctypes.pythonapi.Py_DecRef(ctypes.py_object(job))


def install() -> JobLoop:
    """Make a loop the running one of this thread and of its forked children, for as long as they live."""
    loop = JobLoop()  # type: ignore[abstract]
    asyncio._set_running_loop(loop)
    # asyncio takes a loop for running only in the process where it was set.
    os.register_at_fork(after_in_child=lambda: asyncio._set_running_loop(loop))
    return loop
