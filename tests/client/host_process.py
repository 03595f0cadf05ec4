"""The host process of a provider, from outside."""

from __future__ import annotations

import os
import signal
from typing import Protocol


class HasHost(Protocol):
    """A provider of either kind."""

    @property
    def host_pid(self) -> int | None: ...


def require_host_pid(provider: HasHost) -> int:
    """Return the process id of a provider's host, which must be there."""
    pid = provider.host_pid
    assert pid is not None
    return pid


def end_host(provider: HasHost) -> None:
    """Kill a provider's host and wait until it has ended; its event loop does not run meanwhile."""
    os.waitid(os.P_PID, kill_host(provider), os.WEXITED | os.WNOWAIT)


def kill_host(provider: HasHost) -> int:
    """Kill a provider's host, and return what its process id was."""
    pid = require_host_pid(provider)
    os.kill(pid, signal.SIGKILL)
    return pid
