"""A host: one client, the runtimes of its cells, and what stops it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import trio

from codemode_host.cells.owner import SessionOwner
from codemode_host.cells.session import CellSession
from codemode_host.options import Options, zygote_options
from codemode_host.runtimes.host_side.pools import Pools
from codemode_host.runtimes.host_side.runtimes import RuntimePool
from codemode_host.runtimes.host_side.spawn import ZygoteProcess
from codemode_host.serving.client import Channel, Client
from codemode_host.supervision import HostFailure, HostStopped, Panics
from codemode_protocol.connection import HostConnection
from codemode_protocol.exit_status import HostExitStatus

if TYPE_CHECKING:
    from codemode_host.control.socket import ControlSocket

logger: logging.Logger = logging.getLogger("codemode_host")

ON, OFF = "on", "off"
"""The control socket is where the environment says, or nowhere."""


class Host(SessionOwner):
    """Serves one client until the end of its input, or until something has to stop it.

    Its policy for failures: it stops. `failure` is the first of them.
    """

    pool: RuntimePool
    nursery: trio.Nursery

    def __init__(self, connection: HostConnection, zygote: ZygoteProcess, channel: Channel, options: Options) -> None:
        """Serve the client of `channel` with runtimes forked from `zygote`."""
        super().__init__(options.limits)
        self.client: Client = Client(connection, channel, self)
        self.failure: HostFailure | None = None
        self.started_ns: int = time.perf_counter_ns()
        self._zygote = zygote
        self._channel = channel
        self._on_panic = options.on_panic
        self._panics = Panics()
        self._pools = Pools(zygote_options(options, zygote.group), options.limits, self._zygote_failed)
        self._engines: trio.Nursery
        self._control = options.control
        self._control_socket: ControlSocket | None = None

    @property
    def sessions(self) -> Mapping[str, CellSession]:
        """The open ones."""
        return self.client.sessions

    def flush(self) -> None:
        """Write what was said to the client: that is all for now."""
        self.client.flush()

    async def serve(self) -> None:
        """Serve until the end of input. Raises HostStopped or RemoteProtocolError, each in a group."""
        async with trio.open_nursery() as engines:
            self._engines = engines
            self._start_pool(self._zygote)
            try:
                # The cells' tasks end before their runtimes do: a runtime that is killed at the end is no panic.
                async with trio.open_nursery() as self.nursery:
                    self.nursery.start_soon(self._channel.watch)
                    if self._control != OFF:
                        self.nursery.start_soon(self._listen)
                    await self.client.serve()
                    self.nursery.cancel_scope.cancel()
            finally:
                with contextlib.suppress(HostStopped):
                    self._channel.write_now()  # what was said before the end, as far as the client takes it
                await self._pools.aclose()
                engines.cancel_scope.cancel()

    def _start_pool(self, zygote: ZygoteProcess | None = None) -> None:
        try:
            self.pool = self._pools.start(self._engines, zygote)
        except (OSError, ModuleNotFoundError) as error:
            cause = f"no zygote could be started after an engine panic: {error}"
            self.failure = HostFailure(HostExitStatus.ENGINE_PANIC, "engine panic", cause)
            raise HostStopped(self.failure) from error

    async def _listen(self) -> None:
        """Have a control socket, from the time on at which there may be cells.

        So its descriptors are there before the first cell, and do not look like a leak of that cell's.
        """
        from codemode_host.control.socket import ControlSocket  # while the engine is being loaded

        await self.pool.ready.wait()
        self._control_socket = ControlSocket(self, None if self._control == ON else self._control)
        await self._control_socket.serve()

    def leave(self) -> None:
        """Leave nothing behind on the file system; the last step."""
        if self._control_socket is not None:
            self._control_socket.remove()

    # ------------------------------------------------------------------------------------------------------ failures

    def failed(self, failure: HostFailure) -> None:
        """Stop; the first failure is the one that is reported. With `--on-panic cell`, only after several panics."""
        if failure.status is HostExitStatus.ENGINE_PANIC and self._on_panic == "cell":
            if not self._panics.are_too_many(trio.current_time()):
                logger.error("%s\n  the host goes on, and new cells get a fresh zygote", failure.report())
                self._start_pool()
                return
            failure = self._panics.count_in(failure)
        self.failure = self.failure or failure
        raise HostStopped(self.failure)

    def _zygote_failed(self, cause: str, refused: bool) -> None:
        evidence = self.pool.stderr.tail()
        if refused:
            self.failed(HostFailure(HostExitStatus.REFUSED, "refused to start", "; ".join(evidence) or cause))
        self.failed(HostFailure(HostExitStatus.ENGINE_PANIC, "engine panic", cause, evidence=evidence))
