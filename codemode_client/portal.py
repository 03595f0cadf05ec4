"""What the asyncio and the blocking callers share: a provider on trio, in a background thread of its own.

A thread serves both, needs nothing from the caller's loop but `call_soon_threadsafe`, and ends its host in order
whatever becomes of the caller. Trio's guest mode on the caller's asyncio loop was measured beside it: as fast
within the noise (a warm execute and 1,000 nested calls), but it serves asyncio alone, stops with the caller's
loop, and leaves the host behind when that loop is closed too early.

How an answer changes hands: a `Call` belongs to its caller until that caller disowns it. Whichever of the two
comes second, the end or the disowning, finds the other under the lock, and then the answer goes back to the
native session on trio's thread: what was read for nobody is kept for the next wait, a cell that nobody has is
terminated, a session that nobody has is shut down. Callers wait for the end of what they disowned, which is at
once, so that what they do next comes after it.
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import itertools
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from codemode_client._process.child import KILL_SECONDS, TERMINATE_SECONDS
from codemode_client._session.cells import CellRecord, HostStartedCell, Observation, parse_cell_id
from codemode_client._session.provider import FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, START_ATTEMPTS
from codemode_client._session.provider import CodeModeProvider as NativeProvider
from codemode_client._session.session import Session as NativeSession
from codemode_client.counters import Counters
from codemode_protocol.errors import CodeModeError, ProviderClosedError
from codemode_protocol.framing import MAX_PAYLOAD_BYTES
from codemode_protocol.values import MissingCell, Outcome, RuntimeResponse

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

T = TypeVar("T")

_numbers = itertools.count(1)


class Mailbox:
    """Functions to be called on another thread's loop, in the order of posting; many are brought by one wake-up.

    `wake` gets `drain` to that loop, from any thread. Nothing that is posted may raise.
    """

    def __init__(self, wake: Callable[[Callable[[], None]], object]) -> None:
        self._wake = wake
        self._functions: deque[Callable[[], object]] = deque()
        self._woken = False

    def post(self, function: Callable[[], object]) -> None:
        self._functions.append(function)
        # Read after appending, and reset before draining: a function that sees it set is seen by that drain.
        if not self._woken:
            self._woken = True
            self._wake(self.drain)

    def drain(self) -> None:
        self._woken = False
        while self._functions:
            self._functions.popleft()()


class Call(Generic[T]):
    """An async function to run on the portal's loop for a caller in another thread, in a copy of its context.

    `notify` is called once when it has ended, on whichever thread that happens. `closed` makes the error of a
    call that comes after the portal's end. `give_back` is called on trio's thread with a result that its caller
    could not take.
    """

    __slots__ = (
        "_closed",
        "_context",
        "_disowned",
        "_ended",
        "_error",
        "_function",
        "_give_back",
        "_notify",
        "_portal",
        "_scope",
        "_value",
    )

    def __init__(
        self,
        portal: Portal,
        function: Callable[[], Awaitable[T]],
        notify: Callable[[], object],
        closed: Callable[[], CodeModeError],
        give_back: Callable[[T], object] | None = None,
    ) -> None:
        self._portal = portal
        self._function = function
        self._notify = notify
        self._closed = closed
        self._give_back = give_back
        self._context = contextvars.copy_context()
        self._scope: trio.CancelScope | None = None
        self._value: list[T] = []
        self._error: Exception | None = None
        self._disowned = False
        self._ended = False

    # for the caller, on its thread

    def result(self) -> T:
        """What the call ended with; for after `notify`."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # its traceback leads to this frame
        return self._value[0]

    def disown(self) -> bool:
        """The caller goes away. The call is cancelled, and a result that it has or still gets is given back.

        True if the end, and with it `notify`, is still to come.
        """
        with self._portal.lock:
            self._disowned = True
            ended = self._ended
        self._portal.post(self._return if ended else self._cancel)
        return not ended

    # on trio's thread

    def start(self, nursery: trio.Nursery | None) -> None:
        if nursery is None:
            self._error = self._closed()
            self._end()
        else:
            self._context.run(nursery.start_soon, self._run)

    async def _run(self) -> None:
        if self._disowned:
            self._end()
            return
        self._scope = trio.CancelScope()
        try:
            with self._scope:
                self._value.append(await self._function())
        except Exception as error:  # noqa: BLE001 - it is the caller's
            self._error = error
        finally:
            if not self._value and self._error is None:
                self._error = self._closed()  # cancelled: nobody asks why, unless the provider itself broke
            self._end()

    def _cancel(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def _end(self) -> None:
        with self._portal.lock:
            self._ended = True
            disowned = self._disowned
        if disowned:
            self._return()
        self._notify()

    def _return(self) -> None:
        if self._value and self._give_back is not None:
            self._give_back(self._value[0])


class Portal:
    """One native provider and the thread that it runs in. `over` is called as the last thing on that thread."""

    def __init__(self, provider: NativeProvider, over: Callable[[], object]) -> None:
        self.provider = provider
        self.lock = threading.Lock()
        """For a few assignments at a time; never held while anything waits."""
        self.failure: BaseException | None = None
        """What the thread broke with, if it did."""
        self._over = over
        self._ended = False
        self._mailbox = Mailbox(self._wake)
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery | None = None
        self._stopping = trio.Event()
        self._host_gone = threading.Event()
        self._process = os.getpid()
        # A daemon: the interpreter must not wait for a program's end before it runs `_at_exit`, nor for a tool after.
        self._thread = threading.Thread(target=self._live, name=f"codemode-provider-{next(_numbers)}", daemon=True)
        self._thread.start()
        atexit.register(self._at_exit)

    # from any thread

    def check(self) -> None:
        """Raises RuntimeError where calls cannot be made from: the portal's own thread, and a fork of the process."""
        if threading.get_ident() == self._thread.ident:
            raise RuntimeError(
                "a call from the provider's own loop would wait for itself: make the tool a plain function, which "
                "runs in a worker thread"
            )
        if os.getpid() != self._process:
            raise RuntimeError(
                f"the provider belongs to process {self._process}, of which this is a fork: make one in each process"
            )

    def submit(self, call: Call[T]) -> None:
        """Start a call."""
        self.post(lambda: call.start(self._nursery))

    def post(self, function: Callable[[], object]) -> None:
        """Call a function on trio's thread; after the end, here."""
        with self.lock:
            if not self._ended:
                self._mailbox.post(function)
                return
        function()

    def start_soon(self, function: Callable[[], Awaitable[object]]) -> None:
        """On trio's thread: run something that nobody waits for; what it fails with is of no interest."""

        async def run() -> None:
            with contextlib.suppress(CodeModeError):
                await function()

        if self._nursery is not None:
            self._nursery.start_soon(run)

    def stop(self) -> None:
        """Close the provider, let its calls end, and end the thread. Does not wait."""
        self.post(self._stopping.set)

    def join(self) -> None:
        """Wait for the thread's end, and raise what it broke with."""
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _at_exit(self) -> None:
        """The interpreter ends and nobody has left the provider: end its host, and leave tools where they are."""
        if os.getpid() == self._process:
            self.stop()
            self._host_gone.wait(self.provider._options.close_timeout + TERMINATE_SECONDS + KILL_SECONDS)

    # the thread

    def _wake(self, drain: Callable[[], None]) -> None:
        if self._token is not None:  # else the thread drains when it has come so far
            with contextlib.suppress(trio.RunFinishedError):  # then it drains at its end
                self._token.run_sync_soon(drain)

    def _live(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - for whoever leaves the provider
            self.failure = error
        with self.lock:
            self._ended = True
        self._mailbox.drain()
        self._host_gone.set()
        atexit.unregister(self._at_exit)
        self._over()

    async def _main(self) -> None:
        async with self.provider, trio.open_nursery() as nursery:
            try:
                self._nursery = nursery
                self._token = trio.lowlevel.current_trio_token()
                self._mailbox.drain()
                await self._stopping.wait()
                nursery.start_soon(self._watch_host)
                await self.provider.aclose()
            finally:
                self._nursery = None  # a call that comes now is too late; those under way fail at once

    async def _watch_host(self) -> None:
        """Closing waits for the delegate's calls, which a program at its end does not."""
        driver = self.provider._driver
        if driver is not None:
            await driver.gone.wait()
        self._host_gone.set()


class PortalProvider:
    """What the providers of both callers are made of. Parameters and rules: `codemode_client.CodeModeProvider`."""

    _entering: str
    """How it is entered, for the message to those who forgot."""

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
        self._native = NativeProvider(
            command,
            env=env,
            cwd=cwd,
            handshake_timeout=handshake_timeout,
            shutdown_timeout=shutdown_timeout,
            close_timeout=close_timeout,
            start_attempts=start_attempts,
            first_backoff=first_backoff,
            max_backoff=max_backoff,
            max_frame_bytes=max_frame_bytes,
            tracer_provider=tracer_provider,
        )
        self._portal: Portal | None = None

    @property
    def closed(self) -> bool:
        """Closing has begun: nothing new is started."""
        return self._native.closed

    @property
    def counters(self) -> Counters:
        """How often things have happened so far. May be read at any time, by any thread, and after the end."""
        return self._native.counters

    def _start(self, over: Callable[[], object]) -> Portal:
        if self._portal is not None:
            raise RuntimeError("a provider is entered only once")
        self._portal = Portal(self._native, over)
        return self._portal

    def _unused(self) -> bool:
        """Whether it was never entered. Closing it then only means that it never will be of use."""
        if self._portal is None:
            self._native.closed = True
        return self._portal is None

    def _started(self) -> Portal:
        if self._portal is None:
            if self.closed:
                raise ProviderClosedError
            raise RuntimeError(
                f"use the provider as a context manager: `{self._entering} CodeModeProvider() as provider`"
            )
        return self._portal


class DelegateContext:
    """The context in which a session's delegate is called: that of the code that makes this, kept as it is now."""

    def __init__(self, provider: NativeProvider) -> None:
        self._tracing = provider.observer.tracing is not None
        self._context = contextvars.copy_context()

    def for_call(self) -> contextvars.Context:
        """A copy for one call; with the call's span, if the provider makes spans, as the current one."""
        context = self._context.copy()
        if self._tracing:
            from opentelemetry import context as spans

            context.run(spans.attach, spans.get_current())
        return context


def keep_outcome(session: NativeSession, outcome: Outcome) -> None:
    """Give back what a wait or a terminate took: the next wait for the cell has it, before anything newer."""
    binding = session._binding
    if binding is None or isinstance(outcome, MissingCell):
        return
    generation, host_id = parse_cell_id(outcome.response.cell_id)
    if generation != binding.generation:
        return  # nobody can wait for it any more
    record = binding.cells.get(host_id)
    if record is None:  # forgotten, for it was closed and nothing was kept
        record = CellRecord(binding, host_id)
        record.closed = True
    _keep(record, Observation(binding, record), outcome.response)


def keep_initial_response(cell: HostStartedCell, response: RuntimeResponse) -> None:
    """Give back the first answer about a cell: it is for whoever asks next, for it or by waiting for the cell."""
    _keep(cell._record, cell._initial, response)


def shut_down_unowned(portal: Portal, session: NativeSession) -> None:
    """Give back a session that was opened for nobody."""
    portal.start_soon(session.shutdown)


def _keep(record: CellRecord, observation: Observation, response: RuntimeResponse) -> None:
    if record.orphan or record.binding.lost:
        return  # nobody will ask, or nobody can
    record.kept = {observation: response, **record.kept}
    record.binding.cells[record.host_id] = record
