"""What `codemode doctor` finds out by running a host, told of programs that are none or not in order."""

from __future__ import annotations

import sys
from itertools import islice

import pytest

from codemode_client._cli.console import trial
from codemode_client._cli.console.diagnosis import Finding


def check(script: str, count: int = 9) -> list[Finding]:
    """What the check of a host finds whose program is this Python script; not the cells, if there is more than that."""
    return list(islice(trial._check([sys.executable, "-c", script]), count))


def test_what_works_is_counted_and_what_is_off_is_a_warning() -> None:
    found = check("print('ok        one\\nok  two\\noff   three\\nnothing of it')")
    assert [(one.name, one.status, one.found) for one in found] == [
        ("host's check", "warn", "off: three"),
        ("host's check", "ok", "2 things that cells rely on were tried, and work"),
    ]
    assert "leave that flag out" in (found[0].remedy or "")


def test_what_is_missing_is_each_a_failure_whatever_the_status() -> None:
    found = check("print('ok one\\nMISSING two\\nMISSING  three'); raise SystemExit(78)")
    assert [(one.status, one.found) for one in found] == [("fail", "two"), ("fail", "three")]
    assert all("docs/security.md" in (one.remedy or "") for one in found)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import sys; sys.exit('first\\nlast words')", "ended with status 1: last words"),
        ("import sys; sys.exit(7)", "ended with status 7: it says nothing"),
        ("import os; os.kill(os.getpid(), 9)", "ended with status -9: it says nothing"),
        (
            "import sys; print('ok one'); sys.stderr.buffer.write(b'\\xff\\n'); sys.exit(3)",
            "ended with status 3: \ufffd",
        ),
    ],
)
def test_a_check_that_fails_without_a_word_is_told_with_its_last_one(script: str, said: str) -> None:
    (found,) = check(script)
    assert (found.status, found.found) == ("fail", said)
    assert "codemode-host --check" in (found.remedy or "")


def test_a_program_that_is_not_there_or_does_not_end_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = trial._check(["/no/such/host"])
    assert (found.status, found.found) == ("fail", "/no/such/host cannot be run: No such file or directory")
    assert "--host" in (found.remedy or "")
    monkeypatch.setattr(trial, "CHECK_SECONDS", 0.2)
    (found,) = check("import time; time.sleep(1000)")
    assert (found.status, found.found) == ("fail", "it has not ended after 0.2 s")


def test_cells_on_a_host_that_is_none_are_one_failure_in_a_line() -> None:
    *_, found = trial.try_host([sys.executable, "-c", "import sys; sys.exit('one\\ntwo')"])
    assert (found.name, found.status) == ("cells", "fail")
    assert "\n" not in found.found


def test_cells_that_answer_are_measured() -> None:
    *_, found = trial.try_host([sys.executable, "-m", "codemode_host"])
    assert (found.name, found.status) == ("cells", "ok")
    assert found.found.startswith("one that calls a tool takes ")
