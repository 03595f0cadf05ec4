"""`codemode tools`: what a model sees of the tools."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import ROOT, TOOLS, run_codemode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mytools.py").write_text(TOOLS)
    return tmp_path


def test_declarations_are_shown_as_typescript(folder: Path) -> None:
    done = run_codemode(folder, "tools", "--tools", "mytools:toolbox")
    assert (done.returncode, done.stderr) == (0, "")
    assert "/** Add two numbers. */" in done.stdout
    assert "add(args: { a: number" in done.stdout


def test_the_description_is_all_that_a_model_is_told(folder: Path) -> None:
    told = run_codemode(folder, "tools", "--tools", "mytools:toolbox", "--description").stdout
    assert "Runs JavaScript that calls tools." in told
    assert "add(args:" in told
    both = json.loads(run_codemode(folder, "tools", "--tools", "mytools:toolbox", "--description", "--json").stdout)
    assert both["exec"] + "\n" == told
    assert "cell" in both["wait"]


def test_json_has_names_declarations_and_schemas(folder: Path) -> None:
    (tool,) = json.loads(run_codemode(folder, "tools", "--tools", "mytools:toolbox", "--json").stdout)
    assert tool["javascript_name"] == "add"
    assert tool["declaration"].startswith("/** Add two numbers. */")
    assert set(tool["definition"]["input_schema"]["properties"]) == {"a", "b"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give --tools MODULE:OBJECT, --mcp FILE, or both"),
        (["--mcp", "missing.json"], "missing.json: cannot be read"),
        (["--mcp", "unknown.json"], "no-such-program"),
    ],
)
def test_what_cannot_be_shown_is_a_usage_error(folder: Path, arguments: list[str], complaint: str) -> None:
    (folder / "unknown.json").write_text('{"mcpServers": {"x": {"command": "no-such-program"}}}')
    done = run_codemode(folder, "tools", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_tools_of_mcp_servers_are_shown_and_can_be_called(folder: Path) -> None:
    server = {"command": sys.executable, "args": [str(ROOT / "tests/e2e/mcp_servers/plain.py")], "env": {"WORD": "hey"}}
    (folder / "servers.json").write_text(json.dumps({"mcpServers": {"plain": server}}))
    both = ["--tools", "mytools:toolbox", "--mcp", "servers.json"]
    shown = run_codemode(folder, "tools", *both)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "plain__variable(" in shown.stdout
    source = "content((await tools.plain__variable({ key: 'WORD' })).content); text(await tools.add({ a: 1, b: 2 }))"
    for done in (run_codemode(folder, "run", "-e", source, *both), run_codemode(folder, "repl", *both, stdin=source)):
        assert (done.returncode, done.stdout, done.stderr) == (0, "hey\n3\n", "")
