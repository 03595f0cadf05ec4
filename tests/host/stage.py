"""Cells on a stage: a session whose runtimes, and whose way out, a test plays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from codemode_host.cells.calls import Call
from codemode_host.cells.owner import SessionOwner
from codemode_host.cells.session import Cell, CellSession
from codemode_host.runtimes.host_side.output import decoded
from codemode_host.supervision import HostFailure
from codemode_protocol.limits import Limits
from codemode_protocol.values import ExecuteRequest, InputText, Result, RuntimeResponse, ToolInvocation
from tests.host.program import define_tool
from tests.runtimes.lying import Liar, LyingZygote, lying_pool


class Heard:
    """A session's way out: what its cells said."""

    def __init__(self) -> None:
        self.calls: list[tuple[Call, ToolInvocation]] = []
        self.notes: list[tuple[Call, str]] = []
        self.cancelled: list[Call] = []
        self.closed: list[str] = []

    def invoke_tool(self, call: Call, invocation: ToolInvocation) -> None:
        self.calls.append((call, invocation))

    def notify(self, call: Call, call_id: str, text: str) -> None:
        self.notes.append((call, text))

    def cancel(self, call: Call) -> None:
        self.cancelled.append(call)

    def cell_closed(self, cell_id: str) -> None:
        self.closed.append(cell_id)

    def flush(self) -> None: ...

    async def room(self, *, calling: bool = False) -> None:
        await trio.lowlevel.checkpoint()


class Owner(SessionOwner):
    """Lets each failure end its cell alone, and keeps it."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self.failures: list[HostFailure] = []

    def failed(self, failure: HostFailure) -> None:
        self.failures.append(failure)


class Stage:
    """A session whose cells run on runtimes that the test plays."""

    def __init__(self, owner: Owner, zygote: LyingZygote) -> None:
        self.owner, self.zygote = owner, zygote
        self.heard = Heard()
        self.session = CellSession("s", owner, self.heard)
        self.answers: list[RuntimeResponse] = []

    def start(self, yield_time_ms: int | None = 60_000, tools: int = 2) -> tuple[Cell, Liar]:
        """A cell, and the runtime that it has."""
        ids: list[str] = []
        request = ExecuteRequest("call", [define_tool(f"tool{number}") for number in range(tools)], "1", yield_time_ms)
        self.session.execute(request, ids.append, self.answers.append)
        cell = self.session.cells[ids[0]]
        liar = self.zygote.play(cell.runtime)
        liar.hear()
        return cell, liar

    def killed(self) -> list[int]:
        self.zygote.listen()
        return self.zygote.kills

    def texts(self) -> list[str]:
        """What was written, in all the answers."""
        items = [item for answer in self.answers for item in decoded(answer.content_items)]
        return [item.text for item in items if isinstance(item, InputText)]

    @property
    def result(self) -> Result:
        answer = self.answers[-1]
        assert isinstance(answer, Result), answer
        return answer


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def stage(limits: Limits | None = None) -> AsyncIterator[Stage]:
    owner = Owner(limits or Limits(spare_runtimes=0))
    async with lying_pool() as (pool, zygote, _), trio.open_nursery() as nursery:
        owner.pool, owner.nursery = pool, nursery
        yield Stage(owner, zygote)
        nursery.cancel_scope.cancel()
