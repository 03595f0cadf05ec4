"""What docs/protocol.md shows of the test kit really runs."""

from __future__ import annotations

import re
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
SECTION = PAGE.read_text(encoding="utf-8").partition("\n## Testing a host")[2]


def run(case: type[unittest.TestCase]) -> unittest.TestResult:
    result = unittest.TestResult()
    case("runTest").run(result)
    return result


def test_every_block_runs_and_prints_what_the_page_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("page")
    monkeypatch.setitem(__import__("sys").modules, "page", module)
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
    assert [language for language, _ in blocks] == ["sh", "python", "text", "python"]
    exec(compile(blocks[1][1], str(PAGE), "exec"), module.__dict__)  # the page is ours
    assert capsys.readouterr().out == blocks[2][1]
    exec(compile(blocks[3][1], str(PAGE), "exec"), module.__dict__)
    names: dict[str, Any] = module.__dict__
    assert run(names["TestMyClient"]).wasSuccessful()
    assert "connection/ready" in str(run(names["TestMyHost"]).errors + run(names["TestMyHost"]).failures)
