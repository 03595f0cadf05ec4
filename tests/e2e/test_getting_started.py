"""A reader who types what a page shows gets what the page shows, in an empty folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.commands import ROOT, install, run_shell

PAGES = ["README.md", "docs/remote.md", "docs/tutorial.md"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder but for the repository's examples, and `bin` with the commands of an installation."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    install(tmp_path, python="")
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_is_what_comes(folder: Path, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that begin with a file's name are that file; a console's lines after `$ ` are typed."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    own = {"PYTHONPATH": f"{ROOT}:{folder}", "XDG_RUNTIME_DIR": str(folder)}
    shown, came = [], []
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL):
        named = re.match(r"(?:#|//) (\w+\.\w+)\n", block)
        if named:
            (folder / named[1]).write_text(block)
        elif language == "console":
            for session in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, answer = session.partition("\n")
                shown.append((command, answer))
                typed = run_shell(folder, command.replace(".venv/bin/", "bin/"), **own)
                came.append((command, typed.stdout))
    assert shown
    assert came == shown
