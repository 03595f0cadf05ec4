"""Measuring hosts in turns, so that what the machine does meanwhile meets all of them alike."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import trio

from benchmarks.cases import Case
from benchmarks.programs import Bench, CaseFailed, Program, running
from benchmarks.results import Row, Samples
from codemode_protocol.errors import CodeModeError

Progress = Callable[[str], None]


class Turns:
    """One round's hosts: started when a case first needs them, replaced after a failure."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._serving: dict[str, _Serving] = {}

    async def bench(self, program: Program) -> Bench:
        """The program's warm host."""
        serving = self._serving.get(program.name)
        if serving is None:
            serving = await self._nursery.start(_serve, program)
            self._serving[program.name] = serving
        return serving.bench

    async def discard(self, program: Program) -> None:
        """End the program's host; the next case gets another."""
        serving = self._serving.pop(program.name, None)
        if serving is not None:
            serving.release.set()
            await serving.ended.wait()

    def release(self) -> None:
        """Let every host go."""
        for serving in self._serving.values():
            serving.release.set()


@dataclass(frozen=True)
class _Serving:
    bench: Bench
    release: trio.Event = field(default_factory=trio.Event)
    ended: trio.Event = field(default_factory=trio.Event)


async def _serve(program: Program, *, task_status: trio.TaskStatus[_Serving]) -> None:
    """Keep a host until it is released. A task of its own: hosts do not end in the order in which they came."""
    async with running(program) as bench:
        await bench.warm_up()
        serving = _Serving(bench)
        task_status.started(serving)
        await serving.release.wait()
    serving.ended.set()


async def attempt(measure: Callable[[], Awaitable[list[float]]], seconds: float) -> list[float] | str:
    """The numbers of a measurement, or why there are none."""
    gc.collect()  # what earlier cases left is not this one's business
    try:
        with trio.fail_after(seconds):
            return await measure()
    except trio.TooSlowError:
        return f"no answer within {seconds:g} s"
    except (CodeModeError, CaseFailed) as error:
        return reason(error)
    except BaseExceptionGroup as group:
        if group.split((CodeModeError, CaseFailed))[1] is not None:
            raise
        return reason(group)


def reason(error: BaseException) -> str:
    """The first cause in one line: what the error says first, and what the host said last."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1]}"


async def run_cases(
    cases: Sequence[Case], programs: Sequence[Program], rounds: int, *, quick: bool, progress: Progress
) -> list[Row]:
    """Every case in every round on every host; the host that goes first changes from round to round."""
    rows = [Row(case, {program.name: Samples() for program in programs}) for case in cases]
    for number in range(rounds):
        order = programs if number % 2 == 0 else list(reversed(programs))
        async with trio.open_nursery() as nursery:
            turns = Turns(nursery)
            for row in rows:
                if row.case.most_rounds is not None and number >= row.case.most_rounds:
                    continue
                for program in order:
                    progress(f"round {number + 1} of {rounds}: {row.case.name}, {program.name}")
                    await _measure(row, program, turns, row.case.quick if quick else row.case.samples)
            turns.release()
    return rows


async def _measure(row: Row, program: Program, turns: Turns, count: int) -> None:
    samples = row.hosts[program.name]
    if samples.failure is not None:
        return

    async def measure() -> list[float]:
        if row.case.fresh is not None:
            return await row.case.fresh(program, count)
        assert row.case.measure is not None
        return await row.case.measure(await turns.bench(program), count)

    taken = await attempt(measure, row.case.seconds)
    if isinstance(taken, str):
        samples.failure = taken
        await turns.discard(program)
    else:
        samples.rounds.append(taken)
