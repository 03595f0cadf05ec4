"""Runs composed scripts on a real host, several at once, beside a session that must not notice them.

CODEMODE_TEST_SEED=1 python -m tests.e2e.fuzzing.campaign --scripts 1000 -- --memory-mib 64
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import anyio
from msgspec import Raw

from codemode_client import CodeModeProvider, Session
from codemode_protocol.errors import CodeModeError, HostError, StaleCellError
from codemode_protocol.values import ExecuteRequest, InputText, Result, ToolInvocation, WaitRequest, Yielded
from tests.client.recorder import define_tool
from tests.e2e.fuzzing.scripts import Composer, Piece, smallest
from tests.processes import list_children
from tests.seed import SEED, VARIABLE

HOST = (sys.executable, "-m", "codemode_host")
TOOLS = [define_tool(name) for name in ("echo", "fails", "hang", "big", "deep", "odd", "slow")]
AT_ONCE = 6
SCRIPT_SECONDS = 1.0
"""A script that still runs is terminated then: many of them never end."""

ANSWER_SECONDS = float(os.environ.get("CODEMODE_FUZZ_PATIENCE", "50"))
"""How long anything that the host itself has to answer may take, on a machine that has much else to do."""

TOLERATED_BYTES = 48 * 1024 * 1024
"""How much more the host and its zygote may hold in the end than at first."""

ATTEMPTS = 4
"""How often a suspect is run alone before it is taken for innocent."""

_CELL_IN_REPORT = re.compile(r"  session: (\S+)")
_INSIDE = re.compile(r"Traceback \(most|site-packages|codemode_host/|engine panic|\bexhaustion\b|\.py\b")


class Finding(Exception):
    """A script did what no script may do, or a number of them did together."""


class Delegate:
    """Odd tools. It keeps nothing: scripts call them by the ten thousand."""

    def __init__(self) -> None:
        self.notified = 0

    async def invoke_tool(self, invocation: ToolInvocation) -> Raw:
        argument = bytes(invocation.input)
        match invocation.tool_name.name:
            case "fails":
                raise ValueError("as asked\0\ud800" + argument[:100].decode(errors="replace"))
            case "hang":
                await anyio.sleep_forever()
            case "slow":
                await anyio.sleep(0.01)
            case "big":
                return Raw(b'"%s"' % (b"x" * 1_000_000))
            case "deep":
                depth = 40 * int(argument) if argument.isdigit() and len(argument) < 3 else 100
                return Raw(b'{"a":[' * depth + b"1" + b"]}" * depth)
            case "odd":
                return Raw(_ODD[sum(argument) % len(_ODD)])
        return invocation.input

    async def notify(self, call_id: str, cell_id: str, text: str) -> None:
        self.notified += 1

    def cell_closed(self, cell_id: str) -> None:
        pass


_ODD = (
    *(b"null", b"-0.0", b"1e400", b"123456789012345678901234567890", b'"\\u0000\\ud800"', b'{"__proto__":{"then":1}}'),
    *(b'{"then":1,"toJSON":2,"length":-1}', b'{"":{"":[]}}', b"[" + b"1," * 100_000 + b"1]", b'{"a":1,"a":2}', b'" "'),
)


class Campaign:
    """Scripts of one seed on one host's command.

    Args:
        command: The host's.
        seed: Of the scripts.
        numbers: Which scripts to run.
        script_seconds: How long each may run.
    """

    def __init__(
        self,
        command: Sequence[str],
        seed: int,
        numbers: Iterable[int],
        *,
        script_seconds: float = SCRIPT_SECONDS,
        at_once: int = AT_ONCE,
        examines: bool = True,
    ) -> None:
        self._command = list(command)
        self._seed = seed
        self._numbers: Iterator[int] = iter(numbers)
        self._script_seconds = script_seconds
        self._at_once = at_once
        self._examines = examines
        self._suspects: list[tuple[int, str]] = []
        self.findings: list[str] = []
        """Each says what happened, with the script that makes it happen again if there is one."""
        self.endings: Counter[str] = Counter()
        self.done = 0

    async def run(self) -> None:
        """Run all the scripts, and then each that may have ended a host by itself."""
        async with provider_of(self._command) as provider, provider.session(Delegate()) as quiet:
            await quiet.run("text(1)", TOOLS)
            first = await at_rest(provider)
            async with anyio.create_task_group() as bystanding:
                bystanding.start_soon(self._bystand, quiet)
                async with anyio.create_task_group() as workers:
                    for _ in range(self._at_once):
                        workers.start_soon(self._work, provider)
                bystanding.cancel_scope.cancel()
            if not self._suspects:
                if quiet.generation != 1:
                    self.findings.append("the host was lost, and no script was told so")
                try:
                    await memory_back(provider, first)
                except Finding as finding:
                    self.findings.append(str(finding))
        for number, what in self._suspects if self._examines else ():
            self.findings.append(await self._examine(number, what))

    async def _work(self, provider: CodeModeProvider) -> None:
        for number in self._numbers:
            script = str(Composer(self._seed, number).script())
            try:
                async with provider.session(Delegate()) as session:
                    try:
                        ending = await run_script(session, script, self._script_seconds)
                    except (HostError, StaleCellError, Finding) as error:
                        ending = "lost"
                        named = _CELL_IN_REPORT.search(str(error))
                        if isinstance(error, Finding) or named is None or named[1] == session.session_id:
                            self._suspect(number, str(error), script)
            except HostError as error:  # where it was opened or closed
                ending = "lost"
                self._suspect(number, str(error), script)
            self.endings[ending] += 1
            self.done += 1

    def _suspect(self, number: int, what: str, script: str) -> None:
        self._suspects.append((number, what))
        print(f"script {number} of {VARIABLE}={self._seed}: {what}\n{script}", flush=True)

    async def _bystand(self, session: Session) -> None:
        generation, rounds = session.generation, 0
        while True:
            try:
                with anyio.fail_after(ANSWER_SECONDS):
                    source = "const n = (load('n') ?? 0) + 1; store('n', n); text(await tools.echo(n))"
                    response = await session.run(source, TOOLS)
            except TimeoutError:
                self.findings.append(f"the bystander had no answer for {ANSWER_SECONDS:g} s")
                return
            except CodeModeError:
                await anyio.sleep(0.1)
                continue
            if session.generation != generation:
                generation, rounds = session.generation, 0  # whose fault that is the workers find out
                if response.content_items == [InputText("1")]:
                    rounds = 1
                continue
            rounds += 1
            if response.content_items != [InputText(str(rounds))] and session.generation == generation:
                self.findings.append(f"the bystander expected {rounds}, and was answered {response!r:.1000}")
                return
            await anyio.sleep(0.05)

    async def _examine(self, number: int, what: str) -> str:
        script = Composer(self._seed, number).script()
        report = f"script {number} of {VARIABLE}={self._seed}: {what}\n"
        for _ in range(ATTEMPTS):
            found = await fails(self._command, str(script), self._script_seconds)
            if found is not None:
                return f"{report}alone: {found}\nsmallest: {await self._minimise(script)}"
        return f"{report}alone it does nothing of the kind: {script}"

    async def _minimise(self, script: Piece) -> str:
        async def still_fails(source: str) -> bool:
            for _ in range(2):
                if await fails(self._command, source, self._script_seconds) is not None:
                    return True
            return False

        return await smallest(script, still_fails)


def provider_of(command: Sequence[str]) -> CodeModeProvider:
    """Return a provider whose host has time, on a machine that has much else to do."""
    return CodeModeProvider(list(command), handshake_timeout=ANSWER_SECONDS, shutdown_timeout=ANSWER_SECONDS)


async def run_script(session: Session, source: str, seconds: float) -> str:
    """Run a script to its end, or terminate it after so many seconds; return in a few words how it ended."""
    deadline = time.monotonic() + seconds
    try:
        with anyio.fail_after(seconds + ANSWER_SECONDS):
            cell = await session.execute(ExecuteRequest("call", TOOLS, source, 50))
            response = await cell.initial_response()
            while isinstance(response, Yielded):
                left = deadline - time.monotonic()
                if left <= 0:
                    response = (await session.terminate(cell.cell_id)).response
                    break
                response = (await session.wait(WaitRequest(cell.cell_id, int(left * 1000) + 1))).response
    except TimeoutError:
        raise Finding(f"no answer for {ANSWER_SECONDS:g} s") from None
    if not isinstance(response, Result):
        return type(response).__name__
    if response.error_text is None:
        return "ended well"
    if (inside := _INSIDE.search(response.error_text)) is not None:
        raise Finding(f"its error text speaks of {inside[0]!r}: {response.error_text[:500]!r}")
    return re.sub(r"\d+", "N", response.error_text.partition("\n")[0])[:50]


async def fails(command: Sequence[str], source: str, seconds: float = SCRIPT_SECONDS) -> str | None:
    """Run a script alone on a host of its own. Return what it did that no script may do; None for nothing."""
    async with provider_of(command) as provider, provider.session(Delegate()) as session:
        await session.run("text(1)", TOOLS)
        first = await at_rest(provider)
        try:
            await run_script(session, source, seconds)
            with anyio.fail_after(ANSWER_SECONDS):
                response = await session.run("text(1)", TOOLS)
            if session.generation != 1 or response.content_items != [InputText("1")]:
                return f"the host is another one: {response!r:.1000}"
            await memory_back(provider, first)
        except (HostError, StaleCellError, Finding) as error:
            return str(error)
        except TimeoutError:
            return "the session does not answer any more"
    return None


async def at_rest(provider: CodeModeProvider) -> tuple[int, int]:
    """Return how many processes the host's zygote has, and the resident bytes of both, once spares are ready."""
    host = provider.host_pid
    assert host is not None
    processes: list[int] = []
    before: list[int] = []
    with anyio.move_on_after(ANSWER_SECONDS):
        while len(processes) != 2 or processes != before:  # a cell that is about to end may stand for a spare runtime
            await anyio.sleep(0.05)
            before, processes = processes, [pid for zygote in list_children(host) for pid in list_children(zygote)]
    return len(processes), sum(map(resident_bytes, (host, *list_children(host))))


