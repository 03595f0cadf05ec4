"""All that a cell, a client and a stranger can do to a host, mixed at random: it ends with what it began with.

Each step has an answer that it must get, exactly once. Unless somebody has killed a process, a lost host is none.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from msgspec import Raw

from codemode_client import CodeModeProvider, Session
from codemode_protocol.errors import HostError, StaleCellError
from codemode_protocol.values import (
    ExecuteRequest,
    InputText,
    MissingCell,
    Result,
    RuntimeResponse,
    Terminated,
    ToolInvocation,
    WaitRequest,
    Yielded,
)
from tests.client.recorder import define_tool
from tests.host.program import list_running_children, wait_until
from tests.seed import SEED

COMMAND = [sys.executable, "-m", "codemode_host", "--memory-mib", "48", "--cpu-seconds", "2"]
TOOLS = [define_tool("echo"), define_tool("slow"), define_tool("fails"), define_tool("hang")]
MEMORY = "cell exceeded its memory limit of 48 MiB"
PROCESSOR = "cell exceeded its processor time limit of 2 s"
TOLERATED_MIB = 24


class Delegate:
    """Counts what the host makes of its cells."""

    def __init__(self) -> None:
        self.notified: list[str] = []
        self.closed: list[str] = []

    async def invoke_tool(self, invocation: ToolInvocation) -> Raw:
        match invocation.tool_name.name:
            case "slow":
                await trio.sleep(0.02 * random.random())
            case "fails":
                raise ValueError("as asked")
            case "hang":
                await trio.sleep_forever()
        return invocation.input

    async def notify(self, call_id: str, cell_id: str, text: str) -> None:
        self.notified.append(text)

    def cell_closed(self, cell_id: str) -> None:
        assert cell_id not in self.closed, "a cell was closed twice"
        self.closed.append(cell_id)


class Soak:
    """One provider, a few sessions, and steps over them."""

    def __init__(self, seed: int, provider: CodeModeProvider) -> None:
        self.random = random.Random(seed)
        self.provider = provider
        self.sessions: list[tuple[Session, Delegate]] = []
        self.steps: dict[str, int] = {}
        self.killed = 0
        self.choices: list[Callable[[Session, Delegate], Awaitable[None]]] = [
            *[self.output, self.calls, self.values, self.fails] * 4,
            *[self.stopped, self.cancelled, self.yields, self.flood] * 2,
            self.memory,
            self.processor,
            self.deep,
            self.reopen,
        ]

    async def step(self) -> None:
        choice = self.random.choice(self.choices)
        index = self.random.randrange(len(self.sessions))
        session, delegate = self.sessions[index]
        name = choice.__name__
        try:
            await choice(session, delegate)
        except (HostError, StaleCellError):
            assert self.killed, "the host was lost, and nobody had killed anything"
            name += ", lost"
        self.steps[name] = self.steps.get(name, 0) + 1

    async def kill(self) -> None:
        """A stranger's signal, to the host, its zygote or a runtime."""
        host = self.host()
        if host is None:
            return
        family = [host]
        for zygote in list_running_children(host):
            family += [zygote, *list_running_children(zygote)]
        self.killed += 1
        try:
            os.kill(self.random.choice(family), self.random.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT]))
        except ProcessLookupError:
            return

    def host(self) -> int | None:
        return self.provider.host_pid

    async def ended(self, session: Session, source: str, ms: int = 10_000) -> tuple[RuntimeResponse, list[str]]:
        """Run a cell to its end: how it ended, and all that it wrote."""
        cell = await session.execute(ExecuteRequest("call", TOOLS, source, ms))
        response = await cell.initial_response()
        items = list(response.content_items)
        while isinstance(response, Yielded):
            response = (await session.wait(WaitRequest(cell.cell_id, ms))).response
            items += response.content_items
        return response, [item.text for item in items if isinstance(item, InputText)]

    async def output(self, session: Session, delegate: Delegate) -> None:
        count, size = self.random.choice([(1, 10), (5000, 3), (60, 100_000), (3, 1_500_000)])
        source = f"for (let i = 0; i < {count}; i++) text(String(i).padEnd({size}, 'é'))"
        response, texts = await self.ended(session, source)
        assert isinstance(response, Result)
        assert response.error_text is None
        assert texts == [str(i).ljust(size, "é") for i in range(count)]

    async def calls(self, session: Session, delegate: Delegate) -> None:
        count = self.random.choice([1, 10, 1000])
        source = (
            f"const all = await Promise.all(Array.from({{ length: {count} }}, (_, i) => tools.slow(i)));"
            "text(all.every((v, i) => v === i)); try { await tools.fails() } catch (e) { text(String(e)) }"
        )
        response, texts = await self.ended(session, source)
        assert isinstance(response, Result)
        assert texts[0] == "true"
        assert texts[1].endswith("as asked")

    async def values(self, session: Session, delegate: Delegate) -> None:
        number = self.random.randrange(1 << 32)  # which Python and JavaScript write alike
        generation = session.generation
        await self.ended(session, f"store('{number}', {{ n: {number} }}); notify('{number}')")
        assert str(number) in delegate.notified
        _, texts = await self.ended(session, f"text(load('{number}')?.n)")
        assert texts == [str(number)] or session.generation != generation

    async def fails(self, session: Session, delegate: Delegate) -> None:
        response, texts = await self.ended(session, "text('before'); tools.hang(); throw new Error('mine')")
        assert isinstance(response, Result)
        assert response.error_text == "Error: mine\n    at exec_main.mjs:1:37"
        assert texts == ["before"]

    async def stopped(self, session: Session, delegate: Delegate) -> None:
        cell = await session.execute(ExecuteRequest("call", TOOLS, "text('before'); while (true) {}", 20))
        await cell.initial_response()
        await trio.sleep(self.random.random() / 20)
        response = (await session.terminate(cell.cell_id)).response
        assert isinstance(response, Terminated)
        assert isinstance((await session.wait(WaitRequest(cell.cell_id, 0))), MissingCell)

    async def cancelled(self, session: Session, delegate: Delegate) -> None:
        with trio.move_on_after(self.random.random() / 50):
            await session.run("await tools.hang()", TOOLS)

    async def yields(self, session: Session, delegate: Delegate) -> None:
        source = "for (let i = 0; i < 20; i++) { text(i); yield_control(); await tools.slow(i) }"
        _, texts = await self.ended(session, source, ms=5)
        assert texts == [str(i) for i in range(20)]

    async def flood(self, session: Session, delegate: Delegate) -> None:
        what = self.random.choice(["text('x'.repeat(5000))", "tools.hang()", "notify('n')", "setTimeout(() => {})"])
        cell = await session.execute(ExecuteRequest("call", TOOLS, f"for (;;) {what}", 10))
        await cell.initial_response()
        await trio.sleep(self.random.random() / 5)
        response = (await session.terminate(cell.cell_id)).response
        assert isinstance(response, Terminated) or (isinstance(response, Result) and response.error_text == MEMORY)
        delegate.notified[:] = [text for text in delegate.notified if text != "n"]

    async def memory(self, session: Session, delegate: Delegate) -> None:
        what = self.random.choice(
            ["{}", "() => 1", "new Uint8Array(1e6).fill(1)", "Promise.resolve()", "'x' + a.length"]
        )
        response, texts = await self.ended(session, f"text('before'); const a = []; for (;;) a.push({what})")
        assert isinstance(response, Result)
        assert (response.error_text, texts) == (MEMORY, ["before"])

    async def processor(self, session: Session, delegate: Delegate) -> None:
        response, _ = await self.ended(session, "/^(a+)+$/.test('a'.repeat(40) + 'b')")
        assert isinstance(response, Result)
        assert response.error_text == PROCESSOR

    async def deep(self, session: Session, delegate: Delegate) -> None:
        response, _ = await self.ended(session, "const f = () => 1 + f(); f()")
        assert isinstance(response, Result)
        assert response.error_text is not None
        assert response.error_text.startswith("RangeError: too much recursion")

    async def reopen(self, session: Session, delegate: Delegate) -> None:
        fresh = Delegate()
        async with self.provider.session(fresh) as other:
            await other.run("text(1)", TOOLS)
            await other.execute(ExecuteRequest("call", TOOLS, "while (true) {}", 0))
        assert len(fresh.closed) == 2 or self.killed


