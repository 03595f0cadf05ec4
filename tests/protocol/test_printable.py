"""Text of others: what a terminal would obey is written out, what a reader would not see is left out."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from codemode_protocol.printable import has_invisible, printable, printable_line, without_invisible
from codemode_protocol.typescript_text import doc_comment, inline_comment, one_line, string_literal

TAGS = "".join(chr(0xE0000 + ord(character)) for character in "OBEY")


def test_escape_sequences_are_written_out() -> None:
    assert printable("a\x1b]0;title\x07\r\x9b2J\x7f\u202eb") == "a\\x1b]0;title\\x07\\x0d\\x9b2J\\x7f\\u202eb"
    assert printable("half \ud800 " + TAGS[0]) == "half \\ud800 \\U000e004f"


def test_line_breaks_and_tabs_stay_but_on_one_line() -> None:
    assert printable("a\n\tb") == "a\n\tb"
    assert printable_line("a\n\tb") == "a\\n\\tb"


@given(st.text())
def test_nothing_is_left_that_moves_a_cursor_or_turns_the_order(text: str) -> None:
    shown = printable(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\n\t"]
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", shown)
    assert printable_line(text).isprintable() or has_invisible(text) or not text.isprintable()
    assert printable(shown) == shown


@given(st.text(st.characters(codec="utf-8")))
def test_what_is_seen_stays_in_its_order(text: str) -> None:
    shown = without_invisible(text)
    assert not has_invisible(shown)
    assert shown == "".join(character for character in text if not has_invisible(character))


def test_no_declaration_has_a_character_that_is_not_seen() -> None:
    hidden = f"add{TAGS} \u200e\xad\u2800\u3164\ufe0fs\u034f"
    assert one_line(hidden) == "add s"
    assert inline_comment(hidden) == "/* add s */"
    assert doc_comment(f"{hidden}\n{hidden}") == "/**\n * add s\n * add s\n */"
    assert string_literal("a\u3164\ufe0f\U000e0041") == '"a\\u3164\\ufe0f\\u{e0041}"'
