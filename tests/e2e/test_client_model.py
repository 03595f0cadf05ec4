"""Random calls, cancellations and kills over a provider, its sessions and their cells, against what was promised.

Each call ends once, with a result or a typed error; each cell that started is reported closed once; no id of another
generation is ever accepted; and at the end nothing is left, which every test here is checked for.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codemode_client import CodeModeProvider, Session, StartedCell
from codemode_client._session.cell_ids import parse_cell_id
from codemode_protocol.errors import (
    HostLostError,
    HostStartError,
    ProviderClosedError,
    RequestFailedError,
    SessionClosedError,
    StaleCellError,
)
from codemode_protocol.values import ExecuteRequest, WaitRequest
from tests.client.recorder import Recorder, define_tool
from tests.client.steps import cancel_at_step

SOURCES = (
    "text(1)",
    "text(1); yield_control(); await tools.echo(); text(2)",
    "notify('n'); await Promise.all([tools.echo(1), tools.echo(2)]); throw new Error('mine')",
    "tools.echo(); await new Promise(() => {})",
)
PROMISED = (HostLostError, HostStartError, ProviderClosedError, RequestFailedError, SessionClosedError, StaleCellError)


@dataclass(frozen=True)
class Step:
    """`which` picks a session or a cell among those there are, `steps` cancels the call at its Nth step (0: never)."""

    kind: str
    which: int
    variant: int
    steps: int
    joined: bool


step = st.builds(
    Step,
    st.sampled_from(
        ["open", "execute", "execute", "execute", "initial", "wait", "wait", "terminate", "shutdown", "kill"]
    ),
    st.integers(0, 7),
    st.integers(0, 3),
    st.integers(0, 4),
    st.booleans(),
)


@dataclass
class Owned:
    session: Session
    recorder: Recorder
    cells: list[StartedCell] = field(default_factory=list)
    shut_down: bool = False


class World:
    def __init__(self, provider: CodeModeProvider, nursery: TaskGroup) -> None:
        self.provider = provider
        self.nursery = nursery
        self.owned: list[Owned] = []
        self.recorders: list[Recorder] = []
        self.begun = 0
        self.ended = 0

    async def take(self, step: Step) -> None:
        if step.kind == "kill":
            if (pid := self.provider.host_pid) is not None:
                os.kill(pid, signal.SIGKILL)
            return
        call = self._call(step)
        if call is None:
            return
        over = anyio.Event()
        self.begun += 1
        self.nursery.start_soon(self._make, call, step.steps, over)
        if step.joined:
            with anyio.move_on_after(0.05):
                await over.wait()

    async def _make(self, call: Callable[[], Coroutine[Any, Any, None]], steps: int, over: anyio.Event) -> None:
        with suppress(*PROMISED):
            await cancel_at_step(steps, call())
        self.ended += 1
        over.set()

    def _call(self, step: Step) -> Callable[[], Coroutine[Any, Any, None]] | None:
        if step.kind == "open":
            return self._open
        if not self.owned:
            return None
        owned = self.owned[step.which % len(self.owned)]
        if step.kind == "execute":
            return lambda: self._execute(owned, step.variant)
        if step.kind == "shutdown":
            return lambda: self._shutdown(owned)
        if not owned.cells:
            return None
        cell = owned.cells[step.variant % len(owned.cells)]
        if step.kind == "initial":
            return lambda: self._initial(cell)
        return lambda: self._observe(owned, cell, step)

    async def _open(self) -> None:
        recorder = Recorder()
        self.recorders.append(recorder)
        self.owned.append(Owned(await self.provider.open_session(recorder), recorder))

    async def _execute(self, owned: Owned, variant: int) -> None:
        request = ExecuteRequest("call", [define_tool("echo")], SOURCES[variant], 20)
        cell = await owned.session.execute(request)
        # The host may have been lost since it answered.
        assert parse_cell_id(cell.cell_id)[0] in (owned.session.generation, owned.session.generation - 1)
        assert cell.cell_id not in {other.cell_id for other in owned.cells}, "a cell id was given twice"
        owned.cells.append(cell)

    async def _initial(self, cell: StartedCell) -> None:
        assert (await cell.initial_response()).cell_id == cell.cell_id

    async def _observe(self, owned: Owned, cell: StartedCell, step: Step) -> None:
        generation, _ = parse_cell_id(cell.cell_id)
        stale = generation != owned.session.generation
        try:
            if step.kind == "wait":
                outcome = await owned.session.wait(WaitRequest(cell.cell_id, step.variant * 10))
            else:
                outcome = await owned.session.terminate(cell.cell_id)
        except StaleCellError:
            assert generation != owned.session.generation, "an id of this generation was refused"
            raise
        assert not stale, "a stale id was accepted"
        assert outcome.response.cell_id == cell.cell_id

    async def _shutdown(self, owned: Owned) -> None:
        await owned.session.shutdown()
        assert {cell.cell_id for cell in owned.cells} <= set(owned.recorder.closed)


@settings(
    max_examples=max(10, settings.default.max_examples // 50),  # type: ignore[union-attr]
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(step, min_size=5, max_size=40))
async def test_whatever_happens_the_promises_hold(host_command: list[str], steps: list[Step]) -> None:
    async with (
        CodeModeProvider(host_command, start_attempts=1000, first_backoff=0.001, max_backoff=0.001) as provider,
        anyio.create_task_group() as nursery,
    ):
        world = World(provider, nursery)
        await world._open()
        for one in steps:
            await world.take(one)
        # Whatever still waits for a cell that never ends is answered by the provider's end.
        await provider.aclose()
    assert world.ended == world.begun
    assert provider.open_count == 0
    for recorder in world.recorders:
        assert recorder.errors == []
        assert not any(recorder.running.values())
    for owned in world.owned:
        assert {cell.cell_id for cell in owned.cells} <= set(owned.recorder.closed)
