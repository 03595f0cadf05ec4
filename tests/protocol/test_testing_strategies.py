"""The test kit's strategies: every kind of message is drawn, and comes out of its bytes as it went in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from codemode_protocol import messages as m
from codemode_protocol.testing import strategies

ONCE = settings(max_examples=120, deadline=None, derandomize=True, database=None, phases=[Phase.generate])


@pytest.mark.parametrize(
    ("drawn", "decoder", "kinds"),
    [
        (strategies.client_messages, m.client_message_decoder, 4),
        (strategies.host_messages, m.host_message_decoder, 7),
    ],
)
def test_every_kind_is_drawn_and_comes_out_as_it_went_in(
    drawn: st.SearchStrategy[Any], decoder: msgspec.json.Decoder[Any], kinds: int
) -> None:
    seen = set[type]()

    @ONCE
    @given(drawn)
    def look(message: Any) -> None:
        seen.add(type(message))
        assert msgspec.json.encode(decoder.decode(msgspec.json.encode(message))) == msgspec.json.encode(message)

    look()
    assert len(seen) == kinds


def test_pieces_are_the_whole() -> None:
    data = bytes(range(100))

    @ONCE
    @given(strategies.cuts(data))
    def look(pieces: list[bytes]) -> None:
        assert b"".join(pieces) == data

    look()
