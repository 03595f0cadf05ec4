"""`codemode doctor`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from codemode_client._cli.console import diagnosis
from tests.e2e.commands import CODEMODE, make_environment, run_codemode


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """What was found, by name; the worst of several of one name."""
    order = ["ok", "info", "warn", "fail"]
    found = sorted(json.loads(done.stdout)["findings"], key=lambda finding: order.index(finding["status"]))
    return {finding["name"]: finding for finding in found}


def test_a_machine_that_runs_these_tests_is_in_order(tmp_path: Path) -> None:
    done = run_codemode(tmp_path, "doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["ok"] is True
    found = findings(done)
    for name in ("Python", "platform", "C library", "pythonmonkey", "seccomp", "host's check", "cells"):
        assert found[name]["status"] == "ok", found[name]
    assert "calls a tool takes" in found["cells"]["found"]
    for finding in found.values():
        assert (finding["remedy"] is None) == (finding["status"] == "ok"), finding


def test_a_host_that_does_not_work_fails_with_what_to_do(tmp_path: Path) -> None:
    done = run_codemode(tmp_path, "doctor", "--host", "/no/such/host")
    assert (done.returncode, done.stderr) == (1, "")
    assert "fail  host's check    /no/such/host cannot be run" in done.stdout
    assert "give another program with --host" in done.stdout
    silent = findings(run_codemode(tmp_path, "doctor", "--json", "--host", "/bin/false"))
    assert "ended with status 1" in silent["host's check"]["found"]
    assert silent["cells"]["status"] == "fail"


def test_what_the_hosts_check_misses_is_told_line_by_line(tmp_path: Path) -> None:
    host = tmp_path / "host.py"
    host.write_text("print('ok       one'); print('MISSING  a cell cannot open a socket'); raise SystemExit(1)\n")
    found = findings(run_codemode(tmp_path, "doctor", "--json", "--host", f"{sys.executable} {host}"))
    assert found["host's check"]["found"] == "a cell cannot open a socket"


def test_a_layer_that_the_machine_does_not_give_is_told(tmp_path: Path) -> None:
    host = tmp_path / "host.py"
    lines = ["ok       a cell cannot open a socket", "not here cells cannot use files (Landlock)"]
    host.write_text(f"print({chr(10).join(lines)!r})\n")
    found = findings(run_codemode(tmp_path, "doctor", "--json", "--host", f"{sys.executable} {host}"))
    assert found["host's check"]["found"] == "1 things that cells rely on were tried, and work"
    layer = found["host's layers"]
    assert (layer["status"], layer["found"]) == ("info", "not here: cells cannot use files (Landlock)")


def test_what_works_but_not_well_is_a_warning(tmp_path: Path) -> None:
    host = f"{sys.executable} -m codemode_host --confinement off"
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 512; exec "$@"', "sh", *CODEMODE, "doctor", "--json", "--host", host],
        cwd=tmp_path,
        env=make_environment(PYTHONIOENCODING="latin-1"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = findings(done)
    assert done.returncode == 0
    for name in ("descriptors", "terminal", "host's check"):
        assert found[name]["status"] == "warn", found[name]


def test_it_runs_where_the_packages_it_looks_for_are_missing(tmp_path: Path) -> None:
    for name in ("trio", "msgspec", "prompt_toolkit"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not here')\n")
    path = f"{tmp_path}:{make_environment()['PYTHONPATH']}"
    done = run_codemode(tmp_path, "doctor", "--json", PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "cannot be imported" in findings(done)["cells"]["found"]


def test_another_version_than_the_pinned_one_fails(tmp_path: Path) -> None:
    (tmp_path / "pythonmonkey-1.3.0.dist-info").mkdir()
    (tmp_path / "pythonmonkey-1.3.0.dist-info" / "METADATA").write_text("Name: pythonmonkey\nVersion: 1.3.0\n")
    path = f"{tmp_path}:{make_environment()['PYTHONPATH']}"
    done = run_codemode(tmp_path, "doctor", "--json", PYTHONPATH=path)
    assert done.returncode == 1
    found = findings(done)["pythonmonkey"]
    assert found["found"] == "1.3.0, == 1.4.1 is needed"
    assert found["remedy"] == "pip install 'pythonmonkey==1.4.1'"


@pytest.mark.parametrize(("version", "numbers"), [("2.36", (2, 36)), ("1.4.1rc2", (1, 4, 1)), ("", ())])
def test_versions_are_compared_by_their_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert diagnosis._numbers(version) == numbers


PROCESSES_LEFT = """
import os, resource, subprocess
from codemode_client._cli.console.diagnosis import _own_processes_left
os.setuid(54321)
resource.setrlimit(resource.RLIMIT_NPROC, (100, 100))
one = _own_processes_left()
with subprocess.Popen(["sleep", "100"]) as other:
    two = _own_processes_left()
    other.kill()
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
none = _own_processes_left()
print(one, two, none)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be a user who runs nothing else")
def test_the_processes_that_a_user_runs_already_are_counted() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROCESSES_LEFT], env=make_environment(), capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("99 98 0\n", "")
