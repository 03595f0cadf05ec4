"""Runs a cell to its end and streams its output."""

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
"""The default interval for collecting a cell's output, in milliseconds."""


async def start(session: Session, script: Script, tools: Sequence[ToolDefinition], every: int) -> StartedCell:
    """Start a script's cell, which first yields after `every` milliseconds."""
    source = script.source
    return await session.execute(ExecuteRequest("run", list(tools), source.source, every, source.max_output_tokens))


async def follow(
    session: Session, cell: StartedCell, show: Callable[[ContentItem], None], every: int
) -> Result | Terminated:
    """Show a cell's output, collected every `every` milliseconds, until it ends; return its last response.

    If the caller is cancelled the cell continues, and the next wait has the rest.
    """
    response: RuntimeResponse = await cell.initial_response()
    while True:
        for item in response.content_items:
            show(item)
        if not isinstance(response, Yielded):
            return response
        outcome = await session.wait(WaitRequest(cell.cell_id, every))
        assert isinstance(outcome, LiveCell), "only this function takes the cell's result"
        response = outcome.response


def interval(source: ExecSource, yield_ms: int | None) -> int:
    """Return the interval for collecting output, in milliseconds."""
    if yield_ms is not None:
        return yield_ms
    return source.yield_time_ms if source.yield_time_ms is not None else DEFAULT_YIELD_MS


def succeeded(response: RuntimeResponse) -> bool:
    return isinstance(response, Result) and response.error_text is None
