"""The pool that new cells take their runtimes from, and those before it whose cells still run.

A pool is replaced after an engine panic: the cells to come are forked from another zygote, with other addresses and
other secrets than those that a script may just have probed.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from codemode_host.runtimes.host_side.runtimes import RuntimePool
from codemode_host.runtimes.host_side.spawn import ZygoteOptions, ZygoteProcess, spawn_zygote
from codemode_protocol.limits import Limits


class Pools:
    """Starts pools, and ends those that are of no use any more.

    Args:
        options: What zygotes are told.
        limits: Of them, what pools need.
        on_failure: Called when the zygote of a pool has ended without being asked to, with what happened and whether
            it never came to be ready.
    """

    def __init__(self, options: ZygoteOptions, limits: Limits, on_failure: Callable[[str, bool], None]) -> None:
        self._options = options
        self._limits = limits
        self._on_failure = on_failure
        self._pools: list[RuntimePool] = []

    def start(self, nursery: trio.Nursery, zygote: ZygoteProcess | None = None) -> RuntimePool:
        """Start a pool for the cells to come. The one before it ends with the last of its cells.

        Args:
            nursery: Where its tasks run.
            zygote: One that has been spawned already.

        Raises:
            OSError: No process can be started.
            ModuleNotFoundError: The engine is not installed.
        """
        zygote = zygote or spawn_zygote(self._options)
        for pool in list(self._pools):
            pool.retire()
        pool = RuntimePool(
            zygote,
            nursery,
            spares=self._limits.spare_runtimes,
            on_failure=self._on_failure,
            memory_limit=self._limits.memory_bytes,
        )
        self._pools.append(pool)
        nursery.start_soon(self._serve, pool)
        pool.replenish()
        return pool

    async def _serve(self, pool: RuntimePool) -> None:
        try:
            await pool.serve()
        finally:
            pool.close()
            self._pools.remove(pool)

    def kill(self) -> None:
        """End every runtime, with its zygote. Does not await."""
        for pool in self._pools:
            pool.kill_zygote()

    async def aclose(self) -> None:
        """End every runtime and every zygote, and reap them."""
        for pool in self._pools:
            pool.kill_runtimes()
        for pool in list(self._pools):
            await pool.aclose()
