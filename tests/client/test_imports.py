"""What a program pays for: its own event loop alone is imported, and nothing before there is something to run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LOOPS = {"anyio", "asyncio", "trio"}

ON_ASYNCIO = """
import asyncio, sys
from codemode_client import CodeModeProvider, Toolbox
from codemode_protocol.values import ExecuteRequest, WaitRequest

toolbox = Toolbox()

@toolbox.tool
async def double(n: int) -> int:
    return 2 * n

@toolbox.tool
def triple(n: int) -> int:
    return 3 * n

async def main():
    async with CodeModeProvider() as provider, provider.session(toolbox) as session:
        cell = await session.execute(
            "text(await tools.double({n: 4})); yield_control(); text(await tools.triple({n: 4}))"
        )
        print((await cell.initial_response()).text)
        print((await session.wait(WaitRequest(cell.cell_id, 60_000))).response.text)
        endless = await session.execute("while (true) {}", yield_time_ms=0)
        await session.terminate(endless.cell_id)

asyncio.run(main())
"""

BLOCKING = """
import sys
from codemode_client import Toolbox
from codemode_client.blocking import CodeModeProvider

toolbox = Toolbox()

@toolbox.tool
def double(n: int) -> int:
    return 2 * n

with CodeModeProvider() as provider, provider.session(toolbox) as session:
    print(session.run("text(await tools.double({n: 4})); text(12)").text.replace("\\n\\n", "\\n"))
"""

ON_TRIO = ON_ASYNCIO.replace("import asyncio, sys", "import sys, trio").replace("asyncio.run(main())", "trio.run(main)")


def run_program(source: str, among: set[str]) -> tuple[list[str], set[str]]:
    """Run a program; return the lines that it wrote, and which of some modules it has imported."""
    probe = f"\nimport sys; print('imported', *{among!r} & set(sys.modules))"
    command = [sys.executable, "-W", "error", "-c", source + probe]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=ROOT)
    *lines, imported = done.stdout.splitlines()
    return lines, set(imported.split()[1:])


@pytest.mark.parametrize("module", ["codemode_client", "codemode_client.hosts", "codemode_client.counters"])
def test_importing_the_client_imports_no_event_loop(module: str) -> None:
    assert run_program(f"import {module}", LOOPS) == ([], set())


def test_what_is_made_before_a_loop_runs_imports_none() -> None:
    source = "from codemode_client import CodeModeProvider, Toolbox; Toolbox(); CodeModeProvider()"
    assert run_program(source, LOOPS) == ([], set())


def test_a_whole_program_on_asyncio_imports_neither_trio_nor_anyio() -> None:
    assert run_program(ON_ASYNCIO, LOOPS) == (["8", "12"], {"asyncio"})


def test_a_whole_program_of_plain_calls_imports_no_trio() -> None:
    assert run_program(BLOCKING, {"asyncio", "trio"}) == (["8", "12"], {"asyncio"})


def test_a_whole_program_on_trio_imports_no_asyncio() -> None:
    assert run_program(ON_TRIO, LOOPS) == (["8", "12"], {"trio"})
