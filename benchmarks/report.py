"""The table on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.results import Row, Samples

NAME_WIDTH = 31
VALUE_WIDTH = 26
MARKS = {"want": "✓✓", "must": "✓", "missed": "✗", "": ""}


def number(value: float) -> str:
    """Three digits that matter, and no more."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def samples_text(samples: Samples, unit: str) -> str:
    """Median, and the lowest and highest of the rounds' medians."""
    median, spread = samples.median, samples.spread
    if median is None or spread is None:
        return "n/a"
    low, high = map(number, spread)
    return f"{number(median)} {unit} ({low}–{high})"


def table(rows: Sequence[Row], names: Sequence[str]) -> str:
    """A line for each case: the hosts' medians and spreads, the ratio, and how it meets its goal."""
    columns = "".join(f"{name:>{VALUE_WIDTH}}" for name in names)
    compared = len(names) > 1
    title = f"{'case':{NAME_WIDTH}}{columns}"
    lines = [title + (f"{'ratio':>8}{'best':>7}{'goal':>13}" if compared else "")]
    for row in rows:
        line = f"{row.case.name:{NAME_WIDTH}}"
        for name in names:
            line += f"{samples_text(row.hosts[name], row.case.unit):>{VALUE_WIDTH}}"
        if compared:
            for width, ratio in ((8, row.ratio), (7, row.best_ratio)):
                line += f"{'' if ratio is None else f'{ratio:.2f}':>{width}}"
            line += f"{_goal(row):>13}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def failures(rows: Sequence[Row]) -> list[str]:
    """Why there are no numbers, a line for each case and host that has none."""
    return [
        f"{row.case.name}: n/a for {name}: {samples.failure}"
        for row in rows
        for name, samples in row.hosts.items()
        if samples.failure is not None
    ]


def _goal(row: Row) -> str:
    goal = row.case.goal
    if goal is None:
        return ""
    figures = f"{goal.must:g}/{goal.want:g}"
    return f"{figures} {MARKS[row.verdict]:2}"
