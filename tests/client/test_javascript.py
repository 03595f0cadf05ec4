"""What a prompt knows of JavaScript: whether an input is finished, and which of its statements has a value to show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codemode_client._cli.console.javascript import is_complete, split_last_expression


@pytest.mark.parametrize(
    "source",
    [
        *["1 + 1", "x++", "foo.new", "a / b / c", "class A {}", "// a comment", "/* one */ 1", "#!/usr/bin/env node"],
        *["`a${`b`}`", "'it''s'", r"/[/(]\/(/.test(x)", "if (a) /x(/.test(b)", "do { x } while (y)", "return /[(]/"],
        *["for (const a of b) x()", "`${1}` / 2", "x = {}\n/(/.test(x)", "1.5e+3", "a?.5:1", "label: x", "x\\u0061"],
    ],
)
def test_finished_input_is_complete(source: str) -> None:
    assert is_complete(source)


@pytest.mark.parametrize(
    "source",
    [
        *["foo(", "a = {", "[1,", "`a${b", "`text", "/* a", "'a\\", "x =>", "a +", "a ? b :", "await", "x = new"],
        *[
            "if (x)",
            "for (;;)",
            "while (x)",
            "do {}",
            "try {}",
            "if (x) y(); else",
            "`${`${1}`}` +",
            "a.",
            "async () =>",
        ],
    ],
)
def test_unfinished_input_is_not(source: str) -> None:
    assert not is_complete(source)


@pytest.mark.parametrize("source", [")(", "[}", "'abc", '"a\nb"', "}"])
def test_what_no_more_input_makes_right_is_complete_for_the_engine_to_refuse(source: str) -> None:
    assert is_complete(source)


@pytest.mark.parametrize(
    ("source", "expression"),
    [
        ("1 + 1", "1 + 1"),
        ("1 + 1;; // two", "1 + 1"),
        ("const x = 5; x * 2", "x * 2"),
        ("const x = 5\nx * 2\n", "x * 2"),
        ("x\n  .a()\n  .b", "x\n  .a()\n  .b"),
        ("f(1)\ng(2)", "g(2)"),
        ("a\n[1]", "a\n[1]"),
        ("if (a) b; c", "c"),
        ("await tools.add({ a: 1 })", "await tools.add({ a: 1 })"),
        ("async () => 1", "async () => 1"),
        ("`a;${1}b`; `x;${2}`", "`x;${2}`"),
        ("x.if\ny", "y"),
    ],
)
def test_the_last_expression_is_found(source: str, expression: str) -> None:
    parts = split_last_expression(source)
    assert parts is not None
    assert parts[1] == expression
    assert "".join(parts) == source


@pytest.mark.parametrize(
    "source",
    [
        *["", ";", "let a", "const a = 1", "{ a: 1 }", "x; { f() }", "function f() {}", "async function f() {}"],
        *["class A {}", "if (a)\n b", "for (;;) x", "while (a) b", "do a(); while (b)", "throw x", "export default 1"],
        *["foo(", "a +", ")", "'a", "x = {}\n/a/.test(1)", "if (f(1))\n g()"],
    ],
)
def test_other_statements_have_no_value_to_show(source: str) -> None:
    assert split_last_expression(source) is None


PIECES = st.sampled_from(
    [
        *[
            "a",
            "1",
            ";",
            "\n",
            " ",
            "(",
            ")",
            "{",
            "}",
            "[",
            "]",
            "`",
            "${",
            "'",
            '"',
            "/",
            "*",
            "//",
            "/*",
            "*/",
            "\\",
        ],
        *["if", "do", "while", "=>", "++", ".", ",", "+", "async ", "function ", "await ", "😀", "#!", "in ", "let "],
    ]
)


@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=60))
def test_no_input_is_too_strange(source: str) -> None:
    is_complete(source)
    parts = split_last_expression(source)
    if parts is not None:
        assert "".join(parts) == source
        assert parts[1]
        assert is_complete(source)
