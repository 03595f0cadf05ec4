"""What a cell has beside the language's own globals: each has a row in the page and a declaration."""

from __future__ import annotations

import re
from pathlib import Path

from codemode_protocol.descriptions import exec_description
from codemode_protocol.helpers import HELPERS, MODULES, NAMES
from codemode_protocol.typescript import declarations

PAGE = Path(__file__).parents[2] / "docs" / "javascript.md"


def test_the_page_has_a_row_for_each_global_and_for_nothing_else() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## Globals")[2].partition("\n## ")[0]
    first_cells = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    named = [name for cell in first_cells for name in re.findall(r"`(\w+)", cell)]
    assert sorted(named) == sorted(NAMES)


def test_names_are_unique_and_each_module_exports_some_of_them() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert all(set(exports) <= set(NAMES) for exports in MODULES.values())


def test_each_helper_is_declared_and_told_to_models() -> None:
    declared, told = declarations([]), exec_description([])
    for helper in HELPERS:
        assert re.match(rf"declare (function|var) {helper.name}\b", helper.declaration)
        assert helper.declaration in declared
        assert f"`{helper.name}" in told
