"""Where sessions come from: at most one host process, started when it is first needed and again after it was lost."""

from __future__ import annotations

import itertools
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

import trio

from codemode_client._observability.observer import Observer
from codemode_client._process.child import HostOptions
from codemode_client._session.driver import Driver
from codemode_client._session.session import Session
from codemode_client.counters import Counters
from codemode_protocol.errors import HostError, HostUnavailableError, ProviderClosedError
from codemode_protocol.framing import MAX_PAYLOAD_BYTES
from codemode_protocol.session import Delegate

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

START_ATTEMPTS = 5
"""After so many hosts in a row that did not come to answer a request, no other is started."""

FIRST_BACKOFF_SECONDS = 0.1
"""How long the start after a failed one is put off; doubled for each further one, up to `MAX_BACKOFF_SECONDS`."""

MAX_BACKOFF_SECONDS = 5.0


class CodeModeProvider:
    """Opens sessions on a host process of its own.

    `command` is the host program and its arguments: a path, `["ssh", "box", "codemode-host"]`, `["docker",
    "run", "-i", …]`; by default this environment's own host. `env` and `cwd` are the process's. Times are
    seconds: `handshake_timeout` for the host to answer at all, `shutdown_timeout` for it to close a
    session, `close_timeout` for it to end once its input is closed, before it is made to. `max_frame_bytes`
    bounds the payload of a frame, both ways. With a `tracer_provider` of OpenTelemetry's (the extra `otel`)
    executes, waits and tool calls have spans; None, and nothing of it is even imported.

    An async context manager, and it must be entered: its tasks live in it. Leaving it ends the host and
    waits for it, even when cancelled. Only one trio run may use it.
    """

    def __init__(
        self,
        command: Sequence[str] | None = None,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        handshake_timeout: float = 10.0,
        shutdown_timeout: float = 10.0,
        close_timeout: float = 2.0,
        start_attempts: int = START_ATTEMPTS,
        first_backoff: float = FIRST_BACKOFF_SECONDS,
        max_backoff: float = MAX_BACKOFF_SECONDS,
        max_frame_bytes: int = MAX_PAYLOAD_BYTES,
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        if command is not None and (isinstance(command, str) or not command):
            raise ValueError("command is a list: the program, then its arguments")
        self._options = HostOptions(
            command=tuple(command) if command is not None else (sys.executable, "-m", "codemode_host"),
            env=env,
            cwd=cwd,
            handshake_timeout=handshake_timeout,
            shutdown_timeout=shutdown_timeout,
            close_timeout=close_timeout,
            max_payload=max_frame_bytes,
        )
        self.observer = Observer(tracer_provider)
        """Who is told what happens. For sessions and hosts."""
        self._start_attempts = start_attempts
        self._first_backoff = first_backoff
        self._max_backoff = max_backoff
        self._driver: Driver | None = None
        self._retired: list[Driver] = []
        """Lost ones whose delegates' calls may still be ending."""
        self._numbers = itertools.count(1)
        self._failures = 0
        self._last_failure: HostError | None = None
        self._start_after = float("-inf")
        self._nursery_manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None
        self.closed = False
        """Closing has begun: nothing new is started."""

    @property
    def counters(self) -> Counters:
        """How often things have happened so far. May be read at any time, by any thread, and after the end."""
        return self.observer.tally.snapshot()

    async def __aenter__(self) -> Self:
        if self._nursery_manager is not None:
            raise RuntimeError("a provider is entered only once")
        self._nursery_manager = trio.open_nursery()
        self._nursery = await self._nursery_manager.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._nursery_manager is not None
        with trio.CancelScope(shield=True):
            await self.aclose()
        # The caller's own exception passes by the nursery, which would wrap it in a group. A cancellation may be the
        # nursery's own, for a task that crashed, so it goes to the nursery.
        if isinstance(error, trio.Cancelled) or (
            isinstance(error, BaseExceptionGroup) and error.subgroup(trio.Cancelled) is not None
        ):
            return await self._nursery_manager.__aexit__(kind, error, traceback)
        await self._nursery_manager.__aexit__(None, None, None)
        return None

    async def open_session(self, delegate: Delegate, session_id: str | None = None) -> Session:
        """Open a session whose cells reach `delegate`. `session_id` names it in errors; by default it is a number's.

        Raises `HostStartError`, `HostLostError`, `ProviderClosedError`; `RequestFailedError` when the host
        refuses it.
        """
        if session_id is not None and not session_id.strip():
            raise ValueError("a session id must not be blank")
        session = Session(self, session_id if session_id is not None else f"session-{next(self._numbers)}", delegate)
        await session.open()
        return session

    @asynccontextmanager
    async def session(self, delegate: Delegate, session_id: str | None = None) -> AsyncIterator[Session]:
        """A session that is shut down at the end of the block."""
        async with await self.open_session(delegate, session_id) as session:
            yield session

    @trio.lowlevel.enable_ki_protection
    async def aclose(self) -> None:
        """End the host, and with it every session; returns when nothing of them is left.

        Calls under way fail with `SessionClosedError`. May be called again and by many; it goes on when its
        callers are cancelled.
        """
        self.closed = True
        drivers = [*self._retired]
        if self._driver is not None:
            self._driver.close()
            drivers.append(self._driver)
        await trio.lowlevel.checkpoint()
        for driver in drivers:
            await driver.finished.wait()

    async def connect(self) -> Driver:
        """The one host, started if there is none. For sessions. When it returns, the host can be used at once."""
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
            elif not driver.gone.is_set():
                await driver.gone.wait()
            else:
                self._retire(driver)

    def _start(self) -> None:
        if self._nursery is None:
            raise RuntimeError(
                "use the provider as an async context manager: `async with CodeModeProvider() as provider`"
            )
        if self._failures >= self._start_attempts:
            last = self._last_failure
            assert last is not None
            raise HostUnavailableError(
                f"the host failed to start {self._failures} times in a row and is not started again; "
                f"the last time: {last}"
            ) from last
        driver = self._driver = Driver(self._options, self._start_after, self.observer)
        self._nursery.start_soon(driver.run)

    def _retire(self, driver: Driver) -> None:
        """The host is gone for good: count how it did, and let another take its place."""
        self._driver = None
        self._retired = [one for one in [*self._retired, driver] if not one.finished.is_set()]
        if driver.proved:
            self._failures = 0
            return
        error = driver.error()
        assert isinstance(error, HostError)
        self._failures += 1
        self._last_failure = error
        backoff = min(self._first_backoff * 2 ** (self._failures - 1), self._max_backoff)
        self._start_after = driver.gone_at + backoff
        self.observer.start_failed(self._failures, self._start_attempts, backoff)
