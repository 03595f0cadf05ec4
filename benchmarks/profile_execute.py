"""Where the time of one warm execute goes: by stage, by process, and in page faults.

    python benchmarks/profile_execute.py [--count N]

Runs a script that does nothing, N times one after the other and N times 20 ms apart, on a host whose system calls are
noted (`marks.py`). Prints the time of each stage, as the mean of the middle half of the executes, and what each process
took of the processors. The stages above "the total" follow each other and are the caller's wait; the others happen
before or after it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from benchmarks import marks, procfs
from benchmarks.programs import ONE_TEXT, OURS, Bench, Program, running
from benchmarks.timeline import Cell, NoteMissing, Timeline

DEFAULT_COUNT = 150
APART_SECONDS = 0.02

STAGES = {
    "client: encode, send; host wakes": "request",
    "host: decode, start the cell": "start",
    "cell wakes": "wake",
    "cell: compile, run, say its end": "script",
    "host wakes": "done",
    "host: read the output, answer": "answer",
    "client wakes: decode, give it to the caller": "result",
    "the total": "total",
    "before: fork, in the zygote": "fork",
    "before: the child's set-up, until it waits": "setup",
    "before: waiting as a spare": "spare",
    "after: exit, until it is reaped": "reap",
}
"""What the stages are called, and the keys of their times."""

PHASES = {"fork and set-up": "setup", "start, script": "script", "all, exit included": "all"}
"""Whose page faults are counted, and their keys."""


@dataclass
class Pace:
    """Measurements at one pace. Times in microseconds by stage, processor time of one execute by process."""

    name: str
    stages: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    faults: dict[str, float] = field(default_factory=dict)
    unmarked: float = 0.0
    """The total on a host without marks."""


async def profile(count: int) -> list[Pace]:
    """Measure `count` executes at each pace. Raises RuntimeError when the host's stages cannot be made out any more."""
    paces = []
    for name, pause in (("in turn", 0.0), ("20 ms apart", APART_SECONDS)):
        pace = Pace(name)
        async with running(OURS) as bench:
            await bench.warm_up()
            pace.unmarked = statistics.median(end - start for start, end in await _executes(bench, count, pause)) / 1e3
        with tempfile.TemporaryDirectory() as folder:
            path = _table_in(folder)
            marked = Program("marked", (sys.executable, "-m", "benchmarks.marks", str(path)))
            async with running(marked) as bench:
                await bench.warm_up()
                host, zygote = procfs.tree(bench.pid)[:2]
                before = _cpu(host, zygote)
                spans = await _executes(bench, count, pause)
                after = _cpu(host, zygote)
                await trio.sleep(0.1)  # for the last ones to be reaped
            timeline = Timeline.read(path)
        _evaluate(pace, spans, timeline)
        pace.cpu = {name: (after[name] - before[name]) / count * 1e6 for name in before} | pace.cpu
        paces.append(pace)
    return paces


def _table_in(folder: str) -> Path:
    path = Path(folder, "marks")
    path.touch()
    os.truncate(path, marks.FILE_BYTES)
    return path


async def _executes(bench: Bench, count: int, pause: float) -> list[tuple[int, int]]:
    """When each execute began and ended, in nanoseconds."""
    spans = []
    for _ in range(count):
        if pause:
            await trio.sleep(pause)
        start = time.perf_counter_ns()
        await bench.execute(ONE_TEXT)
        spans.append((start, time.perf_counter_ns()))
    return spans


def _cpu(host: int, zygote: int) -> dict[str, float]:
    """Processor time so far, in seconds."""
    return {
        "client": time.process_time(),
        "host": procfs.running_seconds(host),
        "zygote": procfs.running_seconds(zygote),
    }


def _evaluate(pace: Pace, spans: Sequence[tuple[int, int]], timeline: Timeline) -> None:
    stages: dict[str, list[float]] = {}
    cells: list[Cell] = []
    missing = Counter[str]()
    for start, end in spans:
        try:
            times, cell = timeline.stages(start, end)
        except NoteMissing as error:
            missing[str(error)] += 1
            continue
        cells.append(cell)
        for key, value in times.items():
            stages.setdefault(key, []).append(value / 1e3)
    if len(cells) < len(spans) / 2:
        raise RuntimeError(
            f"marks.py does not see what the host does any more; missing of {len(spans)}: {dict(missing)}"
        )
    # The half of the executes whose totals lie in the middle: nothing that disturbed a few of them, and stages that add
    # up, which medians of each would not.
    middle = sorted(range(len(cells)), key=lambda at: stages["total"][at])[len(cells) // 4 : -(len(cells) // 4) or None]
    pace.stages = {key: statistics.fmean(values[at] for at in middle) for key, values in stages.items()}
    pace.cpu["cells"] = statistics.fmean(cell.cpu for cell in cells)
    for key in PHASES.values():
        pace.faults[key] = statistics.fmean(cell.faults[key] for cell in cells)


def table(paces: Sequence[Pace]) -> str:
    """The measurements as tables for docs/performance.md."""
    lines: list[str] = []

    def section(title: str, unit: str) -> None:
        columns = "".join(f" {pace.name + unit:>16} |" for pace in paces)
        lines.extend(["", f"| {title:46} |{columns}", "|---" + "|---:" * len(paces) + "|"])

    def row(name: str, values: Sequence[float]) -> None:
        lines.append(f"| {name:46} |" + "".join(f" {value:>16,.0f} |" for value in values))

    section("stage", ", µs")
    for name, key in STAGES.items():
        row(name, [pace.stages[key] for pace in paces])
    row("the total, without marks", [pace.unmarked for pace in paces])
    section("processor time of one execute", ", µs")
    for name in ("client", "host", "zygote", "cells"):
        row(name, [pace.cpu[name] for pace in paces])
    row("together", [sum(pace.cpu.values()) for pace in paces])
    section("page faults of a cell", "")
    for name, key in PHASES.items():
        row(name, [pace.faults[key] for pace in paces])
    return "\n".join(lines[1:])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=DEFAULT_COUNT, metavar="N", help="executes (default: %(default)s)")
    options = parser.parse_args(argv)
    foreign = procfs.Foreign()
    paces = trio.run(profile, options.count)
    print(table(paces))
    print(f"\nOther processes had {foreign.share():.0%} of the machine's processors meanwhile.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
