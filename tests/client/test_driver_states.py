"""A host's states: every event in every state does what the table has, or is refused."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import copy_context

import anyio
import pytest
from msgspec import Raw

from codemode_client._session.cells import Execution
from codemode_client._session.driver import TRANSITIONS, Driver, DriverState
from codemode_client._session.options import ProviderOptions
from codemode_client.counters import Tally
from codemode_protocol.errors import HostError, HostLostError, HostStartError, ProviderClosedError
from codemode_protocol.values import ExecuteRequest, ToolInvocation
from tests.client.loops import enter_loop
from tests.client.puppet import Puppet, open_puppets
from tests.client.recorder import Recorder, forever

pytestmark = pytest.mark.loops("asyncio")  # the states are the same on each; what is of the loop, test_loops has

S = DriverState
REFUSED = None
"""The event cannot come in that state: it is a fault of the client's own."""


def fail(driver: Driver) -> None:
    driver.fail("for a test", way="test")


Event = Callable[[Driver], None]

_STOPPING = {
    **dict.fromkeys((S.WAITING, S.STARTING, S.READY, S.STOPPING), S.STOPPING),
    S.GONE: S.GONE,
    S.FINISHED: S.FINISHED,
}
EVENTS: Mapping[Event, Mapping[DriverState, DriverState]] = {
    Driver.close: _STOPPING,
    fail: _STOPPING,
    Driver.host_ready: {S.STARTING: S.READY},
}
"""Where each event leads; a state that is not there is one in which it cannot come."""

BY_ITSELF = {(S.WAITING, S.STARTING), (S.STOPPING, S.GONE), (S.GONE, S.FINISHED)}
"""What comes with time, and not of an event."""


@asynccontextmanager
async def open_driver(state: DriverState) -> AsyncIterator[Driver]:
    """A host's driver in a state, of which it does not leave by itself; ended with the block."""
    release = anyio.Event()

    async def end_late(invocation: ToolInvocation) -> Raw:
        try:
            return await forever(invocation)
        finally:
            await release.wait()

    async def bring_there(driver: Driver, host: Puppet) -> None:
        if state is S.STARTING:
            return
        await host.handshake()
        await driver.ready.get()
        if state is S.GONE:
            # A tool that takes its time to end holds the driver there.
            recorder = Recorder(tool=end_late)
            session = driver.bind("s", recorder, 1, copy_context())
            await host.open_session()
            await session.opened.get()
            execution = Execution(session, ExecuteRequest("call", [], ""), None)
            await host.start_cell("1")
            await execution.started.get()
            await host.call_tool("1")
            await recorder.until(lambda: recorder.calls)
        if state in (S.STOPPING, S.GONE, S.FINISHED):
            driver.close()
        if state in (S.GONE, S.FINISHED):
            await host.leave()
            await (driver.gone if state is S.GONE else driver.finished).get()

    async with open_puppets() as hosts, enter_loop() as loop:
        start_after = loop.time() + 3600 if state is S.WAITING else 0.0
        driver = Driver(ProviderOptions(hosts.command), loop, Tally(), start_after)
        driver.start()
        loop.start(driver.run)
        try:
            if state is not S.WAITING:
                await bring_there(driver, await hosts.next())
            assert driver.state is state
            yield driver
        finally:
            release.set()
            driver.close()
            for host in hosts.started:
                host.stream.close()
            await driver.finished.get()


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
@pytest.mark.parametrize("state", S, ids=lambda state: state.value)
async def test_every_event_in_every_state_leads_where_the_table_says_or_is_refused(
    state: DriverState, event: Event
) -> None:
    expected = EVENTS[event].get(state, REFUSED)
    async with open_driver(state) as driver:
        if expected is REFUSED:
            with pytest.raises(AssertionError):
                event(driver)
            expected = state
        else:
            event(driver)
        assert driver.state is expected
        assert expected is state or expected in TRANSITIONS[state]


def test_every_transition_of_the_table_is_one_that_comes() -> None:
    made = {(state, after) for after_by_state in EVENTS.values() for state, after in after_by_state.items()}
    in_table = {(state, after) for state, successors in TRANSITIONS.items() for after in successors}
    assert {(state, after) for state, after in made if state is not after} | BY_ITSELF == in_table
    assert set(TRANSITIONS) == set(S)


async def test_a_start_that_is_put_off_comes_with_time() -> None:
    async with open_puppets() as hosts, enter_loop() as loop:
        driver = Driver(ProviderOptions(hosts.command), loop, Tally(), loop.time() + 0.01)
        driver.start()
        assert (driver.state, driver.pid) == (S.WAITING, None)
        loop.start(driver.run)
        host = await hosts.next()
        assert (driver.state, driver.pid) == (S.STARTING, host.pid)
        driver.close()
        await host.leave()
        await driver.gone.get()
        await driver.finished.get()
        assert driver.state is S.FINISHED


@pytest.mark.parametrize("state", S, ids=lambda state: state.value)
async def test_a_state_says_what_can_be_had_of_the_host(state: DriverState) -> None:
    async with open_driver(state) as driver:
        stopped = state in (S.STOPPING, S.GONE, S.FINISHED)
        assert driver.usable == (state is S.READY)
        assert (driver.lost, driver.closing) == (stopped, stopped)
        assert (driver.pid is None) == (state is S.WAITING)
        assert (driver.running_pid is None) == (state in (S.WAITING, S.GONE, S.FINISHED))
        assert driver.ready.succeeded == (state not in (S.WAITING, S.STARTING))
        assert driver.gone.done == (state in (S.GONE, S.FINISHED))
        assert driver.finished.done == (state is S.FINISHED)


@pytest.mark.parametrize(("state", "kind"), [(S.STARTING, HostStartError), (S.READY, HostLostError)])
async def test_a_host_that_dies_is_stopped_and_its_error_says_when_it_was(
    state: DriverState, kind: type[HostError]
) -> None:
    async with open_driver(state) as driver:
        assert driver.pid is not None
        os.kill(driver.pid, signal.SIGKILL)
        await driver.gone.get()
        assert driver.lost
        assert not driver.closing
        assert type(driver.error()) is kind


async def test_the_first_cause_is_the_one_that_counts() -> None:
    async with open_driver(S.READY) as driver:
        driver.fail("the first")
        driver.fail("the second")
        driver.close()
        assert "the first" in str(driver.error())
    async with open_driver(S.READY) as driver:
        driver.close()
        driver.fail("too late")
        assert isinstance(driver.error(), ProviderClosedError)
