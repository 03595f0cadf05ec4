"""What a host does about failures, seen from outside: it ends at once, says why, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from codemode_host.runtimes.host_side.runtimes import RuntimeExit
from codemode_host.supervision import limit_met, watch_kernel
from codemode_protocol.exit_status import HostExitStatus
from codemode_protocol.limits import Limits
from codemode_protocol.values import Result
from tests.host.program import COMMAND, Program, is_running, list_running_children, read_texts, run_program, wait_until

pytestmark = pytest.mark.alone

LOOP = "text('before'); notify('on'); while (true) {}"


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def settle(host: Program) -> None:
    """The cell's runtime is there, and a spare one."""
    await wait_until(lambda: len(host.runtimes()) >= 2)
    host.remember_family()


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGILL", "SIGBUS", "SIGTRAP", "SIGSYS", "SIGKILL"])
async def test_a_runtime_that_is_killed_stops_the_host_at_once_and_loudly(name: str) -> None:
    async with run_program() as host:
        await host.open()
        await host.start(LOOP)
        await settle(host)
        await wait_until(lambda: max(map(cpu_ticks, host.runtimes())) > 5)
        busiest = max(host.runtimes(), key=cpu_ticks)
        started = time.monotonic()
        os.kill(busiest, getattr(signal, name))
        status = await host.ended()
        took = time.monotonic() - started
        await wait_until(lambda: not host.left(), 1)
        assert status == HostExitStatus.ENGINE_PANIC
        assert took < 0.5
    report = host.stderr.decode()
    assert "codemode-host: engine panic\n" in report
    assert f"killed by {name}" in report
    assert "session: s\n  cell: 1\n" in report
    assert "the host stops with status 70" in report
    assert "Traceback" not in report


