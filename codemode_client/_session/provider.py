"""The provider of sessions: it owns at most one host process, started on demand and again after it was lost."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from codemode_client._loops.interface import Loop, protect_from_interrupt
from codemode_client._loops.running import running_loop
from codemode_client._observability import events
from codemode_client._session.driver import Driver
from codemode_client._session.options import ProviderOptions
from codemode_client.counters import Counters, Tally
from codemode_protocol.errors import HostError, HostUnavailableError, ProviderClosedError

if TYPE_CHECKING:
    from codemode_client._observability.telemetry import Tracing
    from codemode_client._session.session import Session
    from codemode_protocol.session import Delegate


class CodeModeProvider(ProviderOptions):
    """Opens sessions on its own host process, on asyncio and on trio.

    An async context manager that must be entered. It and its sessions may only be used on the event loop that it is
    entered on. Leaving it stops the host and waits for it, even when cancelled.

    The parameters are those of `ProviderOptions`.

    Raises:
        ValueError: `command` is not a list.
        ImportError: `tracer_provider` needs the extra `otel`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tally: Tally = Tally()
        self.tracing: Tracing | None = _tracing(self)
        self.closed: bool = False
        """Closing has begun."""
        self._loop: Loop | None = None
        self._driver: Driver | None = None
        self._retired: list[Driver] = []
        """Drivers of lost hosts whose delegate calls may still be ending."""
        self._numbers = itertools.count(1)
        self._failures = 0
        self._last_failure: HostError | None = None
        self._start_after = float("-inf")

    @property
    def counters(self) -> Counters:
        """A snapshot of the counters. Any thread may read it at any time, also after the end."""
        return self.tally.snapshot()

    @property
    def host_pid(self) -> int | None:
        """The host's process id; None while no host is running."""
        return self._driver.running_pid if self._driver is not None else None

    @property
    def open_count(self) -> int:
        """The number of sessions, requests and tool calls open on the host."""
        return self._driver.open_count if self._driver is not None else 0

    @property
    def loop(self) -> Loop:
        """The event loop that the provider was entered on. Raises RuntimeError if it was not entered."""
        if self._loop is None:
            raise RuntimeError(
                "use the provider as an async context manager: `async with CodeModeProvider() as provider`"
            )
        return self._loop

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise RuntimeError("a provider is entered only once")
        self._loop = running_loop()
        await self._loop.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        await self.loop.shield(self.aclose)
        return await self.loop.leave(kind, error, traceback)

    async def open_session(self, delegate: Delegate, session_id: str | None = None) -> Session:
        """Open a session. Its delegate is called in a copy of this call's context.

        Args:
            delegate: A `Toolbox`, or any `Delegate`.
            session_id: The session's name in errors and logs; by default `session-1` and so on.

        Raises:
            HostStartError: No host could be started.
            HostLostError: The host was lost before it answered.
            RequestFailedError: The host refuses the session.
            ProviderClosedError: The provider is closed.
            ValueError: `session_id` is blank.
        """
        if session_id is not None and not session_id.strip():
            raise ValueError("a session id must not be blank")
        if self.closed:
            raise ProviderClosedError
        self.loop.check()
        if self._driver is None:
            self._start()
        from codemode_client._session.session import Session  # imported while the host starts

        session = Session(self, session_id if session_id is not None else f"session-{next(self._numbers)}", delegate)
        await session.open()
        return session

    @asynccontextmanager
    async def session(self, delegate: Delegate, session_id: str | None = None) -> AsyncIterator[Session]:
        """Open a session for the block, as `open_session` does, and shut it down at the end."""
        async with await self.open_session(delegate, session_id) as session:
            yield session

    @protect_from_interrupt
    async def aclose(self) -> None:
        """End every session and the host, and wait until all of their tasks and processes are gone.

        Calls under way fail with `SessionClosedError`. May be called repeatedly and concurrently; it continues when its
        callers are cancelled.
        """
        self.closed = True
        if self._loop is None:
            return
        drivers = [*self._retired]
        if self._driver is not None:
            self._driver.close()
            drivers.append(self._driver)
        await self._loop.checkpoint()
        for driver in drivers:
            await driver.finished.get()

    async def host_gone(self) -> None:
        """Wait until the host process is gone, without waiting for delegate calls as `aclose` does."""
        if self._driver is not None:
            await self._driver.gone.get()

    async def connect(self) -> Driver:
        """Return a usable host, starting one if necessary. For sessions."""
        while True:
            if self.closed:
                raise ProviderClosedError
            driver = self._driver
            if driver is None:
                self._start()
            elif driver.usable:
                return driver
            elif not driver.lost:
                await driver.ready.get()
            elif not driver.gone.done:
                await driver.gone.get()
            else:
                self._retire(driver)

    def _start(self) -> None:
        if self._failures >= self.start_attempts:
            last = self._last_failure
            assert last is not None
            raise HostUnavailableError(
                f"the host failed to start {self._failures} times in a row and is not started again; "
                f"the last time: {last}"
            ) from last
        self._driver = driver = Driver(self, self.loop, self.tally, self._start_after)
        driver.start()
        self.loop.start(driver.run)

    def _retire(self, driver: Driver) -> None:
        """Drop a host that is gone; if it never worked, delay the next start."""
        self._driver = None
        self._retired = [one for one in [*self._retired, driver] if not one.finished.done]
        if driver.proved:
            self._failures = 0
            return
        error = driver.error()
        assert isinstance(error, HostError)
        self._failures += 1
        self._last_failure = error
        backoff = min(self.first_backoff * 2 ** (self._failures - 1), self.max_backoff)
        self._start_after = driver.gone_at + backoff
        events.start_failed(self._failures, self.start_attempts, backoff)


def _tracing(options: ProviderOptions) -> Tracing | None:
    if options.tracer_provider is None:
        return None
    try:
        from codemode_client._observability.telemetry import Tracing
    except ModuleNotFoundError as error:
        raise ImportError(
            f"spans need OpenTelemetry ({error}): pip install 'codemode-host[otel]'", name=error.name
        ) from error
    return Tracing(options.tracer_provider)
