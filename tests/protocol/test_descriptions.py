from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from codemode_protocol.descriptions import (
    DEFAULT_MAX_CHARACTERS,
    exec_description,
    first_sentence,
    wait_description,
)
from codemode_protocol.helpers import NAMES
from codemode_protocol.source import parse_source
from codemode_protocol.testing.strategies import tools as any_tools
from codemode_protocol.typescript import MCP_TYPES, call_tool_result_schema, tool_declaration
from codemode_protocol.values import ToolDefinition, ToolKind, ToolName


def tool(name: str, description: str = "Does it. And more.", namespace: str | None = None) -> ToolDefinition:
    schema = Raw(b'{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}')
    whole = ToolName(name, namespace).qualified
    return ToolDefinition(whole, ToolName(name, namespace), description, ToolKind.FUNCTION, schema)


MANY = [
    tool(f"t{number}", namespace=space) for space in ("files", "git-hub", None) for number in range(len(space or "1"))
]
BASE = len(exec_description([]))


def test_exec_is_told_with_every_global_and_a_pragma_that_holds() -> None:
    text = exec_description([])
    assert [name for name in NAMES if f"`{name}" not in text] == []
    [pragma] = re.findall(r"`(// @exec: .*)`", text)
    parsed = parse_source(f"{pragma}\ntext(1)")
    assert (parsed.yield_time_ms, parsed.max_output_tokens) == (10_000, 10_000)
    assert text.endswith("No tools are enabled.")
    assert len(text) < 4_000


def test_the_other_tool_is_called_by_its_name() -> None:
    assert "call `wait_for_cell` with" in exec_description([], wait_name="wait_for_cell")
    assert "`run_script` left running" in wait_description(exec_name="run_script")
    assert "`exec` left running" in wait_description()


def test_tools_are_declared_while_they_fit() -> None:
    text = exec_description(MANY)
    assert len(text) < DEFAULT_MAX_CHARACTERS
    for each in MANY:
        assert tool_declaration(each) in text
    assert "CallToolResult" not in text
    assert exec_description(MANY, max_characters=len(text)) == text
    assert exec_description(MANY, max_characters=len(text) - 1) != text


def test_tools_have_a_line_each_when_their_declarations_do_not_fit() -> None:
    text = exec_description(MANY, max_characters=BASE + 1000)
    assert len(text) <= BASE + 1000
    assert "There are 13 tools." in text
    assert "- `git_hub__t6`: Does it.\n- `t0`: Does it." in text
    assert "Promise<" not in text
    assert "ALL_TOOLS.filter" in text


def test_tools_are_counted_when_not_even_their_names_fit() -> None:
    text = exec_description(MANY, max_characters=BASE + 450)
    assert len(text) <= BASE + 450
    assert text.splitlines()[-3:] == [
        "- 7 tools with names that begin with `git_hub__`",
        "- 5 tools with names that begin with `files__`",
        "- 1 tool in no namespace",
    ]


def test_the_smallest_namespaces_are_left_out_first() -> None:
    tools = [tool("t", namespace=f"n{number}") for number in range(100)] + MANY
    text = exec_description(tools, max_characters=BASE + 450)
    assert len(text) <= BASE + 450
    assert "There are 113 tools." in text
    lines = text.splitlines()
    first = lines.index("- 7 tools with names that begin with `git_hub__`")
    assert lines[first + 1] == "- 5 tools with names that begin with `files__`"
    assert lines[-1] == f"- and {103 - (len(lines) - first - 1)} namespaces more"
    assert exec_description(tools, max_characters=0).splitlines()[-1] == "```"


def test_types_of_mcp_servers_are_told_in_every_form() -> None:
    result = Raw(msgspec.json.encode(call_tool_result_schema()))
    tools = [msgspec.structs.replace(each, output_schema=result) for each in MANY]
    for limit in (DEFAULT_MAX_CHARACTERS, BASE + 2000, 0):
        assert MCP_TYPES in exec_description(tools, max_characters=limit)


@settings(max_examples=30)
@given(st.lists(any_tools, max_size=4), st.integers(0, 10_000))
def test_any_tools_can_be_described_within_the_bound(tools: list[ToolDefinition], limit: int) -> None:
    text = exec_description(tools, max_characters=limit)
    text.encode()
    least = len(exec_description(tools, max_characters=0))
    assert len(text) <= max(limit, least)


@pytest.mark.parametrize(
    ("description", "sentence"),
    [
        ("Reads a file. Then more.", "Reads a file."),
        ("  Reads\n a file\n\nMore.", "Reads a file"),
        ("Reads a.txt! Or b.", "Reads a.txt!"),
        ("No end", "No end"),
        ("", ""),
        ("x" * 200, "x" * 159 + "…"),
    ],
)
def test_a_line_has_the_first_sentence(description: str, sentence: str) -> None:
    assert first_sentence(description) == sentence


def test_a_tool_without_a_description_has_its_name_alone() -> None:
    text = exec_description([tool("quiet", "")] * 40, max_characters=BASE + 1000)
    assert text.splitlines()[-1] == "- `quiet`"
