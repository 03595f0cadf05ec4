"""The folders of a package are its layers: which may import which, and no circle anywhere."""

from __future__ import annotations

import pytest

from tests.layers import find_circle, find_trespasses, read_imports

# By folder, or by module where one stands alone: what else of the package it may import from.
CLIENT = {
    "_loops": set[str](),
    "counters": set[str](),
    "_version": set[str](),
    "_process": {"_loops"},
    "_observability": {"_version", "counters"},
    "_session": {"_loops", "_observability", "_process", "counters"},
    "_tools": {"_loops"},
    "_model": {"_session"},
    "_blocking": {"_process", "_session"},
    "blocking": {"_blocking", "_model", "_session", "_tools", "counters"},
    "hosts": set[str](),
    "mcp": {"_model", "_session", "_tools"},
    "_cli": {"", "_loops", "_model", "_session", "_tools", "hosts", "mcp"},
    "cli": {"_cli"},
    "": {"_model", "_session", "_tools", "_version"},
}


def test_the_clients_folders_are_layers() -> None:
    assert find_trespasses("codemode_client", read_imports("codemode_client"), CLIENT) == []


@pytest.mark.parametrize("package", ["codemode_client", "codemode_protocol"])
def test_no_module_imports_itself_by_way_of_others(package: str) -> None:
    assert find_circle(read_imports(package)) == []
