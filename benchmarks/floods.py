"""Measures how long a short script with one tool call takes while other cells of the host flood it.

    python -m benchmarks.floods [--seconds N] [--cells N ...] [--only PATTERN]

The script is of another session than the floods, of the same provider and on one event loop with it. Prints the median
and the longest time in milliseconds, and how long it took to terminate one of the flooding cells.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence

from codemode_client import CodeModeProvider, Session, Toolbox

FLOODS = {
    "computes": "for (;;);",
    "texts": "for (;;) text('')",
    "yields": "for (;;) yield_control()",
    "notifications": "for (;;) notify('x')",
    "tool calls": "for (;;) tools.echo({ value: 1 }).catch(() => 0)",
    "timers": "const again = () => setTimeout(again); for (let i = 0; i < 999; i++) again(); await new Promise(again)",
}
CELLS = (1, 8, 32, 128)
SCRIPT = "text(await tools.echo({ value: 1 }))"
PAUSE_SECONDS = 0.005


def make_toolbox() -> Toolbox:
    toolbox = Toolbox()

    @toolbox.tool
    async def echo(value: object) -> object:
        return value

    return toolbox


async def measure(bystander: Session, seconds: float) -> list[float]:
    """Run the script again and again; return how long each took, in seconds."""
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        await bystander.run(SCRIPT)
        times.append(time.perf_counter() - start)
        await asyncio.sleep(PAUSE_SECONDS)
    return times


async def flood(source: str, cells: int, seconds: float) -> tuple[list[float], float]:
    """Return the bystander's times beside so many cells, and how long one of them takes to be terminated."""
    toolbox = make_toolbox()
    async with (
        CodeModeProvider() as provider,
        provider.session(toolbox) as flooding,
        provider.session(toolbox) as bystander,
    ):
        await bystander.run(SCRIPT)
        started = [await flooding.execute(source, yield_time_ms=0) for _ in range(cells)]
        times = await measure(bystander, seconds)
        start = time.perf_counter()
        await flooding.terminate(started[0].cell_id)
        return times, time.perf_counter() - start


async def main(names: Sequence[str], cells: Sequence[int], seconds: float) -> None:
    print(f"{'milliseconds':<16}{'cells':>6}{'median':>9}{'longest':>9}{'terminate':>11}")
    quiet, _ = await flood("await new Promise(() => {})", 1, seconds)
    print(f"{'nothing':<16}{'':>6}{statistics.median(quiet) * 1e3:9.1f}{max(quiet) * 1e3:9.1f}")
    for name in names:
        for count in cells:
            times, ending = await flood(FLOODS[name], count, seconds)
            middle, longest = statistics.median(times) * 1e3, max(times) * 1e3
            print(f"{name:<16}{count:>6}{middle:9.1f}{longest:9.1f}{ending * 1e3:11.1f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (default: %(default)s)")
    parser.add_argument(
        "--cells", type=int, nargs="+", default=CELLS, help="how many cells flood (default: 1 8 32 128)"
    )
    parser.add_argument("--only", choices=FLOODS, action="append", help="one flood; may be given several times")
    chosen = parser.parse_args()
    asyncio.run(main(chosen.only or list(FLOODS), chosen.cells, chosen.seconds))
