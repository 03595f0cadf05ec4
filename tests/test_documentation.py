"""Every page can be reached, and every public name is in the reference. Whether that makes a site, `make docs` says."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
REFERENCE = "\n".join(path.read_text() for path in sorted((DOCS / "reference").glob("*.rst")))

# Packages and modules whose `__all__` is what callers import.
EXPORTING = ["codemode_client", "codemode_client.blocking", "codemode_client.mcp"]
# Modules that other modules of the protocol are made of; what callers need of them, others hand on.
INSIDE = {
    "conversation",
    "default_memory",
    "ids",
    "nesting",
    "control_sockets",
    "typescript_globals",
    "typescript_notes",
    "typescript_schemas",
}
INSIDE |= {"typescript_text"}


def documented(directive: str) -> set[str]:
    return set(re.findall(rf"^\.\. {directive}:: (\S+)", REFERENCE, re.MULTILINE))


def whole_modules() -> set[str]:
    """The modules whose members are all shown."""
    found = re.findall(r"^\.\. automodule:: (\S+)\n((?: +\S.*\n)*)", REFERENCE, re.MULTILINE)
    return {name for name, options in found if ":no-members:" not in options}


def test_every_page_is_in_the_navigation_once() -> None:
    trees = re.findall(r"^```{toctree}\n(.*?)^```", (DOCS / "index.md").read_text(), re.MULTILINE | re.DOTALL)
    listed = [line for tree in trees for line in tree.split("\n") if line and not line.startswith(":")]
    pages = {
        path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*") if path.suffix in (".md", ".rst")
    }
    assert sorted(listed) == sorted(pages - {"index"})


def test_every_page_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    site_only = {"index", "changelog", "contributing"}
    assert [
        path.name for path in DOCS.glob("*.md") if path.stem not in site_only and f"docs/{path.name}" not in text
    ] == []


def test_every_public_module_of_the_protocol_is_in_the_reference() -> None:
    modules = {path.stem for path in (ROOT / "codemode_protocol").glob("[a-z]*.py")} - INSIDE
    assert {f"codemode_protocol.{name}" for name in modules} - whole_modules() == set()


@pytest.mark.parametrize("module", EXPORTING)
def test_every_exported_name_is_in_the_reference(module: str) -> None:
    shown = [_named(name) for name in documented("auto(?:class|exception|function)")]
    missing = []
    for name in importlib.import_module(module).__all__:
        if f"{module}.{name}" in documented("py:data"):
            continue
        value = _named(f"{module}.{name}")
        home = getattr(value, "__module__", "")
        if not any(value is one for one in shown) and home not in whole_modules():
            missing.append(name)
    assert missing == []


def _named(path: str) -> object:
    module, _, name = path.rpartition(".")
    value: object = getattr(importlib.import_module(module), name)
    return value
