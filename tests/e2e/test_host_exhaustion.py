"""One cell takes all it can of something. It fails alone, soon, with the right words; a neighbour notices nothing."""

from __future__ import annotations

import sys
import time

import pytest
import trio
import trio.lowlevel
from msgspec import Raw

from codemode_client import CodeModeProvider, Session
from codemode_protocol.values import ExecuteRequest, InputText, Result, RuntimeResponse, ToolInvocation, WaitRequest
from tests.client.recorder import Recorder, define_tool, forever

pytestmark = pytest.mark.alone

MEMORY = "cell exceeded its memory limit of 64 MiB"
COMMAND = [sys.executable, "-m", "codemode_host", "--memory-mib", "64"]

FILLS_ITS_MEMORY = {
    "heap": "const a = []; for (;;) a.push({ x: [1, 2, 3], y: {} })",
    "typed arrays": "const a = []; for (;;) a.push(new Uint8Array(1e6).fill(1))",
    "typed arrays left empty": "const a = []; for (;;) a.push(new Uint8Array(1e6))",
    "strings": "const a = []; for (let i = 0; ; i++) a.push('abc' + i)",
    "closures": "const a = []; for (let i = 0; ; i++) a.push(() => i)",
    "promises": "const a = []; for (;;) a.push(new Promise(() => {}))",
    "a million promises": "await Promise.all(Array.from({ length: 1e6 }, (_, i) => Promise.resolve(i)))",
    "microtasks": "const p = Promise.resolve(); for (;;) p.then(() => {})",
    "awaits": "const f = async () => { await null; f(); await f(); }; await f()",
    "timers": "for (let i = 0; ; i++) setTimeout(() => i, 1e9)",
    "bound functions": "let f = () => 1; for (let i = 0; ; i++) f = f.bind(null, i)",
    "an array of everything": "new Array(2 ** 32 - 1).fill()",
    "a map": "const m = new Map(); for (let i = 0; ; i++) m.set(i, {})",
    "stored values": "for (let i = 0; ; i++) store('k' + i, 'x'.repeat(10_000))",
    "code": "const all = []; for (let i = 0; ; i++) all.push(new Uint8Array(1e5).fill(i), new Function('return ' + i))",
}
FAILS = {
    "recursion": ("const f = () => 1 + f(); f()", "RangeError: too much recursion"),
    "deep JSON": ("let a = []; for (let i = 0; i < 1e6; i++) a = [a]; text(a)", "RangeError: too much recursion"),
    "a deep tool input": (
        "let a = []; for (let i = 0; i < 5000; i++) a = [a]; await tools.echo(a)",
        "RangeError: too much recursion",
    ),
    "a tool input that is deep for its reader": (
        "let a = []; for (let i = 0; i < 120; i++) a = [a]; await tools.echo(a)",
        "failed to serialize JavaScript value: it is nested more than 120 levels deep",
    ),
    "a number": ("let b = 3n; for (;;) b *= b", "RangeError: BigInt is too large"),
    "a string": ("let s = 'x'; for (;;) s += s + 'y'", "RangeError: allocation size overflow"),
    "one text": ("text('x'.repeat(30e6))", "a text or an image takes more than 25165824 bytes"),
    "one text beyond Latin-1": ("text('€'.repeat(13e6))", "a text or an image takes more than 25165824 bytes"),
    "one text that is long as JSON": (
        "text('\\0'.repeat(8e6))",
        "a text or an image takes more than 46137344 bytes as JSON",
    ),
    "one notification": ("notify('\\0'.repeat(8e6))", "a notification takes more than 46137344 bytes as JSON"),
}
NEVER_ENDS = {
    "a loop": "while (true) {}",
    "a regular expression": "/^(a+)+$/.test('a'.repeat(40) + 'b')",
    "jobs": "const f = () => Promise.resolve().then(f); f(); await new Promise(() => {})",
    "timers": "const f = () => setTimeout(f); f(); await new Promise(() => {})",
    "set and cleared timers": "for (;;) clearTimeout(setTimeout(() => {}, 1e9))",
    "texts": "for (;;) text('x'.repeat(1000))",
    "empty texts": "for (;;) text('')",
    "calls": "for (;;) tools.hang()",
    "notifications": "for (;;) notify('n')",
}


