"""The hosts that are compared, and one of them running: both behind the same client."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
from msgspec import Raw

from benchmarks import procfs
from codemode_client import CodeModeProvider, Session, StartedCell
from codemode_protocol.values import (
    ContentItem,
    ExecuteRequest,
    Result,
    ToolDefinition,
    ToolInvocation,
    ToolKind,
    ToolName,
    WaitRequest,
    Yielded,
)
from tests.interop.reference import ReferenceMissing, reference_host

YIELD_TIME_MS = 60_000
"""Longer than anything here takes: a cell's first answer is its result."""

ONE_TEXT = "text(1)"
"""The script of which only the overhead can be measured."""

WARM_UP_EXECUTES = 10
SETTLE_SECONDS = 0.1
"""By then a host has done its idle-time work."""


class CaseFailed(Exception):
    """A host could not do what a case asks for; the text says why."""


@dataclass(frozen=True)
class Program:
    """One of the hosts: what it is called in tables, and its command line."""

    name: str
    command: tuple[str, ...]


OURS = Program("ours", (sys.executable, "-m", "codemode_host"))


def reference() -> Program:
    """The reference host, fetched by npm when need be. Raises ReferenceMissing."""
    return Program("reference", (str(reference_host()),))


class Echo:
    """A delegate that gives every tool's input back, and does next to nothing: the time is the host's."""

    def __init__(self) -> None:
        self.before_answer: Callable[[], Awaitable[None]] | None = None
        """Something to do while a cell waits for its tool."""

    async def invoke_tool(self, invocation: ToolInvocation) -> Raw:
        if self.before_answer is not None:
            await self.before_answer()
        return invocation.input

    async def notify(self, call_id: str, cell_id: str, text: str) -> None:
        pass

    def cell_closed(self, cell_id: str) -> None:
        pass


def tool_definitions(count: int) -> list[ToolDefinition]:
    """So many tools, of the size that tools have."""
    schema = Raw(b'{"type":"object","properties":{"path":{"type":"string"},"limit":{"type":"integer"}}}')
    return [
        ToolDefinition(
            name=f"tool_{number}",
            tool_name=ToolName(f"tool_{number}"),
            description=f"Does useful thing number {number} with the path that it is given.",
            kind=ToolKind.FUNCTION,
            input_schema=schema,
            output_schema=schema,
        )
        for number in range(count)
    ]


@dataclass(frozen=True)
class Bench:
    """A running host with a session."""

    program: Program
    session: Session
    delegate: Echo
    pid: int

    async def execute(self, source: str, tools: Sequence[ToolDefinition] = ()) -> list[ContentItem]:
        """Run a script to its end and give what it wrote. Raises CaseFailed when it does not succeed."""
        cell = await self._start(source, tools)
        response = await cell.initial_response()
        items = response.content_items
        while isinstance(response, Yielded):  # a host may answer early when there is much output
            outcome = await self.session.wait(WaitRequest(cell.cell_id, YIELD_TIME_MS))
            response = outcome.response
            items += response.content_items
        if not isinstance(response, Result):
            raise CaseFailed(f"the cell did not end: {type(response).__name__}")
        if response.error_text is not None:
            raise CaseFailed(f"the cell failed: {response.error_text}")
        return items

    async def leave_running(self, count: int, tools: Sequence[ToolDefinition] = ()) -> None:
        """Start so many cells that then wait for a timer. Returns when each has got there."""
        source = "yield_control(); await new Promise((resolve) => setTimeout(resolve, 600000))"

        async def one() -> None:
            response = await (await self._start(source, tools)).initial_response()
            if not isinstance(response, Yielded):
                raise CaseFailed(f"the cell did not yield: {response}")

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(one)

    async def warm_up(self) -> None:
        """Bring the host to where it is after some use."""
        for _ in range(WARM_UP_EXECUTES):
            await self.execute(ONE_TEXT)
        await trio.sleep(SETTLE_SECONDS)

    async def memory(self) -> float:
        """Memory of the host and its runtimes at rest, in MB. Raises CaseFailed where that cannot be read.

        It is read process by process, so it means something only while none is forked.
        """
        await trio.sleep(SETTLE_SECONDS)
        try:
            return procfs.memory(self.pid)
        except PermissionError as error:
            raise CaseFailed(f"its memory cannot be read: {error}") from error

    async def _start(self, source: str, tools: Sequence[ToolDefinition]) -> StartedCell:
        return await self.session.execute(ExecuteRequest("bench", list(tools), source, YIELD_TIME_MS))


@asynccontextmanager
async def running(program: Program) -> AsyncIterator[Bench]:
    """A host of its own for the block. Nothing was run on it yet."""
    before = procfs.children(os.getpid())
    delegate = Echo()
    async with CodeModeProvider(program.command) as provider, provider.session(delegate) as session:
        (pid,) = procfs.children(os.getpid()) - before
        yield Bench(program, session, delegate, pid)


__all__ = [
    "ONE_TEXT",
    "OURS",
    "Bench",
    "CaseFailed",
    "Program",
    "ReferenceMissing",
    "reference",
    "running",
    "tool_definitions",
]
