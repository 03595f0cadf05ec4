"""Public cell ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codemode_client._session.cell_ids import parse_cell_id, public_cell_id


@pytest.mark.parametrize(
    ("generation", "host_id", "public"),
    [(1, "3", "3"), (2, "3", "g2:3"), (10, "7", "g10:7"), (12, "1", "g12:1")],
)
def test_ids_carry_their_generation_from_the_second_on(generation: int, host_id: str, public: str) -> None:
    assert public_cell_id(generation, host_id) == public
    assert parse_cell_id(public) == (generation, host_id)


@pytest.mark.parametrize(
    "text", ["", "3", "g1:3", "g0:3", "g02:3", "g2", "G2:3", "g-2:3", " g2:3", "g٢:3", f"g{'9' * 5000}:3"]
)
def test_any_other_text_is_a_plain_id_of_the_first_generation(text: str) -> None:
    assert parse_cell_id(text) == (1, text)


@given(st.integers(1, 10**9), st.integers(1, 2**53).map(str))
def test_parsing_undoes_formatting(generation: int, host_id: str) -> None:
    assert parse_cell_id(public_cell_id(generation, host_id)) == (generation, host_id)
