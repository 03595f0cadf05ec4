"""What the host's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Where a test's hosts have their sockets."""
    return str(tmp_path / "control")
