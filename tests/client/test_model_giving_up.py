"""A model's call that is cancelled gives its cell up: in a moment, whatever the host does."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio
import trio.testing

from codemode_client import Session
from codemode_client._model.tools import GIVE_UP_SECONDS, ModelTools
from codemode_protocol.errors import RequestFailedError
from codemode_protocol.values import ExecuteRequest, RuntimeResponse


class Started:
    """A cell whose answer never comes."""

    cell_id = "1"

    async def initial_response(self) -> RuntimeResponse:
        await trio.sleep_forever()
        raise AssertionError


class Deaf:
    """A session on a host that starts cells and then answers nothing, or refuses."""

    id = "s"
    generation = 1

    def __init__(self, refuses: bool) -> None:
        self.refuses = refuses
        self.terminated: list[str] = []
        self.delegate: Any = None

    async def execute(self, request: ExecuteRequest) -> Started:
        return Started()

    async def terminate(self, cell_id: str) -> RuntimeResponse:
        self.terminated.append(cell_id)
        if self.refuses:
            raise RequestFailedError("no")
        await trio.sleep_forever()
        raise AssertionError


@pytest.mark.loops("trio")
@pytest.mark.parametrize("refuses", [True, False])
async def test_a_cancelled_call_terminates_its_cell_and_does_not_wait_for_ever(
    refuses: bool, autojump_clock: trio.testing.MockClock
) -> None:
    session = Deaf(refuses)
    tools = ModelTools(cast("Session", session), [])
    begun = trio.current_time()
    with trio.move_on_after(1) as scope:
        await tools.exec("text(1)")
    assert scope.cancelled_caught
    assert session.terminated == ["1"]
    took = trio.current_time() - begun
    assert took == pytest.approx(1 if refuses else 1 + GIVE_UP_SECONDS)
