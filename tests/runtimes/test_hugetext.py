"""The engine's code in huge pages: the same code at the same addresses, and nothing else is changed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

SCRIPT = """
import json, re, resource, sys
from codemode_host.runtimes.engine.loading import EngineOptions, load
from codemode_host.runtimes.zygote.huge_pages import use_huge_pages

def mapped():
    "What is mapped for the engine's library or in its place: address, rights, whether of the file."
    lines = [line.split(None, 5) for line in open("/proc/self/maps")]
    places = [i for i, line in enumerate(lines) if len(line) > 5 and "libmozjs" in line[5]]
    return [(*line[0].split("-"), line[1], len(line) > 5) for line in lines[places[0] : places[-1] + 1]]

engine = load(EngineOptions())
double = engine.evaluate("(n) => { let s = 0; for (let i = 0; i < n; i++) s += i; return s }", "a.js")
before, results = mapped(), [double(1000.0)]
if sys.argv[2:]:
    most = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
changed = use_huge_pages(sys.argv[1])
after = mapped()
results += [double(1000.0), engine.evaluate("JSON.stringify([.../(a)(b)?/.exec('a')])", "b.js")]
huge = 0
for line in open("/proc/self/smaps"):
    huge += int(line.split()[1]) * 1024 if line.startswith("AnonHugePages") else 0
results = [str(result) for result in results]
print(json.dumps({"changed": changed, "before": before, "after": after, "results": results, "huge": huge}))
"""
RESULTS = ["499500.0", "499500.0", '["a","a",null]']


def run(*arguments: str) -> Any:
    command = [sys.executable, "-c", SCRIPT, *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)


def huge_pages_can_be_had() -> bool:
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
            return "[never]" not in file.read()
    except OSError:
        return False


def test_code_is_moved_whole_and_runs_on() -> None:
    if not huge_pages_can_be_had():
        pytest.skip("this kernel gives no huge pages")
    ran = run("libmozjs")
    assert ran["results"] == RESULTS
    assert ran["changed"] >= 8 << 20
    assert ran["huge"] >= ran["changed"]
    own = [
        (int(low, 16), int(high, 16)) for low, high, rights, of_file in ran["after"] if rights == "r-xp" and not of_file
    ]
    assert sum(high - low for low, high in own) == ran["changed"]
    assert all(low % (2 << 20) == high % (2 << 20) == 0 for low, high in own)
    # Of the constants before the code no more can be run than share a page with it.
    starts = [int(low, 16) for low, _, rights, of_file in ran["before"] if rights == "r-xp" and of_file]
    assert min(starts) - min(own)[0] < 2 << 20
    # Where there was something there is something, and what may be written may not be run.
    assert (ran["after"][0][0], ran["after"][-1][1]) == (ran["before"][0][0], ran["before"][-1][1])
    assert all("w" not in rights or "x" not in rights for _, _, rights, _ in ran["after"])


def test_a_library_that_is_not_there_is_nothing_to_do() -> None:
    ran = run("libnothing")
    assert (ran["changed"], ran["after"], ran["results"]) == (0, ran["before"], RESULTS)


def test_without_memory_for_it_nothing_changes() -> None:
    ran = run("libmozjs", str(8 << 20))
    assert (ran["changed"], ran["after"], ran["results"]) == (0, ran["before"], RESULTS)
