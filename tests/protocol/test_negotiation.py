from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codemode_protocol.errors import RemoteProtocolError
from codemode_protocol.messages import Hello, MissingRequiredCapability, NoCompatibleVersion, Ready, Rejected
from codemode_protocol.negotiation import check_ready, negotiate
from codemode_protocol.testing.strategies import hellos


def test_the_highest_common_version_is_selected() -> None:
    assert negotiate(Hello([1, 7, 3, 9], [], []), {1, 3, 7, 8}) == Ready(7, [])


def test_without_a_common_version_the_supported_ones_are_named() -> None:
    assert negotiate(Hello([2], ["x"], []), {3, 1}) == Rejected(NoCompatibleVersion([1, 3]))


def test_the_first_missing_required_capability_is_named() -> None:
    assert negotiate(Hello([1], ["z", "y", "b"], []), {1}, {"b"}) == Rejected(MissingRequiredCapability("y"))


def test_the_answer_names_the_asked_capabilities_that_the_host_has_in_order() -> None:
    assert negotiate(Hello([1], ["r"], ["z", "a", "none"]), {1}, {"a", "r", "z", "unasked"}) == Ready(
        1, ["a", "r", "z"]
    )


@given(hellos(), st.sets(st.integers(1, 2**32 - 1)), st.data())
def test_a_client_accepts_whatever_a_host_negotiates(hello: Hello, versions: set[int], data: st.DataObject) -> None:
    offered = data.draw(st.sets(st.sampled_from([*hello.required_capabilities, *hello.optional_capabilities, "other"])))
    answer = negotiate(hello, versions, offered)
    if isinstance(answer, Ready):
        check_ready(hello, answer)
        assert set(hello.required_capabilities) <= set(answer.capabilities)


@pytest.mark.parametrize(
    ("ready", "why"),
    [
        (Ready(2, ["r"]), "selects version 2"),
        (Ready(1, []), "lacks the required capability 'r'"),
        (Ready(1, ["r", "x"]), "names capability 'x'"),
    ],
)
def test_an_answer_that_does_not_fit_the_hello_is_refused(ready: Ready, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        check_ready(Hello([1], ["r"], ["o"]), ready)