def resident_mib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) // 1024


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


async def soak(seed: int, seconds: float, *, kills: bool) -> dict[str, int]:
    async with CodeModeProvider(COMMAND) as provider:
        world = Soak(seed, provider)
        for _ in range(3):
            delegate = Delegate()
            world.sessions.append((await provider.open_session(delegate), delegate))
        for session, _ in world.sessions:
            await session.run("text(1)", TOOLS)
        before = await counted(world)
        deadline = time.monotonic() + seconds

        async def work() -> None:
            while time.monotonic() < deadline:
                await world.step()

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(work)
            while kills and time.monotonic() < deadline:
                await trio.sleep(world.random.random())
                await world.kill()
        world.killed += kills  # a signal may be under way
        for session, _ in world.sessions:
            with trio.move_on_after(5):
                while True:
                    try:
                        await session.run("text(1)", TOOLS)
                        break
                    except HostError:
                        continue
        after = await counted(world)
        assert after[:2] == before[:2], f"processes and descriptors: {before[:2]} at first, {after[:2]} in the end"
        if not kills:
            with trio.move_on_after(10):
                while after[2] - before[2] >= TOLERATED_MIB:  # what is free is given back a little later
                    after = await counted(world)
            assert after[2] - before[2] < TOLERATED_MIB, f"resident: {before[2]} MiB at first, {after[2]} in the end"
    return world.steps


async def counted(world: Soak) -> tuple[int, int, int]:
    """Processes, descriptors and resident MiB of the host and its zygote, at rest."""
    host = world.host()
    assert host is not None
    (zygote,) = list_running_children(host)
    await wait_until(lambda: len(list_running_children(zygote)) == 2)
    stable = -1
    while stable != (stable := descriptors(host) + descriptors(zygote)):  # noqa: ASYNC110 nobody tells us
        await trio.sleep(0.1)
    return len(list_running_children(zygote)), stable, resident_mib(host) + resident_mib(zygote)


@pytest.mark.parametrize("kills", [False, True])
async def test_seconds_of_everything_end_as_they_began(kills: bool) -> None:
    steps = await soak(SEED, 2.5, kills=kills)
    assert sum(steps.values()) > 5


@pytest.mark.soak
@pytest.mark.time_limit(600)
@pytest.mark.parametrize("kills", [False, True])
async def test_minutes_of_everything_end_as_they_began(kills: bool) -> None:
    for name, count in sorted((await soak(SEED, 120, kills=kills)).items()):
        print(f"{count:6} {name}")
