"""The reference host passes the test kit: what that describes is the wire, and not our host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.commands import codemode
from tests.interop.reference import ReferenceMissing, reference_host

pytestmark = pytest.mark.interop


def test_the_reference_host_agrees(tmp_path: Path) -> None:
    try:
        program = str(reference_host())
    except ReferenceMissing as missing:
        pytest.skip(str(missing))
    done = codemode(tmp_path, "conformance", "--json", "--", program)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one for one in found[:-1] if one["outcome"] != "ok"] == []
    assert (done.returncode, done.stderr) == (0, "")
