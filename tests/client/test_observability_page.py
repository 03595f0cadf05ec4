"""The programs of docs/observability.md print what the page says, and its tables are complete."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from codemode_client._observability.events import FIELDS
from codemode_client.counters import Counters
from codemode_protocol.limits import LIMIT_NAMES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
PROGRAMS = dict(zip(("logs", "spans", "counters"), re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL), strict=True))
OUTPUTS = dict(zip(PROGRAMS, re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL), strict=True))
WAYS_OF_ENDING = {
    "closed",
    "not_spawned",
    "rejected",
    "handshake_timeout",
    "shutdown_timeout",
    "stall_timeout",
    "protocol_violation",
    "answers_unread",
    "client_fault",
    "engine_panic",
    "host_fault",
    "client_lost",
    "refused",
    "stopped",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_of_the_page_prints_what_the_page_says(name: str) -> None:
    command = [sys.executable, "-c", PROGRAMS[name]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, OUTPUTS[name], "")


def test_the_page_names_every_field_counter_limit_and_way_of_ending() -> None:
    names = {*FIELDS, *Counters.__struct_fields__, *LIMIT_NAMES, *WAYS_OF_ENDING}
    assert {name for name in names if f"`{name}`" not in PAGE} == set()
