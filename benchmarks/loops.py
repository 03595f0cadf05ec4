"""The same calls through `Toolbox` on each event loop: what users of asyncio, uvloop and trio pay beside one another.

    python -m benchmarks.loops LOOP SAMPLES

measures one loop in this process and prints JSON. `measure` does that for all loops in turns, each in a process of its
own, since a process has imported one loop or another.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from codemode_client import CodeModeProvider, Session, Toolbox

ROOT = Path(__file__).resolve().parent.parent
NAME = "event loops"
LOOPS = ("asyncio", "uvloop", "trio")
CALLS = 1000
WARM_UP_RUNS = 3

SCRIPTS = {
    "a script with one tool call": "text((await tools.add({ a: 1, b: 2 })))",
    "1,000 tool calls in turn": f"for (let i = 0; i < {CALLS}; i++) await tools.add({{ a: i, b: 2 }})",
    "1,000 tool calls at once": f"""
        const calls = Array.from({{ length: {CALLS} }}, (_, i) => tools.add({{ a: i, b: 2 }}));
        await Promise.all(calls)""",
    "1,000 calls of a plain tool in turn": f"for (let i = 0; i < {CALLS}; i++) await tools.plain({{ a: i, b: 2 }})",
}
"""By the name of the case. The first is short, and measured more often."""

FIRST_RESULT = "new Python process to first result"

Figures = dict[str, list[float]]
"""Milliseconds, by case."""


def toolbox() -> Toolbox:
    async def add(a: int, b: int) -> int:
        return a + b

    def plain(a: int, b: int) -> int:
        return a + b

    return Toolbox([add, plain])


def run_on(loop: str, function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run an async function on an event loop, and import no other."""
    if loop == "trio":
        import trio

        return trio.run(function)
    import asyncio

    if loop == "uvloop":
        import uvloop

        return uvloop.run(function())
    return asyncio.run(function())


async def measure_scripts(samples: int) -> Figures:
    """Run each script so often, after a warm-up, and return the times."""
    found: Figures = {}
    async with CodeModeProvider() as provider, provider.session(toolbox()) as session:
        for name, source in SCRIPTS.items():
            for _ in range(WARM_UP_RUNS):
                await timed(session, source)
            times = samples if "1,000" in name else 10 * samples
            found[name] = [await timed(session, source) for _ in range(times)]
    return found


async def timed(session: Session, source: str) -> float:
    """Run a script and return how many milliseconds it took."""
    began = time.perf_counter()
    (await session.run(source)).raise_for_error()
    return (time.perf_counter() - began) * 1e3


async def first_result() -> None:
    async with CodeModeProvider() as provider, provider.session(toolbox()) as session:
        (await session.run(SCRIPTS["a script with one tool call"])).raise_for_error()


def available() -> list[str]:
    """Return the loops that are installed."""
    return [loop for loop in LOOPS if loop == "asyncio" or find_spec(loop) is not None]


def measure(samples: int, rounds: int) -> dict[str, Figures]:
    """Measure all loops in turns, and return the figures of each."""
    found: dict[str, Figures] = {loop: {} for loop in available()}
    for number in range(rounds):
        for loop in available() if number % 2 == 0 else reversed(available()):
            command = [sys.executable, "-m", "benchmarks.loops", loop]
            done = subprocess.run([*command, str(samples)], check=True, capture_output=True, text=True, cwd=ROOT)
            figures: Figures = json.loads(done.stdout)
            began = time.perf_counter()
            subprocess.run([*command, "0"], check=True, capture_output=True, cwd=ROOT)
            figures[FIRST_RESULT] = [(time.perf_counter() - began) * 1e3]
            for name, taken in figures.items():
                found[loop].setdefault(name, []).extend(taken)
    return found


def table(figures: dict[str, Figures]) -> str:
    """Return a line for each case with each loop's median in milliseconds, and what it is of trio's."""
    names = [*SCRIPTS, FIRST_RESULT]
    lines = [f"{'through Toolbox, ms':38}" + "".join(f"{loop:>10}{'':8}" for loop in figures)]
    for name in names:
        medians = {loop: statistics.median(taken[name]) for loop, taken in figures.items()}
        cells = [f"{value:10.2f}{_of(value, medians.get('trio')):>8}" for value in medians.values()]
        lines.append(f"{name:38}" + "".join(cells).rstrip())
    return "\n".join(lines)


def _of(value: float, base: float | None) -> str:
    return "" if base is None else f"({value / base:.2f})"


def main(argv: Sequence[str]) -> None:
    loop, samples = argv
    if samples == "0":
        run_on(loop, first_result)
    else:
        print(json.dumps(run_on(loop, lambda: measure_scripts(int(samples)))))


if __name__ == "__main__":
    main(sys.argv[1:])
