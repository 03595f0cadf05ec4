"""What the client's tests share."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HOSTS = Path(__file__).parent / "hosts"


@pytest.fixture
def host_command() -> list[str]:
    """The host to test against: our own, or the one that CODEMODE_TEST_HOST names."""
    return shlex.split(os.environ.get("CODEMODE_TEST_HOST", "")) or [sys.executable, "-m", "codemode_host"]


@pytest.fixture
def misbehaving() -> Callable[[str], list[str]]:
    """The command of a host that breaks its promises in one way."""
    return lambda mode: [sys.executable, "-I", "-S", str(HOSTS / "misbehaving.py"), mode]
