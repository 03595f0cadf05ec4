"""Cells as the caller sees them: public ids, the started cell, and the record of what was observed for nobody.

A host numbers the cells of each session "1", "2", …. A logical session survives its host, so its public
cell ids carry the host's generation from the second on: "3" is cell 3 of generation 1, "g2:3" is cell 3 of
generation 2.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio

from codemode_client._loops.slots import Slot
from codemode_protocol.errors import RequestFailedError
from codemode_protocol.messages import Failure, InitialResponse, OperationValue, Success, WaitCompleted
from codemode_protocol.values import LiveCell, MissingCell, Outcome, Result, RuntimeResponse, Terminated, Yielded

if TYPE_CHECKING:
    from codemode_client._observability.telemetry import CellSpan
    from codemode_client._session.delegate_calls import DelegateTask
    from codemode_client._session.host_session import Binding
    from codemode_client.counters import CellEnd

_LATER_GENERATION = re.compile(r"g([2-9]|[1-9][0-9]+):(.*)", re.DOTALL)


def public_cell_id(generation: int, host_id: str) -> str:
    """The id under which callers know cell `host_id` of a generation's host."""
    return host_id if generation == 1 else f"g{generation}:{host_id}"


def parse_cell_id(cell_id: str) -> tuple[int, str]:
    """A public cell id's generation and its host's own id for the cell. Never fails: any text is some plain id."""
    match = _LATER_GENERATION.fullmatch(cell_id)
    return (int(match[1]), match[2]) if match else (1, cell_id)


def publish(response: RuntimeResponse, generation: int) -> RuntimeResponse:
    """A host's response with its public cell id."""
    if generation == 1:
        return response
    return msgspec.structs.replace(response, cell_id=public_cell_id(generation, response.cell_id))


class Observation(Slot[Outcome]):
    """A request under way whose answer carries what a cell wrote: the initial response, a wait or a terminate.

    `cell` is None for a cell that the client does not know; the host will say that it is missing.
    """

    __slots__ = ("binding", "cell")

    def __init__(self, binding: Binding, cell: CellRecord | None) -> None:
        super().__init__()
        self.binding = binding
        self.cell = cell

    def answered(self, result: Success[OperationValue] | Failure) -> None:
        """The operation's response came, of a wait or a terminate."""
        if isinstance(result, Failure):
            self._refused(result.message)
        else:
            assert isinstance(result.value, WaitCompleted)
            self._arrived(result.value.outcome.outcome)

    def first_answered(self, message: InitialResponse) -> None:
        """The initial response came."""
        if isinstance(message.result, Failure):
            self._refused(message.result.message)
        else:
            self._arrived(LiveCell(message.result.value.response))

    def lost(self) -> None:
        """The host was lost before it answered."""
        self.fail(self.binding.error)
        if self.cell is not None:
            self.cell.settle(self, None)

    def _refused(self, message: str) -> None:
        self.fail(lambda: RequestFailedError(message))
        if self.cell is not None:
            self.cell.settle(self, None)

    def _arrived(self, outcome: Outcome) -> None:
        generation = self.binding.generation
        if generation != 1:
            response = outcome.response
            public = publish(response, generation)
            if isinstance(public, Result) and public.error_text == f"exec cell {response.cell_id} not found":
                public = msgspec.structs.replace(public, error_text=f"exec cell {public.cell_id} not found")
            outcome = LiveCell(public) if isinstance(outcome, LiveCell) else MissingCell(public)
        cell = self.cell
        if cell is None:
            self.resolve(outcome)
            return
        if isinstance(outcome, LiveCell):
            self.binding.driver.observer.cell_answered(cell, outcome.response)
        if self.awaited and isinstance(outcome.response, Terminated):
            cell.termination_delivered = True
        self.resolve(outcome)
        cell.settle(self, outcome.response if isinstance(outcome, LiveCell) else None)