class Bystander:
    """A live cell of another session, which answers and stores throughout."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.slowest = 0.0
        self.rounds = 0

    async def run(self) -> None:
        await self._session.run("store('rounds', 0)")
        while True:
            started = time.monotonic()
            response = await self._session.run(
                "const n = load('rounds') + 1; store('rounds', n); text(await tools.echo(n))", [define_tool("echo")]
            )
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.rounds += 1
            assert response.content_items == [InputText(str(self.rounds))]
            await trio.sleep(0.02)


async def culprit(source: str, *, terminate_after: float | None = None) -> tuple[RuntimeResponse, float]:
    """Run it beside a bystander: how it ended, and how long that took."""
    recorder = Recorder(hang=forever)
    async with (
        CodeModeProvider(COMMAND) as provider,
        provider.session(Recorder()) as quiet,
        provider.session(recorder) as session,
        trio.open_nursery() as nursery,
    ):
        bystander = Bystander(quiet)
        nursery.start_soon(bystander.run)
        await trio.lowlevel.checkpoint()
        tools = [define_tool("echo"), define_tool("hang")]
        started = time.monotonic()
        cell = await session.execute(ExecuteRequest("call", tools, source, 0))
        response = await cell.initial_response()
        while not isinstance(response, Result):
            if terminate_after is not None and time.monotonic() - started > terminate_after:
                started = time.monotonic()
                response = (await session.terminate(cell.cell_id)).response
                break
            left = 3_000 if terminate_after is None else 100
            response = (await session.wait(WaitRequest(cell.cell_id, left))).response
        took = time.monotonic() - started
        rounds = bystander.rounds
        with trio.fail_after(5):
            while bystander.rounds <= rounds:  # noqa: ASYNC110 it goes on
                await trio.sleep(0.01)
        assert bystander.slowest < 3.0  # on a machine that has much else to do
        assert session.generation == quiet.generation == 1
        nursery.cancel_scope.cancel()
    return response, took


@pytest.mark.parametrize("what", FILLS_ITS_MEMORY)
async def test_a_cell_that_fills_its_memory_fails_alone(what: str) -> None:
    response, took = await culprit(FILLS_ITS_MEMORY[what])
    assert isinstance(response, Result)
    assert response.error_text == MEMORY
    assert took < 3


@pytest.mark.parametrize("what", FAILS)
async def test_a_cell_that_asks_for_too_much_at_once_is_told_so(what: str) -> None:
    source, expected = FAILS[what]
    response, took = await culprit(source)
    assert isinstance(response, Result)
    assert response.error_text is not None
    assert response.error_text.startswith(expected)
    assert took < 3


@pytest.mark.parametrize("what", NEVER_ENDS)
async def test_a_cell_that_never_ends_can_be_ended(what: str) -> None:
    response, _ = await culprit(NEVER_ENDS[what], terminate_after=0.3)
    # Some run into a limit of their own before that.
    assert not isinstance(response, Result) or response.error_text == MEMORY


async def test_timers_that_were_cleared_take_no_memory() -> None:
    source = "for (let i = 0; i < 250_000; i++) clearTimeout(setTimeout(() => {}, 1e9)); text('done')"
    async with CodeModeProvider(COMMAND) as provider, provider.session(Recorder()) as session:
        assert (await session.run(source)).content_items == [InputText("done")]


async def test_the_default_memory_is_met_in_time() -> None:
    async with CodeModeProvider() as provider, provider.session(Recorder()) as session:
        started = time.monotonic()
        response = await session.run(FILLS_ITS_MEMORY["heap"])
        assert isinstance(response, Result)
        assert response.error_text == "cell exceeded its memory limit of 512 MiB"
        assert time.monotonic() - started < 5


@pytest.mark.time_limit(140)
@pytest.mark.parametrize("wait_for", ["Promise.all", "Promise.allSettled"])
async def test_a_million_promises_fit_into_the_default_memory(wait_for: str) -> None:
    source = (
        f"const a = []; for (let i = 0; i < 1e6; i++) a.push(Promise.resolve(i)); text((await {wait_for}(a)).length)"
    )
    async with CodeModeProvider() as provider, provider.session(Recorder()) as session:
        response = await session.run(source)
        assert (response.content_items, response.error_text) == ([InputText("1000000")], None)


async def test_fifty_megabytes_pass_through_a_tool_both_ways() -> None:
    received = 0

    async def measure(invocation: ToolInvocation) -> Raw:
        nonlocal received
        received = len(bytes(invocation.input))
        return invocation.input

    async with CodeModeProvider() as provider, provider.session(Recorder(measure=measure)) as session:
        response = await session.run(
            "const v = 'x'.repeat(50e6); text(await tools.measure(v) === v)", [define_tool("measure")]
        )
        assert (response.content_items, received) == ([InputText("true")], 50_000_002)
