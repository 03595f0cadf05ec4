"""What docs/command-line.md and the help show is what comes."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from codemode_client.cli import COMMANDS, main
from tests.e2e.commands import ROOT, install, run_shell

PAGE = (ROOT / "docs" / "command-line.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Has what the examples use, and `codemode` and `codemode-host` first in its `bin`."""
    (tools,) = [text for kind, text in BLOCKS if kind == "python"]
    (tmp_path / "mytools.py").write_text(tools)
    (tmp_path / "script.js").write_text("text((await tools.weather?.({ city: 'Oslo' }))?.celsius ?? 'no tools')\n")
    install(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", [text for kind, text in BLOCKS if kind == "console"])
def test_the_page_shows_what_comes(folder: Path, block: str) -> None:
    first, _, rest = block.partition("\n")
    assert run_shell(folder, first.removeprefix("$ ")).stdout == rest


def test_the_page_has_every_command() -> None:
    rows = re.findall(r"^\| (?:\[)?`codemode (\w+)`.*\| (.*) \|$", PAGE, flags=re.MULTILINE)
    assert [name for name, _ in rows] == list(COMMANDS)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("run", "3.5\n"),
        ("repl", ""),
        ("tools", "weather("),
        ("doctor", "ok "),
        ("replay", "client > host"),
        ("conformance", " ok\n"),
    ],
)
def test_the_example_in_the_help_runs(folder: Path, name: str, answer: str) -> None:
    example = import_module(f"codemode_client._cli.commands.{name}").EXAMPLE
    done = run_shell(folder, example)
    assert answer in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_in_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    example = import_module(f"codemode_client._cli.commands.{name}").EXAMPLE
    assert f"codemode {name}" in example
    assert shown.endswith(f"\n\nexample: {example}\n")
