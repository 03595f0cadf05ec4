"""The exit statuses of the host: the pages that list them, and the names that clients count by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from codemode_protocol.exit_status import FAILURES, HostExitStatus, name_ending

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_lists_every_status_with_its_meaning() -> None:
    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    rows = {int(match[1]): match[2] for match in re.finditer(r"^\| (\d+) \| ([^|]+) \|", page, re.MULTILINE)}
    assert set(rows) == set(HostExitStatus)
    for status in HostExitStatus:
        assert rows[status].startswith(status.meaning)


def test_the_page_on_counters_names_each_failure_with_its_status() -> None:
    page = (DOCS / "observability.md").read_text(encoding="utf-8")
    ordered = sorted(FAILURES)
    names = ", ".join(f"`{name_ending(status)}`" for status in ordered)
    assert f"| {names} | ended with status {', '.join(str(status.value) for status in ordered)} " in page


@pytest.mark.parametrize(
    ("status", "name"),
    [
        *((70, "engine_panic"), (71, "host_fault"), (74, "client_lost"), (78, "refused")),
        *((0, "exit_0"), (130, "exit_130"), (-9, "SIGKILL"), (-99, "signal_99")),
    ],
)
def test_an_end_is_named_by_its_status(status: int, name: str) -> None:
    assert name_ending(status) == name
