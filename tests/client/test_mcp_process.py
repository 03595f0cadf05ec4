"""An MCP server's process: its last words and its end are known, and nothing of its group outlives the block."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

from codemode_client.mcp._client import process as server_process
from codemode_client.mcp._client.process import STDERR_LINES, ServerProcess
from codemode_client.mcp._config import StdioServer
from tests.processes import list_children

UNTIL_INPUT_ENDS = "\nsys.stdin.read()"


def server(script: str) -> ServerProcess:
    command = ("-I", "-S", "-c", f"import os, signal, subprocess, sys, time\n{script}")
    return ServerProcess("one", StdioServer(command=sys.executable, args=command))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def said(process: ServerProcess) -> list[str]:
    """What it has written to standard error, once that is something."""
    with anyio.fail_after(30):
        while not process.stderr:  # noqa: ASYNC110 - what it writes there has no event
            await anyio.sleep(0.005)
    return process.stderr.splitlines()


async def test_the_exit_status_and_the_last_lines_are_known_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    more = STDERR_LINES + 5
    process = server(
        f"sys.stderr.write(''.join(f'line {{n}}  \\n' for n in range({more})) + '\\n  last')"
        + UNTIL_INPUT_ENDS
        + "\nsys.exit(7)"
    )
    with caplog.at_level(logging.INFO):
        async with process.streams():
            assert (process.ending, process.exit_status) == (None, None)
    assert (process.ending, process.exit_status) == ("exit status 7", 7)
    lines = process.stderr.splitlines()
    assert len(lines) == STDERR_LINES
    assert lines[-1] == f"line {more - 1}"  # an unfinished line is none
    assert f"one: line {more - 1}" in caplog.messages


async def test_long_lines_are_cut_and_one_that_never_ends_is_told_in_pieces() -> None:
    process = server(
        "sys.stderr.write('x' * 600 + '\\n' + 'y' * 200_000); sys.stderr.flush()"
        + UNTIL_INPUT_ENDS
        + "\nsys.stderr.write('\\nend\\n')"
    )
    async with process.streams():
        pass
    lines = process.stderr.splitlines()
    assert lines[0] == "x" * 500
    assert {line[0] for line in lines[1:-1]} == {"y"}
    assert max(map(len, lines)) == 500
    assert lines[-1] == "end"


async def test_a_server_that_does_not_leave_is_terminated_and_then_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process, "EXIT_SECONDS", 0.05)
    polite = server(
        "def leave(*_):\n    sys.stderr.write('terminated\\n'); sys.stderr.flush(); os._exit(3)\n"
        "signal.signal(signal.SIGTERM, leave); sys.stderr.write('ready\\n'); sys.stderr.flush(); time.sleep(1000)"
    )
    async with polite.streams():
        assert await said(polite) == ["ready"]
    assert polite.stderr.splitlines() == ["ready", "terminated"]
    assert polite.exit_status is None
    monkeypatch.setattr(server_process, "TERMINATION_SECONDS", 0.05)
    stubborn = server(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "sys.stderr.write(f'{os.getpid()}\\n'); sys.stderr.flush()\nwhile True: time.sleep(1000)"
    )
    async with stubborn.streams():
        (pid,) = map(int, await said(stubborn))
    assert not is_running(pid)


@pytest.mark.parametrize("ignoring", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN); "])
async def test_what_a_server_leaves_behind_ends_with_it(ignoring: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process, "TERMINATION_SECONDS", 0.1 if ignoring else 20)
    process = server(
        f"{ignoring}other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'], stdout=-3)\n"
        "sys.stderr.write(f'{other.pid}\\n'); sys.stderr.flush()" + UNTIL_INPUT_ENDS
    )
    async with process.streams():
        (pid,) = map(int, await said(process))
        assert is_running(pid)
    assert process.exit_status == 0
    with anyio.fail_after(20):
        while is_running(pid):  # noqa: ASYNC110 - it is nobody's child who could tell
            await anyio.sleep(0.01)


async def test_what_has_left_the_group_and_keeps_standard_error_open_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_process, "_DRAIN_SECONDS", 0.05)
    process = server(
        "other = subprocess.Popen(['sleep', '1000'], stdin=-3, stdout=-3, start_new_session=True)\n"
        "sys.stderr.write(f'{other.pid}\\n'); sys.stderr.flush()" + UNTIL_INPUT_ENDS
    )
    with anyio.fail_after(30):
        async with process.streams():
            (pid,) = map(int, await said(process))
    assert (process.exit_status, is_running(pid)) == (0, True)
    os.kill(pid, signal.SIGKILL)
    with anyio.fail_after(20):
        while is_running(pid):  # noqa: ASYNC110 - it is nobody's child who could tell
            await anyio.sleep(0.01)


async def test_one_who_is_cancelled_ends_the_server_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process, "EXIT_SECONDS", 0.05)
    process = server("sys.stderr.write(f'{os.getpid()}\\n'); sys.stderr.flush(); time.sleep(1000)")
    before = list_children(os.getpid())
    with anyio.CancelScope() as scope:
        async with process.streams():
            (pid,) = map(int, await said(process))
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert not is_running(pid)
    assert list_children(os.getpid()) == before


async def test_a_program_that_cannot_be_run_is_an_error_and_leaves_nothing() -> None:
    process = ServerProcess("one", StdioServer(command="/no/such/server"))
    with pytest.raises(FileNotFoundError):
        async with process.streams():
            pytest.fail("it runs")
    assert (process.exit_status, process.stderr) == (None, "")


def test_a_group_is_there_as_long_as_it_has_members() -> None:
    assert server_process._signal_group(os.getpgid(0), 0)
    assert not server_process._signal_group(2**22 - 1, 0)