async def memory_back(provider: CodeModeProvider, first: tuple[int, int]) -> None:
    """Wait until the host has what it had at first. Raises Finding if it does not come to that."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        now = await at_rest(provider)
        if now[0] == first[0] and now[1] - first[1] < TOLERATED_BYTES:
            return
        if time.monotonic() > deadline:
            raise Finding(
                f"{first[0]} processes and {first[1] // 2**20} MiB at first, "
                f"{now[0]} processes and {now[1] // 2**20} MiB in the end"
            )
        await anyio.sleep(0.2)


def resident_bytes(pid: int) -> int:
    """Return what a process has in memory, in bytes; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def main() -> int:
    """Run a campaign from the command line, and print what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scripts", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=SCRIPT_SECONDS)
    parser.add_argument("--at-once", type=int, default=AT_ONCE)
    parser.add_argument("--examine", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("host", nargs="*")
    arguments = parser.parse_args()
    numbers = range(arguments.first, arguments.first + arguments.scripts)
    campaign = Campaign(
        [*HOST, *arguments.host],
        SEED,
        numbers,
        script_seconds=arguments.seconds,
        at_once=arguments.at_once,
        examines=arguments.examine,
    )
    started = time.monotonic()

    async def run() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(progress)
            await campaign.run()
            group.cancel_scope.cancel()

    async def progress() -> None:
        while True:
            await anyio.sleep(30)
            print(
                f"{campaign.done} scripts, {time.monotonic() - started:.0f} s, {campaign.endings['lost']} lost",
                flush=True,
            )

    asyncio.run(run())
    print(f"{VARIABLE}={SEED}: {campaign.done} scripts in {time.monotonic() - started:.0f} s")
    for ending, count in campaign.endings.most_common(60):
        print(f"{count:6} {ending}")
    for finding in campaign.findings:
        print(f"\nFOUND {finding}")
    return 1 if campaign.findings else 0


if __name__ == "__main__":
    sys.exit(main())
