"""What docs/tools.md shows really runs."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tools.md"


def test_every_block_runs_and_prints_what_the_page_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    scripts: list[str] = []
    checked = 0
    for language, block in re.findall(
        r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    ):
        if language == "python":
            exec(compile(block, str(PAGE), "exec"), module.__dict__)  # the page is ours
        elif language == "js":
            scripts.append(block)
        else:
            asyncio.run(module.__dict__["run"](scripts.pop()))
            assert capsys.readouterr().out == block
            checked += 1
    assert checked == 3
    assert not scripts