async def test_a_standard_error_that_nobody_reads_holds_nothing_up() -> None:
    async with run_program("--memory-mib", "1024", read_stderr=False) as host:
        await host.open()
        await wait_until(lambda: len(host.runtimes()) == 2)
        first = host.runtimes()
        number, _ = await host.start("await tools.big('x'.repeat(67_108_850))", "s", "big")  # worth a line in the log
        stderr = os.open(f"/proc/{host.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(stderr, bytes(1 << 16))
        os.close(stderr)
        response = await host.first(number)
        assert isinstance(response, Result)
        assert response.error_text is not None
        assert "67108864" in response.error_text
        await wait_until(lambda: len(set(first) & set(host.runtimes())) == 1)  # the one that had the cell has gone
        await host.start(LOOP)
        await settle(host)
        started = time.monotonic()
        os.kill(host.runtimes()[0], signal.SIGSEGV)
        assert await host.ended() == HostExitStatus.ENGINE_PANIC
        assert time.monotonic() - started < 0.5
        await wait_until(lambda: not host.left(), 1)


async def test_a_spare_runtime_that_is_killed_is_a_panic_too() -> None:
    async with run_program() as host:
        await wait_until(lambda: len(host.runtimes()) == 2)
        host.remember_family()
        os.kill(host.runtimes()[0], signal.SIGSEGV)
        assert await host.ended(0.5 + 1) == HostExitStatus.ENGINE_PANIC
        assert not host.left()
    assert b"a spare runtime ended before it was used: killed by SIGSEGV" in host.stderr


async def test_a_zygote_that_is_killed_is_a_panic_and_takes_its_runtimes_along() -> None:
    async with run_program() as host:
        await host.open()
        await host.start(LOOP)
        await settle(host)
        os.kill(host.zygote, signal.SIGABRT)
        assert await host.ended(1.5) == HostExitStatus.ENGINE_PANIC
        await wait_until(lambda: not host.left(), 1)
    assert b"the zygote ended: killed by SIGABRT" in host.stderr


async def test_a_host_that_is_killed_amid_busy_cells_leaves_no_process() -> None:
    async with run_program() as host:
        await host.open()
        for _ in range(20):
            await host.start(LOOP)
        await wait_until(lambda: len(host.runtimes()) >= 20)
        host.remember_family()
        assert len(host.family) >= 22
        host.process.kill()
        await host.process.wait()
        await wait_until(lambda: not host.left(), 1)


async def test_a_client_that_dies_takes_its_host_and_all_cells_along() -> None:
    script = (
        "import subprocess, sys, time\n"
        f"host = subprocess.Popen({COMMAND!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "print(host.pid, flush=True); time.sleep(1000)"
    )
    client = await trio.lowlevel.open_process([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert client.stdout is not None
    async with client.stdout:
        host = int(await client.stdout.receive_some(100))
        await wait_until(lambda: [len(list_running_children(zygote)) for zygote in list_running_children(host)] == [2])
        (zygote,) = list_running_children(host)
        family = [host, zygote, *list_running_children(zygote)]
        client.kill()
        await client.wait()
        await wait_until(lambda: not any(map(is_running, family)), 1.5)


async def test_the_end_of_input_is_a_clean_end_even_amid_busy_cells() -> None:
    async with run_program() as host:
        await host.open()
        await host.start(LOOP)
        await settle(host)
        await host.stdin.aclose()
        assert await host.ended(1.5) == HostExitStatus.OK
        assert not host.left()
    assert host.stderr == b""


async def test_the_first_process_of_a_container_heeds_sigterm() -> None:
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    tried = subprocess.run([*command, "true"], check=False, capture_output=True)  # noqa: ASYNC221 done at once
    if tried.returncode != 0:
        pytest.skip("no namespace of processes can be made here")
    async with run_program(prefix=command) as host:
        await host.open()
        await host.start(LOOP)
        (first,) = list_running_children(host.pid)
        (zygote,) = list_running_children(first)
        await wait_until(lambda: list_running_children(zygote))
        family = [first, zygote, *list_running_children(zygote)]
        os.kill(first, signal.SIGTERM)
        assert await host.ended(1.5) == 128 + signal.SIGTERM
        await wait_until(lambda: not any(map(is_running, family)), 1)


async def test_a_client_that_reads_no_more_is_lost_even_while_nobody_talks() -> None:
    async with run_program() as host:
        await host.open()
        await host.start(LOOP)
        await settle(host)
        await host.stdout.aclose()
        assert await host.ended(1.5) == HostExitStatus.CLIENT_LOST
        assert not host.left()
    assert b"codemode-host: lost its client\n" in host.stderr
    assert b"Traceback" not in host.stderr


@pytest.mark.parametrize(
    "sent",
    [b"\xff\xff\xff\xff", b"\x02\0\0\0{}", b"\x10\0\0\0{", b'\x05\0\0\0{"a":'],
    ids=["long", "what", "cut", "json"],
)
async def test_malformed_input_is_one_clear_line(sent: bytes) -> None:
    async with run_program() as host:
        await host.stdin.send_all(sent)
        await host.stdin.aclose()
        assert await host.ended(1.5) == HostExitStatus.MALFORMED_INPUT
    assert host.stderr.startswith(b"codemode-host: ")
    assert host.stderr.count(b"\n") == 1


async def test_a_machine_without_the_engine_is_told_so_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder as finder\nfind = finder.find_spec\n"
        "finder.find_spec = lambda name, *rest: None if name == 'pythonmonkey' else find(name, *rest)\n"
    )
    async with run_program(greet=False, env={"PYTHONPATH": str(tmp_path)}) as host:
        assert await host.ended() == HostExitStatus.REFUSED
    assert b"refused to start\n  cause: pythonmonkey is not installed" in host.stderr
    assert b"Traceback" not in host.stderr


@pytest.mark.parametrize(("level", "traced"), [("info", False), ("debug", True)])
async def test_a_mistake_of_the_hosts_own_is_reported_and_traced_where_one_asks_for_it(
    tmp_path: Path, level: str, traced: bool
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from codemode_host.serving.client import Client\n"
        "async def serve(self): raise LookupError('its own mistake')\n"
        "Client.serve = serve\n"
    )
    async with run_program("--log-level", level, greet=False, env={"PYTHONPATH": str(tmp_path)}) as host:
        assert await host.ended() == HostExitStatus.HOST_FAULT
    assert b"a task of the host failed" in host.stderr
    assert b"LookupError: its own mistake" in host.stderr
    assert (b"Traceback" in host.stderr) == traced


async def test_cells_without_confinement_are_logged() -> None:
    async with run_program("--confinement", "off") as host:
        await host.open()
        assert read_texts(await host.run("text(1)")) == ["1"]
    assert b"WARNING: cells run without a system call filter" in host.stderr


async def test_a_host_that_can_have_no_filter_refuses_to_start_unless_it_is_told_to_do_without(tmp_path: Path) -> None:
    # The zygote is one of another machine: what the host starts it with says so first.
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "spawn = os.posix_spawn\n"
        "def spawn_elsewhere(path, words, *rest, **more):\n"
        "    boot = words.index('-c') + 1\n"
        "    there = 'from codemode_host.runtimes.cell import confinement; confinement.supported = lambda: False; '\n"
        "    words[boot] = words[boot].replace('from codemode_host', there + 'from codemode_host', 1)\n"
        "    return spawn(path, words, *rest, **more)\n"
        "os.posix_spawn = spawn_elsewhere\n"
    )
    env = {"PYTHONPATH": str(tmp_path)}
    async with run_program(greet=False, env=env) as host:
        assert await host.ended() == HostExitStatus.REFUSED
    assert b"no system call filter for" in host.stderr
    assert b"run with --confinement off to do without" in host.stderr
    async with run_program("--confinement", "off", env=env) as host:
        await host.open()
        assert read_texts(await host.run("text(1)")) == ["1"]


def exit_of(number: int, **more: object) -> RuntimeExit:
    return RuntimeExit(-number, **more)  # type: ignore[arg-type]


def test_no_crash_is_the_memory_limit_whatever_the_process_had_filled() -> None:
    limits = Limits()
    watch_kernel()
    for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS, signal.SIGKILL):
        assert limit_met(exit_of(number), limits) is None
        assert limit_met(exit_of(number, peak_resident=300 << 20), limits) is None
    for status in (0, 1, 70, 72):
        assert limit_met(RuntimeExit(status, peak_resident=300 << 20), limits) is None


def test_the_memory_limit_is_what_the_runtime_s_status_or_the_host_says() -> None:
    limits = Limits()
    text = "cell exceeded its memory limit of 512 MiB"
    assert limit_met(RuntimeExit(71), limits) == text
    assert limit_met(exit_of(signal.SIGKILL, over_memory=True), limits) == text
    assert limit_met(RuntimeExit(71), Limits(memory_bytes=None)) == "cell ran out of memory"


def test_a_kill_for_processor_time_is_told_from_a_strangers() -> None:
    limits = Limits(cpu_seconds=2)
    text = "cell exceeded its processor time limit of 2 s"
    assert limit_met(exit_of(signal.SIGXCPU, cpu_time=2.0), limits) == text
    assert limit_met(exit_of(signal.SIGKILL, cpu_time=3.0), limits) == text
    assert limit_met(exit_of(signal.SIGKILL, cpu_time=0.5), limits) is None
    assert limit_met(exit_of(signal.SIGXCPU), Limits()) is None
