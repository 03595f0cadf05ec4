"""One host process: its spawning, its last words, its end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from codemode_client._process import child as child_module
from codemode_client._process.child import STDERR_LINE_BYTES, STDERR_TAIL_BYTES, Child
from codemode_protocol.errors import HostStartError
from tests.client.loops import enter_loop


@asynccontextmanager
async def spawn_child(script: str, *, grace: float = 5.0, **options: str) -> AsyncIterator[Child]:
    """A Python script as a child, stopped at the end of the block."""
    async with enter_loop() as loop:
        child = Child.spawn(loop, [sys.executable, "-I", "-S", "-c", script], **options)  # type: ignore[arg-type]
        try:
            yield child
            os.close(child.stdin_fd)
            await child.stop(grace)
        finally:
            child.ensure_reaped()
            os.close(child.stdout_fd)


async def wait_for_words(child: Child, words: str) -> None:
    """Wait until a child has written just this to standard error."""
    while child.stderr_tail != words:  # noqa: ASYNC110 - what it writes there has no event
        await anyio.sleep(0.005)


async def test_the_exit_status_and_the_last_words_are_there_after_the_stop() -> None:
    async with spawn_child("import sys; sys.stdin.read(); sys.stderr.write('one\\ntwo\\n'); sys.exit(7)") as child:
        pass
    assert child.exit_status == 7
    assert child.stderr_tail == "one\ntwo"


async def test_only_the_end_of_standard_error_is_kept() -> None:
    async with spawn_child("import sys; sys.stderr.write('x' * 1_000_000 + '\\nend\\n')") as child:
        await child.exited.get()
    assert child.stderr_tail.endswith("x\nend")
    assert len(child.stderr_tail) <= STDERR_TAIL_BYTES


async def test_a_process_that_ignores_the_end_of_its_input_is_terminated() -> None:
    script = (
        "import signal, sys, time\n"
        "signal.signal(15, lambda *_: (sys.stderr.write('terminated\\n'), sys.exit()))\n"
        "sys.stderr.write('ready\\n'); time.sleep(99)"
    )
    async with spawn_child(script, grace=0.05) as child:
        await wait_for_words(child, "ready")
    assert child.stderr_tail == "ready\nterminated"
    # It says nothing about the host that it was made to end.
    assert child.exit_status is None


async def test_a_process_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "TERMINATE_SECONDS", 0.05)
    script = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); sys.stderr.write('ready\\n'); time.sleep(99)"
    async with spawn_child(script, grace=0.05) as child:
        await wait_for_words(child, "ready")
    assert child.exited.done
    assert child.exit_status is None


async def test_a_stopped_process_can_be_ended() -> None:
    async with spawn_child("import time; time.sleep(1000)", grace=0.0) as child:
        os.kill(child.pid, signal.SIGSTOP)
    assert child.exited.done
    assert child.exit_status is None


async def test_it_is_made_by_the_calling_thread_and_has_a_session_of_its_own() -> None:
    threads = set(threading.enumerate())
    async with spawn_child("import sys; sys.stdin.read()") as child:
        assert os.getsid(child.pid) == child.pid
        assert set(threading.enumerate()) <= threads


async def test_environment_and_directory_are_handed_on() -> None:
    script = "import os, sys; sys.stderr.write(os.getcwd() + ' ' + os.environ['WORD'])"
    async with spawn_child(script, cwd="/", env={"WORD": "hello"}) as child:  # type: ignore[arg-type]
        await child.exited.get()
    assert child.stderr_tail == "/ hello"


async def test_a_system_without_pidfds_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    async with spawn_child("import sys; sys.stdin.read(); sys.exit(7)") as child:
        assert not child.exited.done
    assert child.exit_status == 7


@pytest.mark.parametrize("command", [["/nowhere/host"], ["/"], ["bad\0name"]])
async def test_a_program_that_cannot_be_run_is_a_start_error(command: list[str]) -> None:
    async with enter_loop() as loop:
        with pytest.raises(HostStartError, match="cannot be run"):
            Child.spawn(loop, command)


async def test_whoever_could_not_stop_it_can_still_reap_it() -> None:
    async with enter_loop() as loop:
        child = Child.spawn(loop, [sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)"])
        child.ensure_reaped()
        child.ensure_reaped()
        assert child.exit_status is None
        os.close(child.stdin_fd)
        os.close(child.stdout_fd)


async def test_a_grandchild_that_keeps_standard_error_open_holds_the_stop_up_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child_module, "STDERR_SECONDS", 0.05)
    script = (
        "import subprocess, sys\n"
        "other = subprocess.Popen(['sleep', '1000'], stdin=-3, stdout=-3, start_new_session=True)\n"
        "sys.stderr.write(f'{other.pid}\\n'); sys.stdin.read()"
    )
    async with enter_loop() as loop:
        child = Child.spawn(loop, [sys.executable, "-I", "-S", "-c", script])
        while not child.stderr_tail:  # noqa: ASYNC110 - what it writes there has no event
            await anyio.sleep(0.005)
        grandchild = int(child.stderr_tail)
        try:
            os.close(child.stdin_fd)
            with anyio.fail_after(20):
                await child.stop(20)
            assert child.exit_status == 0
        finally:
            child.ensure_reaped()
            os.close(child.stdout_fd)
            os.kill(grandchild, signal.SIGKILL)


async def test_a_line_without_an_end_is_passed_on_in_pieces_and_blank_ones_are_not() -> None:
    lines: list[tuple[int, str]] = []
    script = f"import sys\nsys.stderr.write('first\\n\\n  \\n' + 'x' * {2 * STDERR_LINE_BYTES + 5})"
    async with enter_loop() as loop:
        command = [sys.executable, "-I", "-S", "-c", script]
        child = Child.spawn(loop, command, on_stderr_line=lambda pid, line: lines.append((pid, line)))
        os.close(child.stdin_fd)
        await child.stop(20)
        os.close(child.stdout_fd)
    assert {pid for pid, _ in lines} == {child.pid}
    assert [line for _, line in lines] == ["first", *["x" * STDERR_LINE_BYTES] * 2, "x" * 5]
