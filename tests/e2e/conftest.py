"""What the end-to-end tests share."""

from __future__ import annotations

import os
import shlex
import sys

import pytest

from tests.interop.reference import ReferenceMissing, reference_host


@pytest.fixture
def own_host_command() -> list[str]:
    """Our own host, or the one that CODEMODE_TEST_HOST names."""
    return shlex.split(os.environ.get("CODEMODE_TEST_HOST", "")) or [sys.executable, "-m", "codemode_host"]


@pytest.fixture(params=["own", pytest.param("reference", marks=pytest.mark.interop)])
def host_command(request: pytest.FixtureRequest, own_host_command: list[str]) -> list[str]:
    """The host to test against; the reference host, too, when tests marked interop are asked for."""
    if request.param == "own":
        return own_host_command
    try:
        return [str(reference_host())]
    except ReferenceMissing as missing:
        pytest.skip(str(missing))
