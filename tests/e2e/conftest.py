"""What the end-to-end tests share."""

from __future__ import annotations

import os
import shlex
import sys

import pytest


@pytest.fixture
def host_command() -> list[str]:
    """The host to test against: our own, or the one that CODEMODE_TEST_HOST names."""
    return shlex.split(os.environ.get("CODEMODE_TEST_HOST", "")) or [sys.executable, "-m", "codemode_host"]
