"""The first execute of a host and the ones after it, as a table of their own.

Rows and columns are those of the reference project's benchmark `exec_overhead`, which ran the engine inside the
measuring process. Here the hosts are processes: one is started for each sample, `cold_exec` is its first execute,
`warm_exec` 25 more after a warm-up. Memory growth is from before the first of them to the last one's cell, which is
kept alive for it, in hosts of its own. It is proportional set size over all processes: the sum of resident sizes would
count the pages that forked runtimes share again and again.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.cases import Case, MeasureFresh, timed
from benchmarks.programs import ONE_TEXT, Program, running, tool_definitions
from benchmarks.results import Row

TOOL_COUNTS = (0, 32, 128)
WARM_ITERATIONS = 25
SCENARIOS = {"cold_exec": (0, 1), "warm_exec": (1, WARM_ITERATIONS)}
"""How many executes go before, and how many are measured."""


def times(warm_ups: int, iterations: int, tools: int) -> MeasureFresh:
    definitions = tool_definitions(tools)

    async def measure(program: Program, samples: int) -> list[float]:
        taken = []
        for _ in range(samples):
            async with running(program) as bench:
                for _ in range(warm_ups):
                    await bench.execute(ONE_TEXT, definitions)
                taken += await timed(iterations, lambda bench=bench: bench.execute(ONE_TEXT, definitions))  # type: ignore[misc]
        return taken

    return measure


def growth(warm_ups: int, iterations: int, tools: int) -> MeasureFresh:
    definitions = tool_definitions(tools)

    async def measure(program: Program, samples: int) -> list[float]:
        grown = []
        for _ in range(samples):
            async with running(program) as bench:
                for _ in range(warm_ups):
                    await bench.execute(ONE_TEXT, definitions)
                before = await bench.memory()
                for _ in range(iterations - 1):
                    await bench.execute(ONE_TEXT, definitions)
                await bench.leave_running(1, definitions)
                grown.append(await bench.memory() - before)
        return grown

    return measure


def cases() -> list[Case]:
    found = []
    for tools in TOOL_COUNTS:
        for scenario, (warm_ups, iterations) in SCENARIOS.items():
            name = f"{scenario}, {tools} tools"
            samples = 3 if scenario == "cold_exec" else 1
            found += [
                Case(name, samples, 1, fresh=times(warm_ups, iterations, tools)),
                Case(f"{name}, memory", 1, 1, fresh=growth(warm_ups, iterations, tools), unit="MB"),
            ]
    return found


def table(rows: Mapping[str, Row], hosts: Sequence[str]) -> str:
    """The table for the rows that there are, empty when there are none."""
    lines = []
    for tools in TOOL_COUNTS:
        for scenario in SCENARIOS:
            row, memory = (rows.get(f"{scenario}, {tools} tools{suffix}") for suffix in ("", ", memory"))
            if row is not None:
                lines += [_line(scenario, tools, host, row, memory) for host in hosts]
    if not lines:
        return ""
    columns = ("execs", "mean/exec", "p95/exec", "growth p50", "growth max")
    return "\n".join([f"{'scenario':10}{'tools':>6}  {'host':10}" + "".join(f"{name:>12}" for name in columns), *lines])


def _line(scenario: str, tools: int, host: str, row: Row, memory: Row | None) -> str:
    taken = row.hosts[host].all
    grown = memory.hosts[host].all if memory is not None else []
    start = f"{scenario:10}{tools:>6}  {host:10}{len(taken):>12}"
    cells = [f"{statistics.fmean(taken):.2f} ms", f"{percentile(taken, 95):.2f} ms"] if taken else ["n/a", "n/a"]
    cells += [f"{statistics.median(grown):.2f} MB", f"{max(grown):.2f} MB"] if grown else ["n/a", "n/a"]
    return start + "".join(f"{cell:>12}" for cell in cells)


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least so many percent of the values do not exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]
