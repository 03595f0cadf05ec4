"""Where sessions come from: at most one host process, started when it is first needed and again after it was lost."""

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
    """Opens sessions on a host process of its own, on asyncio and on trio.

    An async context manager, and it must be entered: it runs on the event loop that it is entered on, which alone may
    use it and all that comes from it. Leaving it ends the host and waits for it, even when cancelled.

    Its parameters are those of `ProviderOptions`.

    Raises:
        ValueError: `command` is not a list.
        ImportError: `tracer_provider` needs the extra `otel`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tally: Tally = Tally()
        self.tracing: Tracing | None = _tracing(self)
        self.closed: bool = False
        """Closing has begun: nothing new is started."""
        self._loop: Loop | None = None
        self._driver: Driver | None = None
        self._retired: list[Driver] = []
        """Of lost hosts, whose delegates' calls may still be ending."""
        self._numbers = itertools.count(1)
        self._failures = 0
        self._last_failure: HostError | None = None
        self._start_after = float("-inf")

    @property
    def counters(self) -> Counters:
        """How often things have happened so far. May be read at any time, by any thread, and after the end."""
        return self.tally.snapshot()

    @property
    def host_pid(self) -> int | None:
        """The id of the host process; None while there is none that is used."""
        return self._driver.running_pid if self._driver is not None else None

    @property
    def open_count(self) -> int:
        """How many sessions, requests and tool calls are open on the host."""
        return self._driver.open_count if self._driver is not None else 0

    @property
    def loop(self) -> Loop:
        """The event loop that the provider was entered on.

        Raises:
            RuntimeError: It was not entered.
        """
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
        """Open a session whose cells reach `delegate`, in the context of this call.

        Args:
            delegate: A `Toolbox`, or anything with the same three methods.
            session_id: Its name in errors and logs; by default it is a number's.

        Raises:
            HostStartError: No host could be started.
            HostLostError: The host was lost before it answered.
            RequestFailedError: The host refuses the session.
            ProviderClosedError: The provider is closed.
        """
        if session_id is not None and not session_id.strip():
            raise ValueError("a session id must not be blank")
        if self.closed:
            raise ProviderClosedError
        self.loop.check()
        if self._driver is None:
            self._start()
        from codemode_client._session.session import Session  # while the host starts

        session = Session(self, session_id if session_id is not None else f"session-{next(self._numbers)}", delegate)
        await session.open()
        return session

    @asynccontextmanager
    async def session(self, delegate: Delegate, session_id: str | None = None) -> AsyncIterator[Session]:
        """Open a session that is shut down at the end of the block; see `open_session`."""
        async with await self.open_session(delegate, session_id) as session:
            yield session

    @protect_from_interrupt
    async def aclose(self) -> None:
        """End the host, and with it every session; returns when nothing of them is left.

        Calls under way fail with `SessionClosedError`. May be called again and by many; it goes on when its callers are
        cancelled.
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
        """Wait until there is no host process. Closing waits for the delegates' calls, too."""
        if self._driver is not None:
            await self._driver.gone.get()

    async def connect(self) -> Driver:
        """Return the host, started if there is none. For sessions; when it returns, the host can be used at once."""
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
        """Count how a host did that is gone for good, and let another take its place."""
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
