"""What a host promises of its processes: ended when asked, gone when over, and with nothing of the caller's in them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from codemode_client import CodeModeProvider, Toolbox
from codemode_protocol.values import Result, Terminated, Yielded
from tests.host.program import is_running, read_texts, run_program, wait_until

SECRET = "only-the-caller-may-know"


async def test_an_endless_loop_is_over_a_tenth_of_a_second_after_it_was_asked_to_be() -> None:
    async with run_program() as host:
        await host.open()
        await host.start("1")
        for _ in range(5):
            number, cell = await host.start("text('before'); while (true) {}", yield_ms=50)
            first = await host.first(number)
            assert read_texts(first) == ["before"]
            before = set(host.runtimes())
            started = time.monotonic()
            response = await host.terminate(cell)
            took = time.monotonic() - started
            assert isinstance(response, Terminated)
            assert len([pid for pid in before if not is_running(pid)]) == 1  # gone before the answer
            assert took < 0.1


async def test_what_was_written_before_a_loop_is_in_the_next_answer() -> None:
    async with run_program() as host:
        await host.open()
        number, cell = await host.start("text(1); yield_control(); text(2); while (true) {}")
        assert read_texts(await host.first(number)) == ["1"]
        response = await host.wait(cell, ms=100)
        assert isinstance(response, Yielded)
        assert read_texts(response) == ["2"]


async def test_two_hundred_cells_live_at_once_and_three_hundred_in_turn_leave_nothing() -> None:
    async with run_program() as host:
        await host.open()
        assert read_texts(await host.run("text(0)")) == ["0"]
        await wait_until(lambda: len(host.runtimes()) == 2)
        descriptors = host.descriptors()
        cells = [await host.start(f"text({n}); await new Promise(() => {{}})", yield_ms=0) for n in range(200)]
        await wait_until(lambda: len(host.runtimes()) >= 200)
        for number, cell in cells:
            await host.first(number)
            assert isinstance(await host.terminate(cell), Terminated)
        for n in range(300):
            number, _ = await host.start(f"text({n})")
            response = await host.first(number)
            assert isinstance(response, Result)
            assert read_texts(response) == [str(n)]
        await wait_until(lambda: len(host.runtimes()) == 2)
        # Not the same number: a spare runtime may have been on its way. One for each cell would be 500 more.
        await wait_until(lambda: host.descriptors() < descriptors + 10)


async def test_each_cell_has_a_process_of_its_own_and_sees_nothing_of_what_another_did() -> None:
    async with run_program("--spares", "0") as host:
        await host.open("a")
        await host.open("b")
        spoil = (
            "globalThis.left = 1; Array.prototype.left = 1; delete globalThis.store; JSON.stringify = () => 'spoilt';"
            " setTimeout(() => {}, 1e9); text('done'); yield_control();"
        )
        look = "text([typeof left, typeof [].left, typeof store, setTimeout(() => {}, 1e9)]); yield_control();"
        found: list[str] = []
        for source, session in ((spoil, "a"), (look, "a"), (look, "b")):
            number, _ = await host.start(f"{source} await new Promise(() => {{}})", session)
            found += read_texts(await host.first(number))
        assert found == ["done", *['["undefined","undefined","function",1]'] * 2]
        await wait_until(lambda: len(host.runtimes()) == 3)


@pytest.mark.parametrize(
    "words",
    [
        "engine panic: the cell's runtime is lost",
        "codemode-host: engine panic\n  cause: a runtime ended: killed by SIGSEGV",
        "the host ended (exit status 70)",
    ],
)
async def test_a_script_that_throws_what_is_said_of_a_host_that_ends_fails_alone(words: str) -> None:
    async with CodeModeProvider() as provider, provider.session(Toolbox()) as session:
        response = await session.run(f"throw {json.dumps(words)}")
        assert isinstance(response, Result)
        assert response.error_text == words
        assert (await session.run("text('goes on')")).text == "goes on"
        assert (session.generation, provider.counters.hosts_ended) == (1, {})
        assert (provider.counters.cells_failed, provider.counters.cells_lost) == (1, 0)


def given_to(pid: int) -> bytes:
    """The environment and the arguments that a process was started with."""
    return Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()


def memory_of(pid: int) -> bytes:
    """All that a process has in memory and can be read."""
    content = []
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            start, end = (int(part, 16) for part in span.split("-"))
            if rights.startswith("rw") and end - start < 1 << 28:
                try:
                    content.append(os.pread(memory.fileno(), end - start, start))
                except OSError:
                    continue
    return b"".join(content)


async def test_nothing_of_the_callers_is_in_a_cells_process(tmp_path: Path) -> None:
    environment = {**os.environ, "SECRET": SECRET + "-environment"}
    recording = str(tmp_path / f"{SECRET}-argument")
    async with run_program("--log-level", "error", "--spares", "1", "--record", recording, env=environment) as host:
        await host.open(SECRET + "-session")
        await host.open()
        await wait_until(lambda: len(host.runtimes()) == 1)
        (first,) = host.runtimes()
        await host.run(f"store('k', '{SECRET}-' + 'stored')", SECRET + "-session")
        number, _ = await host.start("text('mine' + 'own'); yield_control(); await new Promise(() => {})")
        await host.first(number)
        # Once the first cell's is gone, whose place a spare one takes.
        await wait_until(lambda: len(host.runtimes()) == 2 and first not in host.runtimes())
        for pid in (host.zygote, *host.runtimes()):
            assert SECRET.encode() not in memory_of(pid)
            assert SECRET.encode() not in given_to(pid)
        assert any(b"mineown" in memory_of(pid) for pid in host.runtimes())  # so that the search would find it
        for what in ("environment", "argument"):
            assert f"{SECRET}-{what}".encode() in given_to(host.pid)


@pytest.mark.parametrize(
    "source",
    [
        "null.x",
        "await import('/etc/passwd')",
        "import 'node:fs'",
        "text(); image(1)",
        "JSON.parse('{')",
        "new Function('}')()",
        "const f = () => 1 + f(); f()",
        "await tools.fails()",
        "throw new Error(new Error().stack)",
        "store('k', () => 1)",
        "setTimeout(() => { null.x }); await new Promise(() => {})",
        "const e = new Error('x'); text(e.fileName); throw e",
        "text([...'aé'].map(() => new Error().stack).join()); tools.fails.call.call(1)",
    ],
)
async def test_no_error_names_a_path_of_the_machine_or_shows_pythons_traceback(source: str) -> None:
    async with run_program() as host:
        await host.open()
        result = await host.run(source)
        said = (result.error_text or "") + "\n".join(read_texts(result))
        for place in (str(Path.cwd()), "/usr/", "/root", "site-packages", ".py", "Traceback", "prelude"):
            assert place not in said
