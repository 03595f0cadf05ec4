"""The state machine that drives a host finds nothing in one that is right, and the fault in each that is not."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import settings

from codemode_protocol.testing import Differs, Ending, HostUnderTest, NoMessage
from codemode_protocol.testing.host_machine import HostMachine, run_host_machine
from tests.protocol.toy_host import Tamper, ToyHost


class Toy(HostMachine):
    def start_host(self) -> HostUnderTest:
        return ToyHost()


TestToy = Toy.TestCase
TestToy.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


class Enough(BaseException):
    """Ends the search for a shorter conversation."""


def run(host: type[ToyHost], tamper: Tamper = lambda message: [message]) -> list[Differs]:
    """What a host is told to differ in, as it is found, and then the same in shorter conversations."""
    found: list[Differs] = []
    hosts: list[HostUnderTest] = []

    class Machine(HostMachine):
        def start_host(self) -> HostUnderTest:
            hosts.append(host(tamper))
            return hosts[-1]

        def stop_host(self, host: HostUnderTest) -> None:
            hosts.remove(host)

        def failing(self, differs: Differs) -> None:
            found.append(differs)
            if len(found) == 20:
                raise Enough

    try:
        run_host_machine(Machine, 1, conversations=20, steps=30)
    except (Differs, Enough):
        assert found
    assert hosts == []
    return found


def test_nothing_is_found_in_a_host_that_is_right() -> None:
    assert run(ToyHost) == []


def altered(kind: str, **fields: Any) -> Tamper:
    return lambda message: [{**message, **fields}] if message["type"] == kind else [message]


def dropped(kind: str) -> Tamper:
    return lambda message: [] if message["type"] == kind else [message]


def doubled(kind: str) -> Tamper:
    return lambda message: [message, message] if message["type"] == kind else [message]


def without_output(message: dict[str, Any]) -> list[Any]:
    text = str(message).replace("'content_items': [{", "")
    return [message] if text == str(message) else [_emptied(message)]


def _emptied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: [] if key == "content_items" else _emptied(inner) for key, inner in value.items()}
    return value


@pytest.mark.parametrize(
    ("tamper", "came"),
    [
        (altered("connection/ready", selectedVersion=2), "selectedVersion"),
        (altered("operation/response", id=123456789), "123456789"),
        (altered("execute/initialResponse", id=123456789), "123456789"),
        (altered("cell/closed", cellId="9"), '"9"'),
        (altered("cell/closed", more=1), "no message of V1"),
        (altered("delegate/request", id=7), "duplicate delegate call id 7|delegate/request|nothing"),
        (dropped("cell/closed"), "nothing|session/closed"),
        (dropped("delegate/cancel"), "nothing|LiveCell|initialResponse"),
        (dropped("operation/response"), "nothing|delegate/request"),
        (doubled("operation/response"), "operation/response"),
        (doubled("cell/closed"), "cell/closed"),
        (without_output, "content_items"),
        (lambda message: [b"{}"], "no message of V1"),
    ],
)
def test_a_host_that_is_wrong_in_one_way_is_found(tamper: Tamper, came: str) -> None:
    found = run(ToyHost, tamper)
    assert any(part in found[-1].came for part in came.split("|")), found[-1]
    assert found[-1].transcript[0].startswith("> ")


class FailsAtTheEnd(ToyHost):
    def end(self) -> Ending:
        return super().end()._replace(status=3, complaint="so sorry")


class DoesNotEnd(ToyHost):
    def end(self) -> Ending:
        raise NoMessage("nothing: it still runs", silent=True)


class TalksOn(ToyHost):
    def end(self) -> Ending:
        return super().end()._replace(said=[b'{"type":"delegate/cancel","id":1}'])


class IsCutOff(ToyHost):
    def end(self) -> Ending:
        return super().end()._replace(cut=True)


@pytest.mark.parametrize(
    ("host", "came"),
    [
        (FailsAtTheEnd, "exit status 3: so sorry"),
        (DoesNotEnd, "it still runs"),
        (TalksOn, "delegate/cancel"),
        (IsCutOff, "inside a frame"),
    ],
)
def test_a_host_that_ends_otherwise_is_found(host: type[ToyHost], came: str) -> None:
    assert came in run(host)[-1].came


def test_a_host_that_differs_now_and_then_is_found() -> None:
    count = itertools.count(1)
    assert run(ToyHost, lambda message: [message] if next(count) % 50 else [])


def test_a_machine_without_a_host_says_what_it_lacks() -> None:
    with pytest.raises(NotImplementedError):
        run_host_machine(HostMachine, 1, conversations=1, steps=1)
