"""`make mutants` knows which tests judge a module, and makes only changes that a test could notice."""

from __future__ import annotations

import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tools import mutants
from tools.mutations import find_mutations

MODULE = '''
"""A module."""

import contextlib

LIMIT = 3


def function(values: list[int], *, strict: bool = False) -> int:
    """Say nothing."""
    logger.info("this is only said: %d", 7)
    for value in values:
        if value > LIMIT and strict:
            raise ValueError(f"{value + 1}")
        with trio.CancelScope(shield=True), contextlib.suppress(OSError):
            continue
    return 0
'''


def test_each_module_has_tests_that_are_there() -> None:
    for package in mutants.PACKAGES:
        for module in mutants.find_modules(package):
            tests = mutants.find_tests(module)
            assert tests, module
            assert all((mutants.ROOT / test).is_file() for test in tests)


def test_each_pattern_names_modules_and_tests() -> None:
    modules = [module for package in mutants.PACKAGES for module in mutants.find_modules(package)]
    for pattern, tests in mutants.TESTS:
        assert any(fnmatch(module, pattern) for module in modules), pattern
        for test in tests:
            assert list(mutants.ROOT.glob(test)), f"{pattern}: no test is called {test}"


def test_the_tests_that_are_named_for_a_module_come_first() -> None:
    assert mutants.find_tests("codemode_host/runtimes/host_side/output.py")[0] == "tests/runtimes/test_output.py"
    assert mutants.find_tests("codemode_client/_session/driver.py")[0] == "tests/client/test_driver_states.py"


def test_changes_are_made_one_at_a_time_and_not_to_what_is_only_said() -> None:
    changes = {(one.kind, one.old, one.new) for one in find_mutations("module.py", MODULE)}
    assert changes == {
        ("default", "False", "True"),
        ("negate", "value > LIMIT and strict", "(not (value > LIMIT and strict))"),
        ("boundary", "value > LIMIT", "(value) >= (LIMIT)"),
        ("drop condition", "value > LIMIT and strict", "((value > LIMIT))"),
        ("drop condition", "value > LIMIT and strict", "((strict))"),
        ("drop raise", 'raise ValueError(f"{value + 1}")', "pass"),
        ("unshield", "True", "False"),
        ("drop suppress", "contextlib.suppress(OSError)", "contextlib.suppress()"),
        ("jump", "continue", "break"),
        ("constant", "0", "1"),
    }


def test_what_is_made_of_a_module_can_be_compiled() -> None:
    for mutation in mutants.draw(mutants.PACKAGES, 1, 60, ""):
        compile(mutation.apply((mutants.ROOT / mutation.path).read_text()), mutation.path, "exec")


def test_an_id_stays_when_the_line_moves_and_the_seed_alone_decides_what_is_drawn() -> None:
    moved = find_mutations("module.py", MODULE.replace("LIMIT = 3", "LIMIT = 3\n\nMORE = 4"))
    assert [one.id for one in moved] == [one.id for one in find_mutations("module.py", MODULE)]
    drawn = mutants.draw(mutants.PACKAGES, 1, 12, "")
    assert drawn == mutants.draw(mutants.PACKAGES, 1, 12, "")
    assert drawn != mutants.draw(mutants.PACKAGES, 2, 12, "")
    assert [mutation.path.partition("/")[0] for mutation in drawn] == [
        one for one in mutants.PACKAGES for _ in range(4)
    ]


def test_every_listed_change_that_no_test_can_notice_has_a_reason_and_is_not_drawn() -> None:
    listed = mutants.read_equivalent()
    assert all(len(id) == 8 and len(reason) > 10 for id, reason in listed.items())
    assert not listed.keys() & {mutation.id for mutation in mutants.draw(mutants.PACKAGES, 1, 300, "")}


@pytest.mark.parametrize(("lines", "expected"), [(4, "noticed"), (5, "survived")])
def test_a_change_is_tried_in_a_copy_and_the_work_tree_stays_as_it_is(
    lines: int, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "work" / "codemode_protocol"
    package.mkdir(parents=True)
    module = package / "sums.py"
    module.write_text(
        "def add(a: int, b: int) -> int:\n    result = a\n    result += b\n    result += 0\n    return result\n"
    )
    test = tmp_path / "work" / "tests" / "protocol" / "test_sums.py"
    test.parent.mkdir(parents=True)
    test.write_text("from codemode_protocol.sums import add\n\n\ndef test_sum() -> None:\n    assert add(1, 2) == 3\n")
    subprocess.run(["git", "init", "-q", str(tmp_path / "work")], check=True)
    monkeypatch.setattr(mutants, "ROOT", tmp_path / "work")
    monkeypatch.setattr(mutants, "end_children", lambda: None)  # those of this process are other tests'
    before = module.read_text()
    worker = mutants.Worker(tmp_path / "copy", 60)
    found = find_mutations("codemode_protocol/sums.py", before)
    (mutation,) = [one for one in found if one.kind == "drop assignment" and one.line == lines - 1]
    verdict = worker.judge(mutation)
    assert (verdict.outcome, module.read_text()) == (expected, before)
    assert sys.prefix not in (tmp_path / "copy" / ".venv" / "bin" / "codemode").read_text().partition("\n")[0]
