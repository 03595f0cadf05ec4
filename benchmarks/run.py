"""Measures this host and the reference host in turns, through the same client, and prints how they compare.

    python benchmarks/run.py [--quick] [--only PATTERN] [--rounds N] [--no-reference] [--output DIR]

Prints a table and writes `results.json` and, where matplotlib is installed, `results.png`. The reference host is
fetched by npm; without it this host is measured alone.
"""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import trio

from benchmarks import curves, loops, overhead, report
from benchmarks.cases import CASES, Case
from benchmarks.plot import PlotLibraryMissing, draw
from benchmarks.procfs import Foreign
from benchmarks.programs import OURS, Program, ReferenceMissing, reference
from benchmarks.results import Row
from benchmarks.turns import run_cases

DEFAULT_OUTPUT = Path(__file__).resolve().parent / "results"
ROUNDS = 3
QUICK_ROUNDS = 2
LOOP_SAMPLES, QUICK_LOOP_SAMPLES = 5, 2


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few samples: half a minute instead of three")
    parser.add_argument(
        "--only",
        action="append",
        metavar="PATTERN",
        help="only cases whose name contains this (* and ? as in file names); may be given several times",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help=f"turns of each host (default: {ROUNDS})")
    parser.add_argument("--no-reference", action="store_true", help="measure this host alone")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, metavar="DIR", help="default: %(default)s")
    return parser.parse_args(argv)


def chosen(name: str, patterns: Sequence[str] | None) -> bool:
    return not patterns or any(fnmatch.fnmatch(name.lower(), f"*{pattern.lower()}*") for pattern in patterns)


def hosts(*, alone: bool) -> list[Program]:
    """The hosts to measure; says on standard error why the reference host is not among them."""
    found = [OURS]
    if not alone:
        try:
            found.append(reference())
        except ReferenceMissing as missing:
            print(f"measuring this host alone: {missing}", file=sys.stderr)
    return found


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def machine() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "processors": len(os.sched_getaffinity(0)),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def all_cases(*, quick: bool) -> list[Case]:
    return [*CASES, *overhead.cases(), *curves.cases(quick=quick)]


def print_tables(rows: dict[str, Row], cases: Sequence[Row], hosts: Sequence[str]) -> None:
    tables = (report.table(cases, hosts) if cases else "", overhead.table(rows, hosts), curves.table(rows, hosts))
    print("\n\n".join([*filter(None, tables), *report.failures(list(rows.values()))]))


def write(
    output: Path, document: dict[str, object], rows: dict[str, Row], cases: Sequence[Row], hosts: Sequence[str]
) -> None:
    """The results as JSON and, if it can be drawn, as a picture."""
    output.mkdir(parents=True, exist_ok=True)
    data, picture = output / "results.json", output / "results.png"
    data.write_text(json.dumps(document, indent=1) + "\n")
    print(f"Written: {data}")
    try:
        drawn = draw(rows, cases, hosts, picture)
    except PlotLibraryMissing:
        print("No picture: matplotlib is not installed here (make bench installs it).")
    else:
        print(f"Written: {picture}" if drawn else "No picture: there is nothing to compare.")


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    quick: bool = options.quick
    chosen_cases = [case for case in all_cases(quick=quick) if chosen(case.name, options.only)]
    with_loops = chosen(loops.NAME, options.only)
    if not chosen_cases and not with_loops:
        names = [*(case.name for case in all_cases(quick=quick)), loops.NAME]
        print("no case has such a name; there are:", *names, sep="\n  ", file=sys.stderr)
        return 2
    programs = hosts(alone=options.no_reference)
    names = [program.name for program in programs]
    rounds = options.rounds or (QUICK_ROUNDS if quick else ROUNDS)
    foreign = Foreign()
    measured = trio.run(lambda: run_cases(chosen_cases, programs, rounds, quick=quick, progress=progress))
    progress(loops.NAME)
    on_loops = loops.measure(QUICK_LOOP_SAMPLES if quick else LOOP_SAMPLES, rounds) if with_loops else {}
    share = foreign.share()
    progress("")
    rows = {row.case.name: row for row in measured}
    cases = [row for row in measured if row.case in CASES]
    print_tables(rows, cases, names)
    if on_loops:
        print("\n" + loops.table(on_loops))
    print(f"\n{rounds} rounds; medians of all samples (lowest–highest median of a round); best: of the best samples.")
    print(f"Other processes had {share:.0%} of the machine's processors meanwhile.")
    document = {
        "machine": machine(),
        "rounds": rounds,
        "foreign_share": share,
        "cases": [row.as_json() for row in measured],
        "loops": on_loops,
    }
    write(options.output, document, rows, cases, names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
