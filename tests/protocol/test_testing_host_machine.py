"""The state machine that drives a host finds nothing in one that is right, and the fault in each that is not."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.configuration import storage_directory

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
            if len(found) == 5:
                raise Enough

    try:
        run_host_machine(Machine, 1, conversations=10, steps=30)
    except (Differs, Enough):
        assert found
    assert hosts == []
    return found


def test_nothing_is_found_in_a_host_that_is_right() -> None:
    assert run(ToyHost) == []


def test_nothing_is_kept_in_the_current_directory_where_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run_host_machine(Toy, 1, conversations=3, steps=5, storage=str(tmp_path / "there"))
    assert list((tmp_path / "here").iterdir()) == []


def altered(kind: str, **fields: Any) -> Tamper:
    return lambda message: [{**message, **fields}] if message["type"] == kind else [message]


def dropped(kind: str) -> Tamper:
    return lambda message: [] if message["type"] == kind else [message]


def doubled(kind: str) -> Tamper:
    return lambda message: [message, message] if message["type"] == kind else [message]


def emptied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: [] if key == "content_items" else emptied(inner) for key, inner in value.items()}
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
        (lambda message: [emptied(message)], "content_items"),
        (lambda message: [b"{}"], "no message of V1"),
    ],
)
def test_a_host_that_is_wrong_in_one_way_is_found(tamper: Tamper, came: str) -> None:
    found = run(ToyHost, tamper)
    assert any(part in found[-1].came for part in came.split("|")), found[-1]
    assert found[-1].transcript[0].startswith("> ")


class Choices:
    """Draws the first of several things, or the last."""

    def __init__(self, index: int) -> None:
        self.index = index

    def draw(self, strategy: Any, label: str) -> Any:
        return strategy.elements[self.index]


FIRST: Any = Choices(0)
LAST: Any = Choices(-1)


def test_rules_that_have_nothing_to_do_do_nothing() -> None:
    machine = Toy()
    machine.teardown()  # it never began
    machine.greet()
    machine.shut_down(FIRST, 3)
    machine.execute(FIRST, 4, observed=True)
    machine.shut_down(FIRST, 5)
    machine.command(FIRST, [])
    machine.deliver(FIRST)
    machine.cancel(FIRST)
    machine.settle()
    machine.teardown()


def test_a_conversation_with_every_rule() -> None:
    machine = Toy()
    machine.greet()
    for id in (7, 7, 2**63 - 1, 2**63 - 1):
        machine.open_session("s", id)  # the third is one too many
    for number in range(6):
        machine.execute(FIRST, 100 + number, observed=number != 1)  # so is the fifth cell
    machine.execute(LAST, 110, observed=True)
    machine.command(FIRST, [("text", "a"), ("fork",), ("notify", "b"), ("yield",), ("yield",)])
    machine.refuse(FIRST, "c")
    machine.wait(FIRST, 120, patient=False)
    machine.wait(FIRST, 121, patient=True)
    machine.wait(FIRST, 122, patient=True)
    machine.cancel(FIRST)
    machine.cancel(FIRST)
    machine.cancel(LAST)
    machine.end(FIRST, [("notify", "c")], ("throw", "d"))
    machine.shut_down(FIRST, 123)  # not while a cell finishes
    machine.wait(FIRST, 124, patient=False)
    machine.wait(FIRST, 125, patient=False)
    machine.deliver(FIRST)
    machine.deliver(FIRST)
    machine.deliver(FIRST)
    machine.wait(FIRST, 126, patient=True)
    machine.terminate(FIRST, 127)
    machine.terminate(LAST, 128)
    machine.execute(LAST, 129, observed=False)
    machine.end(LAST, [], ("end",))
    machine.terminate(LAST, 130)
    machine.execute(LAST, 131, observed=False)
    machine.end(LAST, [], ("exit",))
    machine.wait(LAST, 132, patient=False)
    machine.execute(LAST, 133, observed=False)
    machine.terminate(LAST, 134)
    machine.execute(LAST, 135, observed=False)
    machine.end(LAST, [], ("exit",))
    machine.shut_down(LAST, 136)
    machine.shut_down(FIRST, 137)
    machine.shut_down(FIRST, 138)
    machine.settle()
    machine.teardown()


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


def test_a_machine_without_a_host_says_what_it_lacks_and_hypothesis_keeps_its_usual_folder(tmp_path: Path) -> None:
    before = storage_directory().path
    with pytest.raises(NotImplementedError):
        run_host_machine(HostMachine, 1, conversations=1, steps=1, storage=str(tmp_path))
    assert storage_directory().path == before
