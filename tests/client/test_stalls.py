"""A host that answers no more is given up: each request has the time that it observes, and `stall_timeout` on top."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable

import anyio
import pytest

from codemode_client import CodeModeProvider, ModelTools, Session, Toolbox
from codemode_protocol.errors import HostLostError
from codemode_protocol.values import WaitRequest, Yielded
from tests.client.host_process import require_host_pid

ENDLESS = "yield_control(); await new Promise(() => {})"

Step = Callable[[Session, str], Awaitable[object]]

STEPS: dict[str, Step] = {
    "execute": lambda session, cell_id: session.execute("1", yield_time_ms=100),
    "wait": lambda session, cell_id: session.wait(WaitRequest(cell_id, 100)),
    "terminate": lambda session, cell_id: session.terminate(cell_id),
    "model": lambda session, cell_id: ModelTools(session, Toolbox(), max_wait_ms=100).call("exec", "text(1)"),
}


async def start_endless_cell(session: Session) -> str:
    cell = await session.execute(ENDLESS)
    assert isinstance(await cell.initial_response(), Yielded)
    return cell.cell_id


@pytest.mark.parametrize("step", STEPS)
async def test_a_host_that_is_stopped_is_lost_after_a_time_and_the_session_goes_on(step: str) -> None:
    async with (
        CodeModeProvider(stall_timeout=0.5, close_timeout=0.2) as provider,
        provider.session(Toolbox()) as session,
    ):
        cell_id = await start_endless_cell(session)
        pid = require_host_pid(provider)
        os.kill(pid, signal.SIGSTOP)
        with anyio.fail_after(30):
            if step == "model":  # which raises nothing, and says so to the model
                assert "did not answer a request" in str(await STEPS[step](session, cell_id))
            else:
                with pytest.raises(HostLostError, match=r"did not answer a request within 0\.5 s"):
                    await STEPS[step](session, cell_id)
        assert not os.path.exists(f"/proc/{pid}")  # noqa: ASYNC240 - procfs
        assert (await session.run("text(1)")).text == "1"
        assert session.generation == 2


async def test_a_request_that_observes_for_longer_is_not_taken_for_lost() -> None:
    async with CodeModeProvider(stall_timeout=0.2) as provider, provider.session(Toolbox()) as session:
        cell_id = await start_endless_cell(session)
        outcome = await session.wait(WaitRequest(cell_id, 1000))
        assert isinstance(outcome.response, Yielded)
        assert session.generation == 1
        await session.terminate(cell_id)
