"""Running a cell to its end while its output is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from codemode_client._cli.console.scripts import Script
from codemode_client._session.cells import StartedCell
from codemode_client._session.session import Session
from codemode_protocol.source import ExecSource
from codemode_protocol.values import (
    ContentItem,
    ExecuteRequest,
    LiveCell,
    Result,
    RuntimeResponse,
    Terminated,
    ToolDefinition,
    WaitRequest,
    Yielded,
)

DEFAULT_YIELD_MS = 200
"""How often output is collected from a cell whose source does not say so, in milliseconds."""


async def start(session: Session, script: Script, tools: Sequence[ToolDefinition], every: int) -> StartedCell:
    """Start a script's cell; its output is first collected after so many milliseconds."""
    source = script.source
    return await session.execute(ExecuteRequest("run", list(tools), source.source, every, source.max_output_tokens))


async def follow(
    session: Session, cell: StartedCell, show: Callable[[ContentItem], None], every: int
) -> Result | Terminated:
    """Show what a cell writes until it ends, collected at least every so many milliseconds; give its last response.

    If the caller is cancelled nothing is lost: the cell goes on, and whoever waits for it next has the rest.
    """
    response: RuntimeResponse = await cell.initial_response()
    while True:
        for item in response.content_items:
            show(item)
        if not isinstance(response, Yielded):
            return response
        outcome = await session.wait(WaitRequest(cell.cell_id, every))
        assert isinstance(outcome, LiveCell), "nobody else takes this cell's result"
        response = outcome.response


def interval(source: ExecSource, yield_ms: int | None) -> int:
    """How often to collect output, in milliseconds."""
    if yield_ms is not None:
        return yield_ms
    return source.yield_time_ms if source.yield_time_ms is not None else DEFAULT_YIELD_MS


def succeeded(response: RuntimeResponse) -> bool:
    return isinstance(response, Result) and response.error_text is None
