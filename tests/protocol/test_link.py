"""Each end of a connection, driven by the test kit's state machine; and the machine, with ends that are wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from codemode_protocol import messages as m
from codemode_protocol.connection import ClientConnection, HostConnection
from codemode_protocol.errors import LocalProtocolError
from codemode_protocol.state import Role
from codemode_protocol.testing.connection_machine import ConnectionMachine

USUAL = settings(max_examples=40, stateful_step_count=60, deadline=None)
LONG = settings(max_examples=3_000, stateful_step_count=150, deadline=None)


class Client(ConnectionMachine):
    role = Role.CLIENT


class Host(ConnectionMachine):
    role = Role.HOST


TestClient = Client.TestCase
TestClient.settings = USUAL
TestHost = Host.TestCase
TestHost.settings = USUAL


@pytest.mark.fuzz
class TestClientForLong(Client.TestCase):  # type: ignore[valid-type,misc]
    settings = LONG


@pytest.mark.fuzz
class TestHostForLong(Host.TestCase):  # type: ignore[valid-type,misc]
    settings = LONG


def test_a_machine_that_never_began_has_nothing_to_end() -> None:
    Client().teardown()


class SaysAnything(ClientConnection):
    """Refuses nothing to its own caller."""

    def send(self, message: m.ClientMessage) -> bytearray:
        try:
            return super().send(message)
        except LocalProtocolError:
            return bytearray()


class KeepsNothing(HostConnection):
    """Does not know its sessions."""

    def session_state(self, session_id: str) -> Any:
        return None


@pytest.mark.parametrize(
    ("role", "client", "host"),
    [(Role.CLIENT, SaysAnything, HostConnection), (Role.HOST, ClientConnection, KeepsNothing)],
)
def test_the_machine_finds_an_end_that_is_wrong(
    role: Role, client: type[ClientConnection], host: type[HostConnection]
) -> None:
    class Machine(ConnectionMachine):
        def make_client(self) -> ClientConnection:
            return client()

        def make_host(self) -> HostConnection:
            return host()

    Machine.role = role
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            Machine, settings=settings(USUAL, database=None, phases=[Phase.generate], report_multiple_bugs=False)
        )


@pytest.mark.parametrize("machine", [Client, Host])
def test_some_talks_that_are_the_same_each_time_keep_the_rules(machine: type[ConnectionMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=8,
            stateful_step_count=60,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
        ),
    )
