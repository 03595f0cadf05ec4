"""Running a cell to its end while its output is shown."""

from __future__ import annotations

from collections.abc import Sequence

from codemode_client.console.display import Display
from codemode_client.session import Session
from codemode_protocol.source import ExecSource
from codemode_protocol.values import (
    ExecuteRequest,
    LiveCell,
    Result,
    ToolDefinition,
    WaitRequest,
    Yielded,
)

DEFAULT_YIELD_MS = 200
"""How often output is collected from a cell whose source does not say so."""


async def run_cell(
    session: Session,
    name: str,
    source: ExecSource,
    tools: Sequence[ToolDefinition],
    display: Display,
    yield_ms: int | None = None,
) -> bool:
    """Run one cell, show what it writes, and say whether it succeeded.

    `yield_ms` is how many milliseconds output may take to be shown; None for what the source says. If the caller is
    cancelled the cell is terminated.
    """
    if yield_ms is None:
        yield_ms = source.yield_time_ms if source.yield_time_ms is not None else DEFAULT_YIELD_MS
    request = ExecuteRequest("run", list(tools), source.source, yield_ms, source.max_output_tokens)
    cell = await session.execute(request)
    try:
        response = await cell.initial_response()
        while True:
            display.output(response.content_items)
            if not isinstance(response, Yielded):
                break
            outcome = await session.wait(WaitRequest(cell.cell_id, yield_ms))
            assert isinstance(outcome, LiveCell), "nobody else takes this cell's result"
            response = outcome.response
    except BaseException:
        cell.abandon()
        raise
    display.ended(response, name, source)
    return isinstance(response, Result) and response.error_text is None
