"""What is read from docstrings."""

from __future__ import annotations

import pytest

from codemode_client._tools.docstrings import parse_docstring

GOOGLE = """Find flights.

    Cheapest first.

    Args:
        origin: Where from: an IATA code.
        destination (str, optional): Where to,
            as a code too.
        **filters (dict(str, int)): Anything else.

    Returns:
        A list: the flights.
    """

NUMPY = """Find flights.

    Cheapest first.

    Parameters
    ----------
    origin
        Where from: an IATA code.
    destination : str, optional
        Where to,
        as a code too.
    **filters : dict
        Anything else.

    Returns
    -------
    list
        A list: the flights.
    """

REST = """Find flights.

    Cheapest first.

    :param origin: Where from: an IATA code.
    :param str destination: Where to,
        as a code too.
    :type origin: str
    :keyword **filters: Anything else.
    :returns: A list: the flights.
    """


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, REST], ids=["google", "numpy", "rest"])
def test_the_common_styles_say_the_same(docstring: str) -> None:
    parsed = parse_docstring(docstring)
    assert parsed.parameters == {
        "origin": "Where from: an IATA code.",
        "destination": "Where to, as a code too.",
        "filters": "Anything else.",
    }
    assert parsed.text.startswith("Find flights.\n\nCheapest first.\n\n")
    assert parsed.text.endswith("A list: the flights.")
    assert not any(word in parsed.text for word in ("origin", "Args", "Parameters", "----------\n    origin", "IATA"))


def test_several_parameters_may_share_a_description() -> None:
    parsed = parse_docstring("Add.\n\nParameters\n----------\na, b : int\n    A number.\n\nc\n    One more.")
    assert parsed.parameters == {"a": "A number.", "b": "A number.", "c": "One more."}
    assert parsed.text == "Add."


@pytest.mark.parametrize(
    "docstring",
    [
        "One line.",
        "Args: what is given on the command line.",
        "Parameters are few.\n\nArgs:\nnot indented: no section",
        "A table:\n\n    name: value\n    other: value\n\nAll of it.",
        "Parameters\n\n    without an underline: nothing\n\nAll of it.",
    ],
)
def test_what_has_none_of_the_forms_stays_as_it_is(docstring: str) -> None:
    parsed = parse_docstring(docstring)
    assert parsed.text == docstring
    assert parsed.parameters == {}


def test_no_docstring_says_nothing() -> None:
    for docstring in (None, "", "   \n  "):
        assert parse_docstring(docstring).text == ""


def test_a_docstring_may_begin_with_a_section() -> None:
    parsed = parse_docstring("Args:\n        a: First.\n        b: Second.\n    ")
    assert parsed.parameters == {"a": "First.", "b": "Second."}
    assert parsed.text == ""


def test_prose_after_a_section_is_kept() -> None:
    google = parse_docstring("Do.\n\nArgs:\n    a: First.\n\n        And more.\n\nNot in the section.")
    assert google.parameters == {"a": "First. And more."}
    assert google.text == "Do.\n\nNot in the section."
    rest = parse_docstring("Do.\n\n:param a: First.\n\nNot in the list.")
    assert rest.parameters == {"a": "First."}
    assert rest.text == "Do.\n\nNot in the list."


def test_an_entry_without_words_describes_nothing() -> None:
    assert parse_docstring("Do.\n\nArgs:\n    a:\n    b: Second.").parameters == {"b": "Second."}
