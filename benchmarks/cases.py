"""What is measured. Each case asks one thing of a host, several times, and gives one number for each time."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from benchmarks.programs import ONE_TEXT, Bench, CaseFailed, Program, running, tool_definitions
from codemode_protocol.values import InputText

Measure = Callable[[Bench, int], Awaitable[list[float]]]
MeasureFresh = Callable[[Program, int], Awaitable[list[float]]]

APART_SECONDS = 0.02
IDLE_CELLS = 60


@dataclass(frozen=True)
class Goal:
    """What must hold and what is wanted: of the ratio ours / reference, or, when `absolute`, of ours alone."""

    must: float
    want: float
    absolute: bool = False


@dataclass(frozen=True)
class Case:
    """One thing that is measured.

    `samples` numbers are taken in each round, `quick` ones with `--quick`. `measure` gets a warm host, the same for all
    cases of a round; `fresh` instead gets a program and runs it itself. A host that takes longer than `seconds` for one
    round has failed the case. `most_rounds` bounds the rounds of what takes long and varies little.
    """

    name: str
    samples: int
    quick: int
    measure: Measure | None = None
    fresh: MeasureFresh | None = None
    unit: str = "ms"
    goal: Goal | None = None
    seconds: float = 30.0
    most_rounds: int | None = None


async def timed(samples: int, function: Callable[[], Awaitable[object]]) -> list[float]:
    """How long each of several runs took, in milliseconds."""
    taken = []
    for _ in range(samples):
        start = time.perf_counter()
        await function()
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


# What is done with a warm host. The first run of each is not counted.


def executes(tools: int) -> Measure:
    definitions = tool_definitions(tools)

    async def measure(bench: Bench, samples: int) -> list[float]:
        for _ in range(3):
            await bench.execute(ONE_TEXT, definitions)
        return await timed(samples, lambda: bench.execute(ONE_TEXT, definitions))

    return measure


def executes_apart(tools: int) -> Measure:
    definitions = tool_definitions(tools)

    async def measure(bench: Bench, samples: int) -> list[float]:
        taken = []
        for _ in range(samples + 1):
            await trio.sleep(APART_SECONDS)
            taken += await timed(1, lambda: bench.execute(ONE_TEXT, definitions))
        return taken[1:]

    return measure


def cells_at_once(count: int) -> Measure:
    async def all_at_once(bench: Bench) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(bench.execute, ONE_TEXT)

    async def measure(bench: Bench, samples: int) -> list[float]:
        return (await timed(samples + 1, lambda: all_at_once(bench)))[1:]

    return measure


def script(source: str, written: str | int | None = None) -> Measure:
    """A script with one tool. `written` is the text that it must have written, or its length."""
    definitions = tool_definitions(1)

    async def run(bench: Bench) -> None:
        items = await bench.execute(source, definitions)
        if written is None:
            return
        texts = [item.text for item in items if isinstance(item, InputText)]
        wrote: str | int = "".join(texts) if isinstance(written, str) else sum(map(len, texts))
        if wrote != written:
            raise CaseFailed(f"it wrote {wrote!r:.40}, not {written!r}")

    async def measure(bench: Bench, samples: int) -> list[float]:
        return (await timed(samples + 1, lambda: run(bench)))[1:]

    return measure


def calls_in_turn(count: int) -> Measure:
    return script(
        f"let n = 0; for (let i = 0; i < {count}; i++) n += (await tools.tool_0({{x: 1}})).x; text(n)", str(count)
    )


def calls_at_once(times: int, count: int) -> Measure:
    source = f"""
        let n = 0;
        for (let i = 0; i < {times}; i++) {{
            const calls = Array.from({{length: {count}}}, () => tools.tool_0({{x: 1}}));
            for (const answer of await Promise.all(calls)) n += answer.x;
        }}
        text(n);
    """
    return script(source, str(times * count))


def texts(count: int, length: int) -> Measure:
    source = f"const s = 'x'.repeat({length}); for (let i = 0; i < {count}; i++) text(s)"
    return script(source, count * length)


def value_through_tool(length: int) -> Measure:
    source = f"const answer = await tools.tool_0({{value: 'x'.repeat({length})}}); text(answer.value.length)"
    return script(source, str(length))


def loop(count: int) -> Measure:
    return script(f"let s = 0; for (let i = 0; i < {count}; i++) s = (s + i) | 0; text(s)")


def awaits(count: int) -> Measure:
    return script(f"let s = 0; for (let i = 0; i < {count}; i++) s += await 1; text(s)", str(count))


# What is done with a host from its start.


async def idle_memory(program: Program, samples: int) -> list[float]:
    """Memory of one idle live cell, in MB: of many, less what the host takes without them."""
    found = []
    for _ in range(samples):
        async with running(program) as bench:
            await bench.warm_up()
            base = await bench.memory()
            await bench.leave_running(IDLE_CELLS)
            found.append((await bench.memory() - base) / IDLE_CELLS)
    return found


async def spawn(program: Program, samples: int) -> list[float]:
    """From nothing to the first result, in milliseconds."""
    taken = []
    for _ in range(samples):
        start = time.perf_counter()
        async with running(program) as bench:
            await bench.execute(ONE_TEXT)
            taken.append((time.perf_counter() - start) * 1e3)
    return taken


CASES = (
    Case("execute, 0 tools", 50, 15, executes(0), goal=Goal(0.8, 0.5)),
    Case("execute, 32 tools", 50, 15, executes(32), goal=Goal(0.8, 0.5)),
    Case("execute, 128 tools", 50, 15, executes(128), goal=Goal(0.8, 0.5)),
    Case("execute 20 ms apart, 0 tools", 25, 8, executes_apart(0), goal=Goal(0.6, 0.35)),
    Case("execute 20 ms apart, 32 tools", 25, 8, executes_apart(32), goal=Goal(0.6, 0.35)),
    Case("100 cells at once", 2, 1, cells_at_once(100), goal=Goal(0.8, 0.5)),
    Case("1,000 tool calls in turn", 2, 1, calls_in_turn(1000), goal=Goal(1.0, 0.7)),
    Case("10 × 100 tool calls at once", 3, 1, calls_at_once(10, 100), goal=Goal(0.7, 0.4)),
    Case("10,000 tool calls at once", 1, 1, calls_at_once(1, 10_000), seconds=8),
    Case("20 MB of output", 3, 1, texts(200, 100_000), goal=Goal(1.1, 0.8)),
    Case("50,000 small texts", 3, 1, texts(50_000, 1), goal=Goal(1.0, 0.5)),
    Case("10 MB through a tool and back", 2, 1, value_through_tool(10_000_000)),
    Case("CPU loop", 2, 1, loop(200_000_000), goal=Goal(1.15, 1.0)),
    Case("100,000 awaits", 4, 2, awaits(100_000), goal=Goal(2.0, 1.3)),
    Case("memory per idle live cell", 1, 1, fresh=idle_memory, unit="MB", goal=Goal(1.8, 1.2)),
    Case("spawn to first result", 3, 1, fresh=spawn, goal=Goal(160, 90, absolute=True)),
)
