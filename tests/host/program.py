"""Our host as a process, with a client that is no more than its connection: what a host does is seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from codemode_protocol.connection import ClientConnection
from codemode_protocol.messages import (
    Execute,
    Failure,
    HostMessage,
    InitialResponse,
    OpenSession,
    OperationRequest,
    OperationResponse,
    Terminate,
    Wait,
)
from codemode_protocol.values import (
    ExecuteRequest,
    InputText,
    Result,
    RuntimeResponse,
    ToolDefinition,
    ToolKind,
    ToolName,
    WaitRequest,
    Yielded,
)
from tests.processes import list_children

COMMAND = (sys.executable, "-m", "codemode_host")


def define_tool(name: str) -> ToolDefinition:
    return ToolDefinition(name, ToolName(name), "", ToolKind.FUNCTION)


def list_running_children(pid: int) -> list[int]:
    """The processes that `pid` is the parent of, those that ended but were not reaped left out."""
    return [child for child in list_children(pid) if is_running(child)]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for something that another process does."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 nobody tells us
            await trio.sleep(0.002)


class Program:
    """One host, spoken to by a client that does what a test says and nothing else."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.stdin, self.stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self.connection = ClientConnection()
        self.messages: list[HostMessage] = []
        self.stderr = b""
        self.stderr_ended = trio.Event()
        """All that the host wrote is in `stderr`; at once where nobody reads it."""
        self.family: set[int] = set()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def zygote(self) -> int:
        (zygote,) = list_running_children(self.pid)
        return zygote

    def runtimes(self) -> list[int]:
        return list_running_children(self.zygote)

    def remember_family(self) -> None:
        """Know all processes by number, for `gone`."""
        self.family = {self.pid, self.zygote, *self.runtimes()}

    def left(self) -> list[int]:
        """Those of the known processes that run."""
        return [pid for pid in self.family if is_running(pid)]

    def peak_resident_mib(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) // 1024

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd")) + len(os.listdir(f"/proc/{self.zygote}/fd"))

    async def read_stderr(self) -> None:
        async for chunk in self._stderr:
            self.stderr += chunk
        self.stderr_ended.set()

    async def greet(self) -> None:
        await self.stdin.send_all(self.connection.hello())
        await self.receive(lambda _: self.connection.ready)

    async def receive(self, wanted: Callable[[HostMessage], object]) -> HostMessage:
        """The first message from now on that is wanted. The others are kept in `messages`."""
        while True:
            for index, message in enumerate(self.messages):
                if wanted(message):
                    return self.messages.pop(index)
            data = await self.stdout.receive_some(1 << 20)
            if not data:
                raise EOFError(self.stderr.decode())
            self.messages += self.connection.receive_data(data)

    async def ask(self, request: OpenSession | Execute | Wait | Terminate) -> tuple[int, OperationResponse]:
        number = self.connection.next_request_id()
        await self.stdin.send_all(self.connection.send(OperationRequest(number, request)))
        answer = await self.receive(lambda message: isinstance(message, OperationResponse) and message.id == number)
        assert isinstance(answer, OperationResponse)
        return number, answer

    async def open(self, session: str = "s") -> None:
        await self.ask(OpenSession(session))

    async def start(self, source: str, session: str = "s", *tools: str, yield_ms: int | None = None) -> tuple[int, str]:
        """Start a cell: the request's number and the cell's id. RuntimeError when the host refuses."""
        definitions = [define_tool(name) for name in tools]
        number, answer = await self.ask(Execute(session, ExecuteRequest("call", definitions, source, yield_ms)))
        if isinstance(answer.result, Failure):
            raise RuntimeError(answer.result.message)
        return number, answer.result.value.cell_id  # type: ignore[union-attr]

    async def first(self, number: int) -> RuntimeResponse:
        message = await self.receive(lambda message: isinstance(message, InitialResponse) and message.id == number)
        assert isinstance(message, InitialResponse)
        assert not isinstance(message.result, Failure), message.result
        return message.result.value.response

    async def wait(self, cell: str, session: str = "s", ms: int = 60_000) -> RuntimeResponse:
        _, answer = await self.ask(Wait(session, WaitRequest(cell, ms)))
        assert not isinstance(answer.result, Failure), answer.result
        return answer.result.value.outcome.outcome.response  # type: ignore[union-attr]

    async def terminate(self, cell: str, session: str = "s") -> RuntimeResponse:
        _, answer = await self.ask(Terminate(session, cell))
        assert not isinstance(answer.result, Failure), answer.result
        return answer.result.value.outcome.outcome.response  # type: ignore[union-attr]

    async def run(self, source: str, session: str = "s") -> Result:
        """A cell to its end; what it wrote between is in the result."""
        number, cell = await self.start(source, session)
        response = await self.first(number)
        items = response.content_items
        while not isinstance(response, Result):
            assert isinstance(response, Yielded)
            response = await self.wait(cell, session)
            items = items + response.content_items
        return Result(response.cell_id, items, response.error_text)

    async def ended(self, seconds: float = 10.0) -> int:
        """The host's exit status, and its standard error to the end."""
        with trio.fail_after(seconds):
            status = await self.process.wait()
            await self.stderr_ended.wait()  # it is read beside, and the last of it perhaps not yet
            return status


def read_texts(response: RuntimeResponse) -> list[str]:
    return [item.text for item in response.content_items if isinstance(item, InputText)]


@asynccontextmanager
async def run_program(
    *flags: str,
    greet: bool = True,
    env: dict[str, str] | None = None,
    read_stderr: bool = True,
    prefix: Sequence[str] = (),
) -> AsyncIterator[Program]:
    process = await trio.lowlevel.open_process(
        [*prefix, *COMMAND, *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
    )
    host = Program(process)
    try:
        async with trio.open_nursery() as nursery:
            if read_stderr:
                nursery.start_soon(host.read_stderr)
            else:
                host.stderr_ended.set()
            if greet:
                await host.greet()
            yield host
            with trio.move_on_after(5):
                await host.stdin.aclose()
                await host.ended(60)
            nursery.cancel_scope.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for stream in (host.stdin, host.stdout, host._stderr):
                await stream.aclose()


async def measure(awaited: Callable[[], object]) -> float:
    started = time.monotonic()
    await wait_until(awaited)
    return time.monotonic() - started
