"""docs/architecture.md walks one execute through the client and the host: it names the files that are visited."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
import trio

import codemode_client
import codemode_host
from codemode_client import CodeModeProvider, Toolbox
from codemode_host.options import Options
from codemode_host.runtimes.host_side.spawn import ZygoteOptions, spawn_zygote
from codemode_host.serving.client import Channel
from codemode_host.serving.host import Host
from codemode_protocol.connection import ClientConnection, HostConnection
from codemode_protocol.limits import Limits
from codemode_protocol.messages import CellClosed, Execute, HostMessage, OpenSession, OperationRequest
from codemode_protocol.values import ExecuteRequest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "architecture.md"

BESIDE_CLIENT = {"_tools/toolbox.py", "_session/cell_ids.py", "_loops/on_asyncio.py", "_loops/on_trio.py"}
"""The delegate, how an id is written, and the loop's own way to wait."""

BESIDE_HOST = {
    "serving/host.py",
    "cells/owner.py",
    "runtimes/host_side/pools.py",
    "runtimes/host_side/zygote_control.py",
    "runtimes/host_side/memory_watch.py",
}
"""Who awaits the client; the count of cells; what the pool does for other runtimes meanwhile."""


def read_walk(heading: str) -> set[str]:
    """Return the files that begin the numbered steps of a section."""
    _, found, section = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")
    assert found
    return set(re.findall(r"^\d\. `([\w/]+\.py)`", section.partition("\n## ")[0], re.MULTILINE))


@contextmanager
def tracing(package: Path) -> Iterator[set[str]]:
    """Yield a set that gets the files of a package in which functions are called meanwhile."""
    visited: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(package):
            visited.add(str(path.relative_to(package)))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield visited
    finally:
        sys.setprofile(before)


async def test_one_execute_visits_the_files_of_the_client_that_the_walk_names() -> None:
    async with CodeModeProvider() as provider, provider.session(Toolbox()) as session:
        await session.run("text(1)")
        with tracing(Path(codemode_client.__file__).parent) as visited:
            cell = await session.execute("text('x')")
            response = await cell.initial_response()
    assert response.text == "x"
    assert visited - BESIDE_CLIENT == read_walk("One execute, read through the client")


@pytest.mark.loops("trio")
async def test_one_execute_visits_the_files_of_the_host_that_the_walk_names() -> None:
    async def close_cell(ask: Callable[[OperationRequest], Awaitable[list[HostMessage]]], request_id: int) -> None:
        request = ExecuteRequest("call", [], "text('x')", 30_000)
        messages = await ask(OperationRequest(request_id, Execute("session", request)))
        while not any(isinstance(message, CellClosed) for message in messages):
            messages = await hear()

    async def ask(request: OperationRequest) -> list[HostMessage]:
        os.write(to_host, client.send(request))
        return await hear()

    async def hear() -> list[HostMessage]:
        await trio.lowlevel.wait_readable(from_host)
        return client.receive_data(os.read(from_host, 1 << 16))

    zygote = spawn_zygote(ZygoteOptions())
    host_reads, to_host = os.pipe()
    from_host, host_writes = os.pipe()
    for fd in (host_reads, to_host, from_host, host_writes):
        os.set_blocking(fd, False)
    host = Host(HostConnection(), zygote, Channel(host_reads, host_writes, Limits()), Options(control="off"))
    client = ClientConnection()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.serve)
        os.write(to_host, client.hello())
        await hear()
        await ask(OperationRequest(1, OpenSession("session")))
        await close_cell(ask, 2)
        with tracing(Path(codemode_host.__file__).parent) as visited:
            await close_cell(ask, 3)
        os.close(to_host)
    for fd in (host_reads, from_host, host_writes):
        os.close(fd)
    assert visited - BESIDE_HOST == read_walk("One execute, read through the host")
