"""exec and wait over a session of their own, and what they say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from msgspec import Raw

from codemode_client import CodeModeProvider, ModelOutput, ModelTools
from codemode_protocol.values import InputText, ToolInvocation
from tests.client.recorder import Recorder, define_tool

ENDLESS = "await new Promise(() => {})"


@asynccontextmanager
async def open_tools(
    command: list[str], recorder: Recorder | None = None, *names: str, max_wait_ms: int | None = 600_000
) -> AsyncIterator[ModelTools]:
    """ModelTools over a session of its own, whose cells may call the recorder's tools of these names."""
    definitions = [define_tool(name) for name in names]
    async with CodeModeProvider(command) as provider, provider.session(recorder or Recorder()) as session:
        yield ModelTools(session, definitions, max_wait_ms=max_wait_ms)


def read_output(result: ModelOutput) -> list[str]:
    """The texts after the header."""
    header, *items = result.items
    assert isinstance(header, InputText)
    assert header.text.startswith(f"Status: {result.status}")
    return [item.text for item in items if isinstance(item, InputText)]


class Gate:
    """A tool that answers once it is opened."""

    def __init__(self) -> None:
        self.opened = anyio.Event()

    async def __call__(self, _: ToolInvocation) -> Raw:
        await self.opened.wait()
        return Raw(b"1")
