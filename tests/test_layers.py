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
    "_tools": {"_loops", "_observability"},
    "_model": {"_session"},
    "_blocking": {"_loops", "_process", "_session"},
    "blocking": {"_blocking", "_model", "_session", "_tools", "counters"},
    "hosts": set[str](),
    "mcp": {"_model", "_observability", "_session", "_tools"},
    "_conformance": {"_loops", "_process"},
    "_cli": {"", "_conformance", "_loops", "_model", "_session", "_tools", "hosts", "mcp"},
    "cli": {"_cli"},
    "": {"_model", "_session", "_tools", "_version"},
}

HOST = {
    "version": set[str](),
    "memory": set[str](),
    "runtimes": set[str](),
    "runtimes.host_side": {"runtimes"},
    "runtimes.engine": {"runtimes"},
    "runtimes.cell": {"runtimes", "runtimes.engine"},
    "runtimes.zygote": {"runtimes", "runtimes.cell", "runtimes.engine"},
    "supervision": {"options", "runtimes", "runtimes.host_side"},
    "cells": {"memory", "runtimes", "runtimes.host_side", "supervision"},
    "control": {"cells", "runtimes.host_side", "version"},
    "serving": {"cells", "control", "options", "runtimes.host_side", "supervision"},
    "inprocess": {"cells", "options", "runtimes.host_side", "supervision"},
    "check": {"inprocess", "runtimes", "runtimes.cell", "runtimes.host_side"},
    "options": {"runtimes.host_side"},
    "flags": {"options", "version"},
    "program": {"check", "flags", "memory", "options", "runtimes.host_side", "serving", "supervision"},
    "__main__": {"program", "runtimes.host_side"},
    "": set[str](),
}


@pytest.mark.parametrize(("package", "layers"), [("codemode_client", CLIENT), ("codemode_host", HOST)])
def test_the_folders_are_layers(package: str, layers: dict[str, set[str]]) -> None:
    assert find_trespasses(package, read_imports(package), layers) == []


@pytest.mark.parametrize("package", ["codemode_client", "codemode_host", "codemode_protocol"])
def test_no_module_imports_itself_by_way_of_others(package: str) -> None:
    assert find_circle(read_imports(package)) == []
