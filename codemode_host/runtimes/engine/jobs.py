"""A queue for PythonMonkey's promise jobs, if the engine's own queue is not available.

PythonMonkey passes every promise job to the running asyncio loop. This loop only keeps the jobs in order of arrival,
which is the order that the language requires.
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
    """The minimal event loop that PythonMonkey accepts."""

    # PythonMonkey checks that there is an exception handler; it is never called.
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
                # PythonMonkey 1.4.1 leaks a reference to each job and so its awaited value.
                if sys.getrefcount(job) > _OWN_REFERENCES:
                    ctypes.pythonapi.Py_DecRef(ctypes.py_object(job))


def install() -> JobLoop:
    """Make a loop the running one of this thread and of its forked children, permanently."""
    loop = JobLoop()  # type: ignore[abstract]
    asyncio._set_running_loop(loop)
    # asyncio considers a loop running only in the process where it was set.
    os.register_at_fork(after_in_child=lambda: asyncio._set_running_loop(loop))
    return loop
