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

from benchmarks import report
from benchmarks.cases import CASES, Case
from benchmarks.procfs import Foreign
from benchmarks.programs import OURS, Program, ReferenceMissing, reference
from benchmarks.turns import run_cases

DEFAULT_OUTPUT = Path(__file__).resolve().parent / "results"
ROUNDS = 3
QUICK_ROUNDS = 2


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


def programs(*, alone: bool) -> list[Program]:
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


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    cases: list[Case] = [case for case in CASES if chosen(case.name, options.only)]
    if not cases:
        print("no case has such a name; there are:", *(case.name for case in CASES), sep="\n  ", file=sys.stderr)
        return 2
    hosts = programs(alone=options.no_reference)
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    foreign = Foreign()
    rows = trio.run(lambda: run_cases(cases, hosts, rounds, quick=options.quick, progress=progress))
    progress("")
    print(report.table(rows, [host.name for host in hosts]))
    share = foreign.share()
    print(f"\n{rounds} rounds; medians of all samples (lowest–highest median of a round).")
    print(f"Other processes had {share:.0%} of the machine's processors meanwhile.")
    options.output.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": machine(),
        "rounds": rounds,
        "foreign_share": share,
        "cases": [row.as_json() for row in rows],
    }
    target = options.output / "results.json"
    target.write_text(json.dumps(document, indent=1) + "\n")
    print(f"Written: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