class CellRecord:
    """What the client knows of one cell, until the cell is closed and nothing that it wrote waits here for a caller."""

    __slots__ = (
        "_settled",
        "abandoned",
        "binding",
        "closed",
        "end",
        "host_id",
        "kept",
        "limit",
        "orphan",
        "public_id",
        "span",
        "tasks",
        "termination_delivered",
    )

    def __init__(self, binding: Binding, host_id: str) -> None:
        self.binding = binding
        self.host_id = host_id
        self.public_id = public_cell_id(binding.generation, host_id)
        self.tasks: set[DelegateTask] = set()
        """The delegate's calls that run for it."""
        self.closed = False
        """Its host said that it is over, or was lost."""
        self.orphan = False
        """Nobody has it and nobody will: what it writes is dropped."""
        self.abandoned: set[Observation] = set()
        """Observations whose callers were cancelled and whose answers are still to come."""
        self.kept: dict[Observation, RuntimeResponse] = {}
        """What those answers brought, in the order in which they came, for the next who waits."""
        self.termination_delivered = False
        """A caller has the `Terminated` answer. Another one would repeat its content."""
        self.end: CellEnd | None = None
        """How it ended, by the first answer that told so."""
        self.limit: str | None = None
        """The name of the limit that ended it."""
        self.span: CellSpan | None = None
        self._settled: trio.Event | None = None

    def abandon(self, observation: Observation) -> None:
        """The observation's last caller was cancelled."""
        self.abandoned.add(observation)

    def settle(self, observation: Observation, response: RuntimeResponse | None) -> None:
        """An observation came to its end; keep its response if it was abandoned."""
        if observation not in self.abandoned:
            return
        self.abandoned.discard(observation)
        repeated = isinstance(response, Terminated) and (
            self.termination_delivered or any(isinstance(kept, Terminated) for kept in self.kept.values())
        )
        if response is not None and not repeated and not self.orphan:
            self.kept[observation] = response
        if self._settled is not None:
            self._settled.set()
        self.binding.forget_if_over(self)

    def reclaim(self, observation: Observation) -> None:
        """The observation's answer has reached a caller after all."""
        self.abandoned.discard(observation)
        self.kept.pop(observation, None)
        self.binding.forget_if_over(self)

    async def settled(self) -> None:
        """Wait until one abandoned observation has come to its end."""
        if self._settled is None or self._settled.is_set():
            self._settled = trio.Event()
        await self._settled.wait()

    def take_kept(self) -> RuntimeResponse | None:
        """Take what was observed for nobody, as one response; the last one tells how the cell stood."""
        if not self.kept:
            return None
        responses = list(self.kept.values())
        self.kept.clear()
        if isinstance(responses[-1], Terminated):
            self.termination_delivered = True
        self.binding.forget_if_over(self)
        return merge(responses)

    def with_kept(self, outcome: Outcome) -> Outcome:
        """A terminate's outcome, with what was observed for nobody before it."""
        kept = self.take_kept()
        if kept is None:
            return outcome
        if isinstance(outcome, LiveCell) and isinstance(kept, Yielded):
            return LiveCell(merge([kept, outcome.response]))
        if isinstance(outcome, LiveCell):  # both tell the same end with the same content
            return outcome
        return LiveCell(kept)


def merge(responses: list[RuntimeResponse]) -> RuntimeResponse:
    """Successive responses of one cell as one: the content of all, and how it stood at the last."""
    last = responses[-1]
    if len(responses) == 1:
        return last
    return msgspec.structs.replace(last, content_items=[item for one in responses for item in one.content_items])


class HostStartedCell:
    """A cell that runs on a host. See `codemode_protocol.session.StartedCell`."""

    __slots__ = ("_initial", "_record", "cell_id")

    def __init__(self, record: CellRecord, initial: Observation) -> None:
        self._record = record
        self._initial = initial
        self.cell_id: str = record.public_id
        """The public id, for `wait` and `terminate`."""

    @trio.lowlevel.enable_ki_protection
    async def initial_response(self) -> RuntimeResponse:
        """Wait for the first answer about the cell. It may be asked for again, and gives the same answer.

        If the caller is cancelled nothing is lost: the answer is for whoever asks next, here or by waiting
        for the cell.

        Raises `RequestFailedError` for an error of the host's, `HostLostError` when the host was lost
        before.
        """
        outcome = await self._initial.get(partial(self._record.abandon, self._initial))
        self._record.reclaim(self._initial)
        return outcome.response

    def abandon(self) -> None:
        """Give the cell up: it is terminated if it still runs, and what it wrote is dropped. Does not wait."""
        self._record.binding.terminate_orphan(self._record)
