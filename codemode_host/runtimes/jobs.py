"""PythonMonkey's own promise jobs, for when the engine's queue cannot be had.

PythonMonkey hands every promise job to the running asyncio loop. This loop does nothing but keep the jobs in the order in
which they come, which is the order that the language asks for.
"""

from __future__ import annotations

import asyncio
import ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class JobLoop(asyncio.AbstractEventLoop):
    """The least that PythonMonkey takes for a running event loop."""

    # PythonMonkey wants to see that errors of jobs have somebody to go to; nothing ever calls it.
    _exception_handler = True

    def __init__(self) -> None:
        self._jobs: list[Callable[[], object]] = []

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any, **_: Any) -> Any:  # noqa: ARG002
        """Queue a job. PythonMonkey calls this, and leaves the loop a wrapper around the job's function to call.

        The wrapper stays referenced for ever, and the value that was awaited with it: call the function itself, and drop the
        reference that the wrapper leaked.
        """
        self._jobs.append(callback)

    def run(self) -> None:
        """Run jobs until there are none."""
        while self._jobs:
            jobs, self._jobs = self._jobs, []
            for job in jobs:
                job()


def install() -> JobLoop:
    """Make a loop the running one of this thread, for as long as the process lives."""
    loop = JobLoop()
    asyncio._set_running_loop(loop)
    return loop


def _release(reference: object) -> None:
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(reference))
