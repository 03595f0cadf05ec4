"""The benchmarks run: each case once and small, on this host alone. How fast anything is, is not looked at."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks import cases, curves, floods, layers, overhead, profile_execute, run
from benchmarks.cases import Case, Goal
from benchmarks.plot import PlotLibraryMissing, draw
from benchmarks.programs import OURS, Program
from benchmarks.results import Row, Samples
from benchmarks.turns import run_cases
from tests.seed import one_in

ROOT = Path(__file__).resolve().parent.parent

SMALL = (
    Case("executes", 2, 2, cases.executes(2)),
    Case("apart", 1, 1, cases.executes_apart(0)),
    Case("cells", 1, 1, cases.cells_at_once(5)),
    Case("calls in turn", 1, 1, cases.calls_in_turn(10)),
    Case("calls at once", 1, 1, cases.calls_at_once(2, 10)),
    Case("texts", 1, 1, cases.texts(3, 1000)),
    Case("value", 1, 1, cases.value_through_tool(1000)),
    Case("loop", 1, 1, cases.loop(1000)),
    Case("awaits", 1, 1, cases.awaits(100)),
    Case("memory", 1, 1, fresh=cases.idle_memory, unit="MB"),
    Case("spawn", 1, 1, fresh=cases.spawn),
    Case("cold_exec, 0 tools", 1, 1, fresh=overhead.times(0, 1, 0)),
    Case("warm_exec, 0 tools", 1, 1, fresh=overhead.times(1, 2, 0)),
    Case("warm_exec, 0 tools, memory", 1, 1, fresh=overhead.growth(1, 2, 0), unit="MB"),
    Case("growth with live cells, 1: time", 1, 1, fresh=curves.start_cells(1)),
    Case("growth with live cells, 1: memory", 1, 1, fresh=curves.hold_cells(1), unit="MB"),
    Case("growth with characters of output, 1,000: memory", 1, 1, fresh=curves.hold_output(1000), unit="MB"),
)


def silent(_: str) -> None:
    pass


async def test_every_kind_of_case_gives_its_numbers() -> None:
    rows = await run_cases(SMALL, [OURS], 1, quick=False, progress=silent)
    assert {row.case.name: row.hosts["ours"].failure for row in rows if row.hosts["ours"].failure} == {}
    for row in rows:
        median = row.hosts["ours"].median
        assert median is not None
        assert median > 0 or row.case.unit == "MB", row.case.name
    by_name = {row.case.name: row for row in rows}
    assert "warm_exec" in overhead.table(by_name, ["ours"])
    assert "live cells" in curves.table(by_name, ["ours"])


async def test_a_host_that_fails_a_case_is_replaced_for_the_next() -> None:
    broken = Case("broken", 1, 1, cases.script("throw new Error('no')"))
    wrong = Case("wrong", 1, 1, cases.script("text('a')", "b"))
    rows = await run_cases([broken, wrong, SMALL[0]], [OURS], 2, quick=True, progress=silent)
    failures = [row.hosts["ours"].failure for row in rows]
    assert failures[0] is not None
    assert failures[0].startswith("the cell failed: Error: no")
    assert failures[1] == "it wrote 'a', not 'b'"
    assert failures[2] is None
    assert [len(row.hosts["ours"].rounds) for row in rows] == [0, 0, 2]


async def test_a_host_that_cannot_be_run_fails_its_cases_and_no_others() -> None:
    missing = Program("reference", ("/nonexistent/host",))
    (row,) = await run_cases([SMALL[0]], [OURS, missing], 1, quick=True, progress=silent)
    assert row.hosts["ours"].failure is None
    assert "/nonexistent/host" in (row.hosts["reference"].failure or "")
    assert row.ratio is None


@pytest.mark.parametrize(
    ("ours", "reference", "goal", "verdict"),
    [
        ([[4.0], [6.0]], [[10.0]], Goal(0.8, 0.5), "want"),
        ([[6.0]], [[10.0]], Goal(0.8, 0.5), "must"),
        ([[9.0]], [[10.0]], Goal(0.8, 0.5), "missed"),
        ([[90.0]], [[10.0]], Goal(160, 90, absolute=True), "want"),
        ([[9.0]], [], Goal(0.8, 0.5), ""),
        ([[9.0]], [[10.0]], None, ""),
    ],
)
def test_goals_are_compared_with_the_ratio_of_medians(
    ours: list[list[float]], reference: list[list[float]], goal: Goal | None, verdict: str
) -> None:
    row = Row(Case("case", 1, 1, goal=goal), {"ours": Samples(ours), "reference": Samples(reference)})
    assert row.verdict == verdict


def test_rounds_tell_the_spread_and_samples_the_median() -> None:
    samples = Samples([[1.0, 2.0, 9.0], [3.0, 4.0, 5.0]])
    assert (samples.median, samples.spread, samples.best) == (3.5, (2.0, 4.0), 1.0)
    assert overhead.percentile([3.0, 1.0, 2.0], 95) == 3.0
    assert overhead.percentile(list(map(float, range(1, 101))), 95) == 95.0


def test_command_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    options = ["--quick", "--rounds", "1", "--no-reference", "--only", "awaits", "--output", str(tmp_path)]
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert re.search(r"^100,000 awaits +[\d.,]+ ms", done.stdout, flags=re.MULTILINE)
    document = json.loads((tmp_path / "results.json").read_text())
    assert [entry["case"] for entry in document["cases"]] == ["100,000 awaits"]
    assert document["cases"][0]["hosts"]["ours"]["median"] > 0


def test_only_takes_names_in_parts_and_patterns(capsys: pytest.CaptureFixture[str]) -> None:
    names = [case.name for case in run.all_cases(quick=False)]
    assert len(set(names)) == len(names)
    assert [name for name in names if run.chosen(name, ["cpu"])] == ["CPU loop"]
    assert [name for name in names if run.chosen(name, ["execute, ? tools", "spawn"])] == [
        "execute, 0 tools",
        "spawn to first result",
    ]
    assert run.main(["--only", "nothing like it"]) == 2
    assert "execute, 0 tools" in capsys.readouterr().err


def test_picture_is_drawn_where_the_library_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    case = Case("case", 1, 1, goal=Goal(0.8, 0.5))
    rows = [Row(case, {"ours": Samples([[1.0]]), "reference": Samples([[2.0]])})]
    points = [point for curve in curves.CURVES for point in curve.cases(quick=True)]
    rows += [Row(point, {"ours": Samples([[1.0]]), "reference": Samples(failure="lost")}) for point in points]
    target = tmp_path / "results.png"
    assert draw({row.case.name: row for row in rows}, rows[:1], ["ours", "reference"], target)
    assert target.read_bytes().startswith(b"\x89PNG")
    assert not draw({}, [], ["ours"], tmp_path / "nothing.png")


def test_without_the_library_there_is_no_picture_but_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotLibraryMissing):
        draw({}, [], ["ours"], tmp_path / "results.png")


async def test_profile_names_every_stage_and_process() -> None:
    profile = await profile_execute.profile(5)
    text = profile_execute.table(profile)
    for name in ("client", "host", "zygote", "cells", "page faults"):
        assert name in text


def test_plot_library_is_pinned_by_hash_and_apart_from_the_other_locks() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lock = (ROOT / "requirements" / "bench.txt").read_text()
    entries = [entry for entry in re.split(r"\n(?=[a-z])", lock) if not entry.startswith("#")]
    assert all("--hash=sha256:" in entry for entry in entries)
    pinned = [Requirement(entry.partition("\\")[0]) for entry in entries]
    for wanted in map(Requirement, project["dependency-groups"]["bench"]):
        versions = [str(entry.specifier).removeprefix("==") for entry in pinned if entry.name == wanted.name]
        assert versions
        assert all(wanted.specifier.contains(version) for version in versions)
        assert f"\n{wanted.name}==" not in (ROOT / "requirements" / "dev.txt").read_text()


@pytest.mark.parametrize("name", floods.FLOODS)
@pytest.mark.loops("asyncio")
async def test_a_bystander_is_measured_beside_each_flood(name: str) -> None:
    times, ending = await floods.flood(floods.FLOODS[name], 1, 0.1)
    assert times
    assert ending > 0


@pytest.mark.parametrize("layer", layers.LAYERS, ids=lambda layer: layer.name)
async def test_a_host_can_do_without_each_layer_of_confinement(layer: layers.Layer, tmp_path: Path) -> None:
    command = layers.make_host(layer, tmp_path)
    if layer not in one_in(3, layers.LAYERS):
        return
    executes, fills = await layers.measure(command, 1)
    assert (len(executes), len(fills)) == (1, 0)
