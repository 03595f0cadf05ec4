"""Cells without a host: an engine in a process of its own, and each script in a fork of it (see
realm_harness.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent


class Ran:
    """What one script did. `outcome` is None while the script would wait for ever; `died` is the status of a
    dead process.
    """

    def __init__(self, answer: dict[str, Any]) -> None:
        assert "harness" not in answer, answer["harness"]
        self.died: int | None = answer.get("died")
        self.items: list[Any] = answer.get("items", [])
        self.events: list[list[str]] = answer.get("events", [])
        self.flushes: int = answer.get("flushes", 0)
        self.outcome: dict[str, Any] | None = answer.get("outcome")

    @property
    def pending(self) -> bool:
        return self.died is None and self.outcome is None

    @property
    def error(self) -> str | None:
        assert self.outcome is not None, f"the script did not end: {vars(self)}"
        error: str | None = self.outcome["error"]
        return error

    @property
    def stored(self) -> dict[str, Any]:
        assert self.outcome is not None
        return {key: json.loads(text) for key, text in self.outcome["stored"].items()}

    def notes(self, kind: str) -> list[str]:
        return [text for event, text in self.events if event == kind]


class Cells:
    """One harness process. Call it with a source, and whatever else the scenario has."""

    def __init__(self, mode: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(HERE / "realm_harness.py"), str(HERE.parents[1]), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts: dict[str, Any] = self._read()

    def __call__(self, source: str, **scenario: Any) -> Ran:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"source": source, **scenario}) + "\n")
        self._process.stdin.flush()
        return Ran(self._read())

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the harness ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="session")
def cells_by_mode() -> Iterator[Callable[[str], Cells]]:
    """Harnesses by mode, each started when it is first asked for."""
    started: dict[str, Cells] = {}

    def get(mode: str) -> Cells:
        if mode not in started:
            started[mode] = Cells(mode)
        return started[mode]

    yield get
    for cells in started.values():
        cells.close()


@pytest.fixture(scope="session")
def run(cells_by_mode: Callable[[str], Cells]) -> Cells:
    """Runs a script as a cell's process would."""
    return cells_by_mode("own")
