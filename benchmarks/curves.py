"""How time and memory grow: with live cells, with the size of the output, with the number of tools."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.cases import Case, MeasureFresh, executes, script, timed
from benchmarks.programs import Bench, Program, running, tool_definitions
from benchmarks.report import number
from benchmarks.results import Row

PIECE = 100_000
"""Characters of one text of a large output."""


@dataclass(frozen=True)
class Curve:
    """Points along one axis. `time` and `memory` make the case of a point: milliseconds, and MB above an idle host."""

    name: str
    points: tuple[int, ...]
    quick: tuple[int, ...]
    time: Callable[[str, int], Case]
    memory: Callable[[str, int], Case]

    def case_name(self, point: int, what: str) -> str:
        return f"growth with {self.name}, {point:,}: {what}"

    def cases(self, *, quick: bool) -> list[Case]:
        points = self.quick if quick else self.points
        return [
            *(self.time(self.case_name(point, "time"), point) for point in points),
            *(self.memory(self.case_name(point, "memory"), point) for point in points),
        ]


# Live cells: each has run, and waits for a timer.


def start_cells(count: int) -> MeasureFresh:
    async def measure(program: Program, samples: int) -> list[float]:
        taken = []
        for _ in range(samples):
            async with running(program) as bench:
                await bench.warm_up()
                taken += await timed(1, lambda bench=bench: bench.leave_running(count))  # type: ignore[misc]
        return taken

    return measure


def hold_cells(count: int, tools: int = 0) -> MeasureFresh:
    """Memory of so many live cells together, in MB."""
    definitions = tool_definitions(tools)

    async def measure(program: Program, samples: int) -> list[float]:
        found = []
        for _ in range(samples):
            async with running(program) as bench:
                await bench.warm_up()
                before = await bench.memory()
                await bench.leave_running(count, definitions)
                found.append(await bench.memory() - before)
        return found

    return measure


# Output: written in pieces, and not taken before all of it is there, as far as the host keeps it.


def output(size: int, then: str = "") -> str:
    """A script that writes so many characters."""
    whole, rest = divmod(size, PIECE)
    pieces = f"const s = 'x'.repeat({PIECE}); for (let i = 0; i < {whole}; i++) text(s); text('x'.repeat({rest}));"
    return pieces + then


def hold_output(size: int) -> MeasureFresh:
    """What a cell and its host have more, in MB, when it has written so many characters and waits for a tool."""
    source = output(size, "await tools.tool_0()")
    definitions = tool_definitions(1)

    async def measure(program: Program, samples: int) -> list[float]:
        found: list[float] = []
        for _ in range(samples):
            async with running(program) as bench:
                await bench.warm_up()
                before = await bench.memory()

                async def look(bench: Bench = bench, before: float = before) -> None:
                    found.append(await bench.memory() - before)

                bench.delegate.before_answer = look
                await bench.execute(source, definitions)
        return found

    return measure


CURVES = (
    Curve(
        "live cells",
        (1, 10, 50, 100, 200, 500),
        (1, 50),
        lambda name, count: Case(name, 1, 1, fresh=start_cells(count), most_rounds=2),
        lambda name, count: Case(name, 1, 1, fresh=hold_cells(count), unit="MB", most_rounds=1),
    ),
    Curve(
        "characters of output",
        (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 50_000_000),
        (1_000, 1_000_000),
        lambda name, size: Case(name, 2, 1, script(output(size), size), most_rounds=2),
        lambda name, size: Case(name, 1, 1, fresh=hold_output(size), unit="MB", most_rounds=1),
    ),
    Curve(
        "tools",
        (0, 1, 8, 32, 128, 512),
        (0, 128),
        lambda name, tools: Case(name, 10, 5, executes(tools), most_rounds=2),
        lambda name, tools: Case(name, 1, 1, fresh=hold_cells(1, tools), unit="MB", most_rounds=1),
    ),
)


def cases(*, quick: bool) -> list[Case]:
    return [case for curve in CURVES for case in curve.cases(quick=quick)]


def measured(curve: Curve, rows: Mapping[str, Row], what: str, host: str) -> list[tuple[int, float]]:
    """The points of one host: where on the axis, and the median there. `what` is "time" or "memory"."""
    found = []
    for point in curve.points:
        row = rows.get(curve.case_name(point, what))
        if row is not None and (taken := row.hosts[host]).failure is None and taken.rounds:
            found.append((point, statistics.median(taken.all)))
    return found


def table(rows: Mapping[str, Row], hosts: Sequence[str]) -> str:
    """The curves as text, empty when none was measured."""
    lines: list[str] = []
    for curve in CURVES:
        columns = {
            (what, host): dict(measured(curve, rows, what, host)) for what in ("time", "memory") for host in hosts
        }
        points = [point for point in curve.points if any(point in column for column in columns.values())]
        if not points:
            continue
        titles = [f"{host}, {'ms' if what == 'time' else 'MB'}" for what, host in columns]
        lines.append(f"growth with {curve.name:28}" + "".join(f"{title:>15}" for title in titles))
        for point in points:
            cells = [number(column[point]) if point in column else "n/a" for column in columns.values()]
            lines.append(f"{point:>40,}" + "".join(f"{cell:>15}" for cell in cells))
    return "\n".join(lines)
