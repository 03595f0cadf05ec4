"""Both hosts pass the whole test kit: what that describes is the wire, and not our host."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import run_codemode
from tests.interop.reference import ReferenceMissing, reference_host

pytestmark = pytest.mark.interop


def command(name: str) -> list[str]:
    if name == "ours":
        return [sys.executable, "-m", "codemode_host"]
    try:
        return [str(reference_host())]
    except ReferenceMissing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("name", ["ours", "reference"])
def test_the_host_agrees(tmp_path: Path, name: str) -> None:
    done = run_codemode(tmp_path, "conformance", "--json", "--timeout", "30", "--", *command(name), timeout=140)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one for one in found[:-1] if one["outcome"] != "ok"] == []
    assert (done.returncode, done.stderr) == (0, "")
