"""Code mode as an MCP server, in this process: what is kept of a client's call, and for how long."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from mcp.types import CallToolRequestParams

from codemode_client._model.output import ModelOutput
from codemode_client.mcp._server.server import CodeModeServer, Notes
from codemode_protocol.errors import ProviderClosedError
from tests.client.recorder import Recorder


class Heard:
    """A client, as notes see it."""

    def __init__(self) -> None:
        self.told: list[str | None] = []

    async def report_progress(self, _: float, *, message: str | None = None) -> None:
        self.told.append(message)


class Called:
    """Tools for a model; a call has a note, and ends as the test says."""

    def __init__(self, notes: Notes, ending: Exception | None = None) -> None:
        self.notes = notes
        self.ending = ending
        self.id = ""

    async def call(self, _: str, __: object, *, call_id: str) -> ModelOutput:
        self.id = call_id
        await self.notes.notify(call_id, "1", "while it runs")
        if self.ending is None:
            await anyio.sleep_forever()
        raise self.ending  # type: ignore[misc]


@pytest.mark.parametrize("ending", [None, ProviderClosedError(), LookupError()])
async def test_a_call_hears_notes_until_it_is_over_however_it_ends(ending: Exception | None) -> None:
    notes, client = Notes(Recorder()), Heard()
    tools = Called(notes, ending)
    server: Any = CodeModeServer(tools, notes)  # type: ignore[arg-type]

    async def call() -> None:
        params = CallToolRequestParams(name="exec", arguments={})
        if isinstance(ending, LookupError):
            with pytest.raises(LookupError):
                await server._call_tool(SimpleNamespace(session=client), params)
        else:
            answer = await server._call_tool(SimpleNamespace(session=client), params)
            assert answer.is_error

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    await notes.notify(tools.id, "1", "afterwards")
    assert client.told == ["while it runs"]
    assert notes.take("1") == ["while it runs", "afterwards"]
