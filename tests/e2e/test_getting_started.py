"""A reader who types what a page shows gets what the page shows, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "docs/remote.md", "docs/tutorial.md"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder but for the repository's examples, and `bin` with the commands of an installation."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, arguments in (
        ("python", ""),
        ("codemode", "-m codemode_client.cli"),
        ("codemode-host", "-m codemode_host"),
    ):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    return tmp_path


def shell(folder: Path, command: str) -> str:
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{folder}",
        "XDG_RUNTIME_DIR": str(folder),
    }
    environment.pop("OPENAI_API_KEY", None)
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_is_what_comes(folder: Path, page: str) -> None:
    """Blocks that begin with a file's name are that file; a console's lines after `$ ` are typed."""
    shown, came = [], []
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL):
        named = re.match(r"(?:#|//) (\w+\.\w+)\n", block)
        if named:
            (folder / named[1]).write_text(block)
        elif language == "console":
            for session in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, answer = session.partition("\n")
                shown.append((command, answer))
                came.append((command, shell(folder, command.replace(".venv/bin/", "bin/"))))
    assert shown
    assert came == shown
