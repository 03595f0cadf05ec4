from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codemode_protocol.tools import ToolNameConflictError, javascript_tools, normalize_tool_name, visible_tools
from codemode_protocol.values import ToolDefinition, ToolKind, ToolName


def tool(name: str) -> ToolDefinition:
    return ToolDefinition(name, ToolName("canonical"), f"does {name}", ToolKind.FUNCTION)


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("a-b", "a_b"),
        ("1abc", "_abc"),
        ("ünï", "_n_"),
        ("class", "class"),
        ("await", "await"),
        ("constructor", "constructor"),
        ("__proto__", "__proto__"),
        (" a ", "_a_"),
        ("$x", "$x"),
        ("a$b", "a$b"),
        ("a.b/c", "a_b_c"),
        ("--", "__"),
        ("日本", "__"),
        ("a\u0301", "a_"),
        ("😀", "_"),
        ("0", "_"),
        ("9", "_"),
        ("", "_"),
        ("a\u200db", "a_b"),
        ("℘x", "_x"),
        ("a١", "a_"),
        ("𝒳y", "_y"),
        ("ªb", "_b"),
        ("a\nb", "a_b"),
        ("mcp__server__tool", "mcp__server__tool"),
    ],
)
def test_names_become_the_identifiers_of_the_reference_host(name: str, identifier: str) -> None:
    assert normalize_tool_name(name) == identifier


@given(st.text())
def test_every_name_becomes_an_identifier_and_an_identifier_stays(name: str) -> None:
    identifier = normalize_tool_name(name)
    assert re.fullmatch(r"[A-Za-z_$][A-Za-z0-9_$]*", identifier)
    assert normalize_tool_name(identifier) == identifier
    assert len(identifier) == max(1, len(name))


def test_javascript_sees_names_and_descriptions_in_the_order_given() -> None:
    assert javascript_tools([tool("b-c"), tool("a")]) == (
        b'[{"name":"b_c","description":"does b-c"},{"name":"a","description":"does a"}]'
    )
    assert javascript_tools([]) == b"[]"


def test_two_tools_with_one_identifier_are_an_error_that_names_both() -> None:
    with pytest.raises(ToolNameConflictError, match=r"`a-b` and `a.b` are both `tools.a_b`") as caught:
        visible_tools([tool("a-b"), tool("c"), tool("a.b")])
    assert caught.value.names == ("a-b", "a.b")
    assert caught.value.identifier == "a_b"


def test_one_tool_twice_is_an_error() -> None:
    with pytest.raises(ToolNameConflictError, match="`a` is enabled twice"):
        visible_tools([tool("a"), tool("a")])


def test_a_qualified_name_has_its_namespace_before_it() -> None:
    assert ToolName("read", "files").qualified == "files__read"
    assert ToolName("read").qualified == "read"
