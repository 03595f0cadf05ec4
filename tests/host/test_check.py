"""`codemode-host --check` and `--version`, run as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from codemode_host import check as checking
from codemode_host.runtimes.cell.confinement import Confinement
from codemode_host.version import VERSION

LAYERS = ("not root", "no network", "cannot use files")
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def host(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "codemode_host", *flags], capture_output=True, text=True, timeout=60, check=False
    )


def test_everything_is_there_and_each_thing_is_a_line() -> None:
    done = host("--check")
    assert (done.returncode, done.stderr) == (0, "")
    title, *lines = done.stdout.splitlines()
    assert title.startswith("Python ")
    assert all(line.startswith("ok ") for line in lines)
    for word in ("socket", "process", "file", "shared memory", "single-threaded", "queue", "memory limit", *LAYERS):
        assert word in done.stdout


def test_what_was_given_up_is_not_missing() -> None:
    done = host("--check", "--confinement", "off")
    assert done.returncode == 0
    assert "off      confinement" in done.stdout
    assert "socket" not in done.stdout


def test_something_missing_is_said_and_is_the_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Confinement, "_filter_available", lambda _: False)
    assert checking.check(confined=True) == 1
    output = capsys.readouterr().out
    assert "MISSING  system call filter: the kernel has no system call filter that kills" in output
    assert "run with --confinement off" in output


def test_the_version_is_the_projects() -> None:
    assert host("--version").stdout == f"codemode-host {VERSION}\n"
    assert f'version = "{VERSION}"' in PYPROJECT.read_text()
