"""The results as a picture: ratios with their goals, and how time and memory grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.curves import CURVES, Curve, measured
from benchmarks.results import REFERENCE, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"ours": "#1f77b4", REFERENCE: "#ff7f0e"}


class PlotLibraryMissing(Exception):
    """matplotlib is not installed here."""


def draw(rows: Mapping[str, Row], cases: Sequence[Row], hosts: Sequence[str], target: Path) -> bool:
    """Write a PNG of `cases` and of the growth curves among `rows`; False if there is nothing to draw.

    Raises PlotLibraryMissing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise PlotLibraryMissing from missing
    compared = [row for row in cases if row.ratio is not None]
    curves = [curve for curve in CURVES if any(measured(curve, rows, "time", host) for host in hosts)]
    bars = 1 if compared else 0
    if not bars and not curves:
        return False
    figure = Figure(figsize=(7 * bars + 9 * bool(curves), 8), layout="constrained")
    FigureCanvasAgg(figure)
    widths = [1.3] * bars + [1] * (2 * bool(curves))
    grid = figure.add_gridspec(max(1, len(curves)), len(widths), width_ratios=widths)
    if compared:
        _ratios(figure.add_subplot(grid[:, 0]), compared)
    for line, curve in enumerate(curves):
        for column, what in enumerate(("time", "memory")):
            _growth(figure.add_subplot(grid[line, bars + column]), curve, what, rows, hosts)
    figure.savefig(target, dpi=110)
    return True


def _ratios(axes: Axes, rows: Sequence[Row]) -> None:
    names = [row.case.name for row in rows]
    ratios = [row.ratio or 0.0 for row in rows]
    axes.barh(names, ratios, color=COLOURS["ours"], alpha=0.7)
    for line, row in enumerate(rows):
        axes.annotate(f"{row.ratio:.2f}", (0.11, line), va="center", fontsize=8)
        goal = row.case.goal
        if goal is not None and not goal.absolute:
            axes.plot([goal.must] * 2, [line - 0.4, line + 0.4], color="black", linewidth=2)
            axes.plot([goal.want] * 2, [line - 0.4, line + 0.4], color="green", linewidth=2)
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlim(left=0.1)
    axes.invert_yaxis()
    axes.set_title("ours / reference, medians (less is better)\nblack: must hold, green: wanted", fontsize=10)


def _growth(axes: Axes, curve: Curve, what: str, rows: Mapping[str, Row], hosts: Sequence[str]) -> None:
    for host in hosts:
        points = measured(curve, rows, what, host)
        axes.plot(
            [x for x, _ in points], [y for _, y in points], "o-", label=host, color=COLOURS.get(host), markersize=4
        )
    # Zero has a place on the axis too.
    axes.set_xscale("symlog", linthresh=max(1, min(point for point in curve.points if point)))
    axes.set_yscale("log")
    axes.set_xlabel(curve.name, fontsize=9)
    axes.set_ylabel("ms" if what == "time" else "MB above idle", fontsize=9)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
