"""A logical session's life on one host: its cells and the requests that are made for it there.

All of it is synchronous but the waiting for an answer. A request and what takes over should its caller be
cancelled are registered in one step, so there is no moment at which an answer would belong to nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from codemode_client._loops.slots import Slot
from codemode_client._session.cells import CellRecord, HostStartedCell, Observation
from codemode_protocol.errors import CodeModeError, RequestFailedError, SessionClosedError
from codemode_protocol.messages import (
    Execute,
    ExecutionStarted,
    Failure,
    OpenSession,
    OperationValue,
    ShutdownSession,
    Success,
    Terminate,
    Wait,
    WaitCompleted,
)
from codemode_protocol.session import Delegate
from codemode_protocol.values import ExecuteRequest, LiveCell, Outcome, WaitRequest, Yielded

if TYPE_CHECKING:
    from codemode_client._observability.telemetry import CellSpan
    from codemode_client._session.driver import Driver


class _Opening:
    def __init__(self, binding: Binding) -> None:
        self._binding = binding

    def answered(self, result: Success[OperationValue] | Failure) -> None:
        self._binding._open_answered(result)

    def lost(self) -> None:
        self._binding.opened.fail(self._binding.error)


class _Shutdown:
    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self.over = trio.Event()

    def answered(self, result: Success[OperationValue] | Failure) -> None:
        self.over.set()
        self._binding._shutdown_answered(result)

    def lost(self) -> None:
        self.over.set()


class _Starting(Slot[HostStartedCell]):
    """An execute whose cell has not started yet."""

    __slots__ = ("binding", "request_id", "span", "tool_call_id")

    def __init__(self, binding: Binding, tool_call_id: str, span: CellSpan | None) -> None:
        super().__init__()
        self.binding = binding
        self.request_id = -1
        self.tool_call_id = tool_call_id
        self.span = span

    def answered(self, result: Success[OperationValue] | Failure) -> None:
        observer = self.binding.driver.observer
        if isinstance(result, Failure):
            message = result.message
            self.fail(lambda: RequestFailedError(message))
            if self.span is not None:
                self.span.refused(RequestFailedError(message))
            observer.execute_refused(self.binding, self.tool_call_id, message)
            return
        assert isinstance(result.value, ExecutionStarted)
        owned = self.awaited
        record, initial = self.binding._cell_started(self.request_id, result.value.cell_id)
        if self.span is not None:
            record.span = self.span
            self.span.cell_started(record)
        observer.cell_started(record, self.tool_call_id)
        self.resolve(HostStartedCell(record, initial))
        if not owned:
            record.abandon(initial)
            self.binding.terminate_orphan(record)

    def lost(self) -> None:
        self.fail(self.binding.error)
        if self.span is not None:
            self.span.refused(self.binding.error())


class _Orphaned:
    """The terminate of a cell that nobody has: how it ended is still of interest."""

    __slots__ = ("record",)

    def __init__(self, record: CellRecord) -> None:
        self.record = record

    def answered(self, result: Success[OperationValue] | Failure) -> None:
        if isinstance(result, Success):
            assert isinstance(result.value, WaitCompleted)
            outcome = result.value.outcome.outcome
            if isinstance(outcome, LiveCell):
                self.record.binding.driver.observer.cell_answered(self.record, outcome.response)

    def lost(self) -> None:
        pass


class Binding:
    """A session on one host. Made, and its opening sent, by `Driver.bind`."""

    def __init__(self, driver: Driver, session_id: str, delegate: Delegate, generation: int) -> None:
        self.driver = driver
        self.session_id = session_id
        self.delegate = delegate
        self.generation = generation
        self.ready = False
        """The host has opened the session. Stays true when the host is lost."""
        self.lost = False
        """The host is gone, or refused the session: a new binding is needed."""
        self.opened: Slot[None] = Slot()
        self.closed: Slot[None] = Slot()
        """The session is over on this host, all of its cells were reported, and the host, if lost, is reaped."""
        self.cells: dict[str, CellRecord] = {}
        """By the host's id: live cells, and closed ones of which something is kept."""
        self._unreported = 0
        self._unwanted = False
        self._ended = False

    def error(self) -> CodeModeError:
        """Why requests fail that were under way when the session ended here. Complete once the driver is gone."""
        if not self.driver.lost or self.driver.closing:
            return SessionClosedError(self.session_id)
        return self.driver.error()

    def open(self) -> None:
        self.driver.request(OpenSession(self.session_id), _Opening(self))

    def _open_answered(self, result: Success[OperationValue] | Failure) -> None:
        if isinstance(result, Failure):
            message = result.message
            self.lost = True
            self.driver.unbind(self)
            self.opened.fail(lambda: RequestFailedError(message))
            self._end()
            self.driver.observer.session_refused(self, message)
            return
        self.ready = True
        self.opened.resolve(None)
        self.driver.observer.session_bound(self)
        if self._unwanted:
            self._send_shutdown()

    # requests

    def execute(self, request: ExecuteRequest, span: CellSpan | None) -> Slot[HostStartedCell]:
        """Start a cell. If whoever waits for it is cancelled, it is terminated as soon as it has started.

        `span` is ended with the cell. It stays the caller's if the request cannot be sent.
        """
        starting = _Starting(self, request.tool_call_id, span)
        starting.request_id = self.driver.request(Execute(self.session_id, request), starting)
        return starting

    async def wait(self, host_id: str, yield_time_ms: int) -> Outcome:
        """Observe a cell. Cancelled, what the observation brings is kept for the next."""
        record = self.cells.get(host_id)
        if record is not None and (record.abandoned or record.kept):
            started = trio.current_time()
            outcome = await self._wait_for_kept(record, yield_time_ms)
            if outcome is not None:
                return outcome
            yield_time_ms = max(0, yield_time_ms - int((trio.current_time() - started) * 1000))
        observation = Observation(self, record)
        request_id = self.driver.request(Wait(self.session_id, WaitRequest(host_id, yield_time_ms)), observation)

        def abandoned() -> None:
            if record is not None:
                record.abandon(observation)
            self.driver.cancel(request_id)

        return await observation.get(abandoned)

    async def _wait_for_kept(self, record: CellRecord, yield_time_ms: int) -> Outcome | None:
        """Hold a wait back until the cell's abandoned observations have come to their end.

        None if they brought nothing. The host would refuse a second observer, and what the first one brings
        comes first.
        """
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(yield_time_ms / 1000):
            while record.abandoned and not record.kept:
                await record.settled()
        kept = record.take_kept()
        if kept is not None:
            return LiveCell(kept)
        if self.lost:
            if self.driver.lost:
                await self.driver.gone.wait()
            raise self.error()
        if record.abandoned:  # the time is over, and nothing was written that could be given
            return LiveCell(Yielded(record.public_id, []))
        return None

    async def terminate(self, host_id: str) -> Outcome:
        """Stop a cell. Cancelled, the cell is stopped all the same, and its last output kept for the next wait."""
        record = self.cells.get(host_id)
        observation = Observation(self, record)
        self.driver.request(Terminate(self.session_id, host_id), observation)
        if record is None:
            return await observation.get()
        outcome = await observation.get(lambda: record.abandon(observation))
        return record.with_kept(outcome)

    def shut_down(self) -> None:
        """Ask for the session's end, once; `closed` tells when it has come."""
        if self.lost or self._unwanted:
            return
        self._unwanted = True
        if self.ready:
            self._send_shutdown()

    def _send_shutdown(self) -> None:
        shutdown = _Shutdown(self)
        self.driver.request(ShutdownSession(self.session_id), shutdown)
        self.driver.expect_shutdown(self.session_id, shutdown.over)

    # events

    def _cell_started(self, request_id: int, host_id: str) -> tuple[CellRecord, Observation]:
        record = CellRecord(self, host_id)
        self.cells[host_id] = record
        self._unreported += 1
        initial = Observation(self, record)
        self.driver.expect_initial_response(request_id, initial)
        return record, initial

    def terminate_orphan(self, record: CellRecord) -> None:
        """Terminate a cell that nobody has."""
        record.orphan = True
        record.kept.clear()
        if record.closed:
            self.forget_if_over(record)
        elif self.driver.cell_is_live(self.session_id, record.host_id):
            self.driver.request(Terminate(self.session_id, record.host_id), _Orphaned(record))
            self.driver.observer.cell_abandoned(record)

    def _shutdown_answered(self, result: Success[OperationValue] | Failure) -> None:
        self.lost = True
        self.driver.unbind(self)
        if isinstance(result, Failure):
            message = result.message
            self.closed.fail(lambda: RequestFailedError(message))
        for record in list(self.cells.values()):
            self.driver.delegation.cell_over(record)
        self._end()
        self.driver.observer.session_closed(self)

    def host_lost(self) -> None:
        """The host is gone: every cell is over."""
        self.lost = True
        for record in list(self.cells.values()):
            self.driver.delegation.cell_over(record)

    def host_reaped(self) -> None:
        """The process of a host that was lost is gone, and every request was answered with that."""
        self.cells.clear()
        self._end()

    def cell_reported(self, record: CellRecord) -> None:
        self._unreported -= 1
        self.forget_if_over(record)
        if self._ended and not self._unreported:
            self.closed.resolve(None)

    def forget_if_over(self, record: CellRecord) -> None:
        """Drop a closed cell's record once nothing that it wrote waits here."""
        if record.closed and not record.abandoned and not record.kept:
            self.cells.pop(record.host_id, None)

    def _end(self) -> None:
        self._ended = True
        if not self._unreported:
            self.closed.resolve(None)
