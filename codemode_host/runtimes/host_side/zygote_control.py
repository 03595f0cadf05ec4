"""The host's end of the zygote's control socket, and the zygote's process: asked, listened to, killed, reaped."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import trio

from codemode_host.runtimes import link
from codemode_host.runtimes.host_side.spawn import ZygoteProcess
from codemode_host.runtimes.host_side.stderr_lines import Complaints


class ZygoteReport(NamedTuple):
    """A record of the control socket; `link` says what its numbers mean for each kind."""

    kind: int
    serial: int
    a: int
    b: int
    c: int
    d: int


class ZygoteControl:
    """Sends requests to the zygote in their order, without ever waiting, and reaps it at the end."""

    def __init__(self, zygote: ZygoteProcess, start_soon: Callable[..., None]) -> None:
        """Take over the zygote's process and descriptors. `start_soon` starts a task that ends with them."""
        self.pid: int = zygote.pid
        self.stderr: Complaints = Complaints(zygote.stderr)
        """What the zygote and the runtimes wrote to standard error."""
        self._socket = socket.socket(fileno=zygote.control)
        self._socket.setblocking(False)
        self._start_soon = start_soon
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._reaped: int | None = None

    def send(self, kind: int, serial: int, descriptors: list[int] | None = None) -> None:
        """Ask for something to be done with a runtime.

        Args:
            kind: What, one of `link`'s.
            serial: The runtime's number.
            descriptors: What is sent along; closed here once it is sent.
        """
        self._unsent.append((link.CONTROL.pack(kind, serial, 0, 0, 0, 0), descriptors or []))
        if len(self._unsent) == 1 and not self._send_unsent():
            self._start_soon(self._send_rest)

    def _send_unsent(self) -> bool:
        while self._unsent:
            packet, descriptors = self._unsent[0]
            try:
                if descriptors:
                    socket.send_fds(self._socket, [packet], descriptors)
                else:
                    self._socket.send(packet)
            except BlockingIOError:
                return False
            except OSError:
                pass  # the zygote is gone, which `receive` reports
            self._unsent.popleft()
            _close_all(descriptors)
        return True

    async def _send_rest(self) -> None:
        with contextlib.suppress(trio.ClosedResourceError):
            while not self._send_unsent():
                await trio.lowlevel.wait_writable(self._socket)

    async def receive(self) -> list[ZygoteReport] | None:
        """Wait for reports, and return those that have come; None once the zygote is gone."""
        await trio.lowlevel.wait_readable(self._socket)
        reports: list[ZygoteReport] = []
        while True:
            try:
                packet = self._socket.recv(link.CONTROL.size)
            except BlockingIOError:
                return reports
            except ConnectionResetError:
                packet = b""
            if not packet:
                return reports or None
            reports.append(ZygoteReport(*link.CONTROL.unpack(packet)))

    def kill(self) -> int:
        """End the zygote, and with it every runtime that there still is; return its exit status. Does not await."""
        if self._reaped is None:
            # Not reaped yet, so that the number is still its own.
            os.kill(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
            self._reaped = os.waitstatus_to_exitcode(status)
        return self._reaped

    def close(self) -> None:
        """Kill the zygote and close every descriptor."""
        self.kill()
        for _, descriptors in self._unsent:
            _close_all(descriptors)
        self._unsent.clear()
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        self.stderr.close()


def _close_all(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)
