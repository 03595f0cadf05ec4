"""What docs/mcp.md shows is so: its files work together, its program runs under trio and under asyncio."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from codemode_client.mcp import StdioServer, load_config

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [block for one, block in BLOCKS if one == language]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "servers.json").write_text(blocks("json")[0])
    (tmp_path / "sky.py").write_text(blocks("python")[0])
    (tmp_path / "script.js").write_text(blocks("js")[0])
    (tmp_path / "main.py").write_text(blocks("python")[1])
    return tmp_path


def output(folder: Path, command: list[str]) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=True
    ).stdout


def test_the_script_prints_what_the_page_says(folder: Path) -> None:
    command, _, expected = blocks("console")[0].partition("\n")
    assert command.startswith("$ codemode ")
    arguments = shlex.split(command.removeprefix("$ codemode "))
    assert output(folder, [sys.executable, "-m", "codemode_client.cli", *arguments]) == expected


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_the_program_runs(folder: Path, library: str) -> None:
    if library == "trio":
        program = (folder / "main.py").read_text()
        for native, other in (("import asyncio", "import trio"), ("asyncio.run(main())", "trio.run(main)")):
            assert native in program
            program = program.replace(native, other)
        (folder / "main.py").write_text(program)
    assert '{"city":"Rome","celsius":18}' in output(folder, [sys.executable, "main.py"])


def test_the_entry_for_a_client_is_one_that_starts_code_mode(tmp_path: Path) -> None:
    file = tmp_path / "client.json"
    file.write_text(blocks("json")[1])
    assert load_config(file).servers == {
        "codemode": StdioServer("codemode", ("mcp", "--config", "/etc/codemode/servers.json"))
    }


def test_every_flag_of_the_command_is_on_the_page() -> None:
    import argparse

    from codemode_client._cli.commands import mcp

    parser = argparse.ArgumentParser()
    mcp.configure(parser)
    for action in parser._actions:
        for flag in set(action.option_strings) - {"-h", "--help"}:
            assert f"`{flag} " in PAGE or f"`{flag}`" in PAGE, flag
