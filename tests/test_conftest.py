"""What tests/conftest.py watches over, it really sees: it is run on small test files that misbehave."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent

LEAVES_THINGS = """
import os, subprocess

kept = []

def test_that_leaves():
    kept.append(os.pipe())
    kept.append(subprocess.Popen(["sleep", "60"]))
    kept.append(subprocess.Popen(["true"]))

def test_that_finds_them_and_leaves_nothing():
    for process in kept[1:]:
        process.kill()
        process.wait()
    for end in kept[0]:
        os.close(end)
"""

LEAVES_LATE = """
import subprocess, threading

def test_whose_child_ends_by_itself():
    child = subprocess.Popen(["sleep", "0.2"])
    threading.Thread(target=child.wait).start()
"""

ASYNC = """
import pytest, trio
from hypothesis import given, strategies

examples = []

async def test_fails():
    await trio.lowlevel.checkpoint()
    assert False, "reached"

@pytest.mark.time_limit(0.1)
async def test_hangs(tmp_path):
    await trio.sleep_forever()

async def test_waits_a_day(autojump_clock):
    await trio.sleep(86_400)
    assert trio.current_time() >= 86_400

@given(strategies.integers())
async def test_each_example(number):
    await trio.lowlevel.checkpoint()
    examples.append(number)

def test_examples_were_run():
    assert len(examples) > 50
"""


def run(folder: Path, where: str, source: str) -> str:
    """What pytest prints for a test file in that folder, beside a copy of conftest.py."""
    (folder / where).mkdir()
    (folder / where / "test_it.py").write_text(source)
    shutil.copy(TESTS / "conftest.py", folder)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    command += ["-c", str(TESTS.parent / "pyproject.toml"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False).stdout


def test_descriptors_and_children_left_behind_fail_the_test_that_left_them(tmp_path: Path) -> None:
    printed = run(tmp_path, "e2e", LEAVES_THINGS)
    assert "2 passed, 1 error" in printed
    assert "ERROR at teardown of test_that_leaves " in printed
    left = printed.partition("left behind by this test:\n")[2].splitlines()[:4]
    assert [line.split()[0] for line in left] == ["descriptor", "descriptor", "child", "child"]
    assert sum("sleep 60" in line for line in left) == 1
    assert sum("was not reaped" in line for line in left) == 1


def test_what_ends_a_little_later_is_waited_for(tmp_path: Path) -> None:
    assert "1 passed" in run(tmp_path, "host", LEAVES_LATE)


def test_folders_that_start_no_processes_are_not_watched(tmp_path: Path) -> None:
    assert "1 passed" in run(tmp_path, "protocol", "import os\n\ndef test_it(): os.pipe()\n")


def test_async_tests_run_under_trio_and_cannot_hang(tmp_path: Path) -> None:
    printed = run(tmp_path, "host", ASYNC)
    assert "2 failed, 3 passed" in printed
    assert "reached" in printed
    assert "still running after 0.1 s" in printed
    assert "await trio.sleep_forever()" in printed
