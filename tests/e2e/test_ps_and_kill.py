"""`codemode ps` and `codemode kill` as a person runs them, beside programs that run cells."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from codemode_client import CodeModeProvider, Session
from codemode_client._cli.commands import kill, ps
from codemode_client.hosts import CellNotFoundError, HostSocket, end_cells, find_hosts, report
from codemode_protocol.control import CellReport, CellStateName, HostReport, PendingCalls, WaitName
from codemode_protocol.errors import RequestFailedError
from codemode_protocol.values import ExecuteRequest, Result, WaitRequest, Yielded
from tests.client.recorder import Recorder, define_tool

ROOT = Path(__file__).resolve().parents[2]

TOOLS = """
import time

def slow(name: str) -> str:
    print(name + chr(10), end="", flush=True)  # in one piece: two threads say it at once
    time.sleep(600)
    return name
"""

NOTHING_ELSE: dict[str, Any] = {"observed": False, "notifications": 0, "output_bytes": 0}

PENDING = "text('here'); yield_control(); await new Promise(() => {})"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mytools.py").write_text(TOOLS)
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(folder)}


def codemode(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "codemode_client.cli", *arguments, "--control", str(folder / "codemode")]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False, env=environment(folder)
    )


def hosts(folder: Path) -> dict[int, dict[str, Any]]:
    """What `codemode ps --json` says, by the client's process."""
    lines = codemode(folder, "ps", "--json").stdout.splitlines()
    return {report["client_pid"]: report for report in map(json.loads, lines)}


@contextmanager
def script(folder: Path, source: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`codemode run`, once the script has said that it is there, and its host can be found."""
    file = folder / f"{len(list(folder.glob('*.js')))}.js"
    file.write_text(source)
    process = subprocess.Popen(
        [sys.executable, "-m", "codemode_client.cli", "run", file.name, "--yield-ms", "50", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(folder),
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        while process.pid not in hosts(folder):
            os.sched_yield()
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def test_the_cells_of_two_programs_are_listed_and_ended_one_by_one(folder: Path) -> None:
    waits = "text('here'); yield_control(); await Promise.all([1, 2].map((n) => tools.slow({ name: `call ${n}` })))"
    with script(folder, PENDING) as first, script(folder, waits, "--tools", "mytools:slow") as second:
        assert second.stdout is not None
        assert {second.stdout.readline() for _ in range(2)} == {"call 1\n", "call 2\n"}
        listed = codemode(folder, "ps")
        assert (listed.returncode, listed.stderr) == (0, "")
        heading, *rows = listed.stdout.splitlines()
        assert heading.split() == ["CELL", "CLIENT", "AGE", "CPU", "MEMORY", "STATE", "WAITING", "ON"]
        by_client = {int(row.split()[1]): row for row in rows}
        assert set(by_client) == {first.pid, second.pid}
        row = r"(\d+:session-1:1)  +\d+  +[0-9.]+ s  +[0-9.]+ s  +[0-9.]+ MiB  waiting  "
        one = re.fullmatch(row + "nothing: no call and no timer is left that could wake it up", by_client[first.pid])
        two = re.fullmatch(row + r"slow ×2 for [0-9.]+ s", by_client[second.pid])
        assert one is not None
        assert two is not None

        ended = codemode(folder, "kill", two[1])
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{two[1]}: terminated\n", "")
        _, stderr = first_words(second)
        assert stderr == "the cell was terminated\n"
        assert first.poll() is None
        again = codemode(folder, "kill", two[1], one[1])
        assert (again.returncode, again.stdout) == (1, f"{one[1]}: terminated\n")
        assert again.stderr.startswith(f"codemode kill: {two[1]}: ")
        assert first_words(first)[0] == 1
    assert codemode(folder, "ps").stdout == ""


def first_words(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How a program ended, and what it said on standard error."""
    process.wait(20)
    assert process.stderr is not None
    return process.returncode, process.stderr.read()


def test_a_session_and_a_host_are_ended_and_json_says_it_all(folder: Path) -> None:
    with script(folder, PENDING) as first, script(folder, "text('here'); while (true) {}") as second:
        reports = hosts(folder)
        one, two = reports[first.pid]["pid"], reports[second.pid]["pid"]
        (cell,) = reports[second.pid]["cells"]
        assert (cell["state"], cell["session_id"]) == ("running", "session-1")
        # Now and then it is between two observations of 50 ms.
        assert any(hosts(folder)[second.pid]["cells"][0]["observed"] for _ in range(20))
        assert codemode(folder, "ps", str(one)).stdout.count("\n") == 2
        ended = codemode(folder, "kill", "--session", f"{one}:session-1", "--host", str(two), "--host", "1", "--json")
        assert ended.returncode == 1
        assert [json.loads(line) for line in ended.stdout.splitlines()] == [
            {"host_pid": one, "session_id": "session-1", "cell_id": "1", "how": "terminated", "message": None},
            {"host_pid": two, "session_id": None, "cell_id": None, "how": "terminated", "message": None},
            {"host_pid": 1, "session_id": None, "cell_id": None, "how": "not found", "message": "no host 1 is running"},
        ]
        assert first_words(first) == (1, "the cell was terminated\n")
        status, stderr = first_words(second)
        assert status == 3
        assert "the host ended (killed by SIGTERM)" in stderr or "the host closed" in stderr
    assert os.listdir(folder / "codemode") == []


def test_a_host_without_cells_is_listed_too(folder: Path) -> None:
    command = [sys.executable, "-m", "codemode_host", "--control", str(folder / "codemode")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as host:
        while host.pid not in {report["pid"] for report in hosts(folder).values()}:
            os.sched_yield()
        row = codemode(folder, "ps").stdout.splitlines()[1]
        assert re.fullmatch(rf"{host.pid}  +{os.getpid()}  +[0-9.]+ s +-  +-  no cells", row)
        assert codemode(folder, "kill", "--session", f"{host.pid}:s").returncode == 1
        os.kill(host.pid, signal.SIGKILL)
    assert codemode(folder, "ps", str(host.pid)).returncode == 1
    assert os.listdir(folder / "codemode") == []


def test_nothing_to_list_is_no_failure_and_a_host_that_is_not_there_is(folder: Path) -> None:
    listed = codemode(folder, "ps")
    assert (listed.returncode, listed.stdout, listed.stderr) == (0, "", "")
    missing = codemode(folder, "ps", "1", "--json")
    assert (missing.returncode, missing.stdout, missing.stderr) == (1, "", "codemode ps: no host 1 is running\n")


def test_a_host_that_says_nothing_is_a_host_failure(folder: Path) -> None:
    place = folder / "codemode"
    place.mkdir(0o700)
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    with socket.socket(socket.AF_UNIX) as nobody:  # bound, and never listened to, while this process lives
        nobody.bind(str(place / f"{os.getpid()}-{fields[19]}.sock"))
        for arguments in (["ps"], ["kill", f"{os.getpid()}:s:1"]):
            done = codemode(folder, *arguments)
            assert (done.returncode, done.stdout) == (3, "")
            assert "cannot be asked: Connection refused" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["kill"], "name a cell as `codemode ps` shows it"),
        (["kill", "4711"], "4711 is no cell: write HOST:SESSION:CELL"),
        (["kill", "4711:s"], "4711:s is no cell"),
        (["kill", "x:s:1"], "x:s:1: 'x' is no process number"),
        (["kill", "--session", "4711"], "write it as HOST:SESSION"),
        (["kill", "--host", "mine"], "'mine' is no process number"),
        (["ps", "mine"], "invalid int value"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(folder: Path, arguments: list[str], complaint: str) -> None:
    done = codemode(folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr


def block_of(command: str) -> str:
    """What docs/command-line.md shows for a command, which goes with process numbers that nobody has."""
    page = (ROOT / "docs" / "command-line.md").read_text()
    (found,) = re.findall(rf"^```text\n\$ codemode {command}\b.*\n([^`]*)^```", page, flags=re.MULTILINE)
    return str(found)


def test_the_page_shows_what_such_hosts_look_like(capsys: pytest.CaptureFixture[str]) -> None:
    def cell(number: int, state: CellStateName, *waits: WaitName, **more: Any) -> CellReport:
        known = {"age_ms": 2_850, "finished_ms": None, "cpu_ms": 0, "memory_bytes": 1_260_000, "calls": [], **more}
        return CellReport("session-1", str(number), "call", state, list(waits), **known, **NOTHING_ELSE)

    cells = [
        cell(1, "running", cpu_ms=2_830),
        cell(2, "waiting", "calls", calls=[PendingCalls("search", 2, 2_760), PendingCalls("other", 1, 2_760)]),
        cell(3, "waiting", "timer"),
        cell(4, "finished", age_ms=2_840, finished_ms=2_800, memory_bytes=None),
    ]
    reports = [HostReport("1", 4711, 4702, 3_000, None, 1, cells), HostReport("1", 4720, 4715, 3_200, None, 0, [])]
    assert ps.table(reports) == block_of("ps")
    for number, how in ((2, "terminated"), (4, "dropped")):
        kill.tell(kill.End(4711, "session-1", str(number), how), as_json=False)
    assert capsys.readouterr().out == block_of("kill")


async def test_control_characters_in_names_are_written_out(folder: Path) -> None:
    place = str(folder / "codemode")
    command = [sys.executable, "-m", "codemode_host", "--control", place]
    async with CodeModeProvider(command) as provider, provider.session(Recorder(), "a\x1b]0;t\x07\x9b") as session:
        cell = await session.execute(ExecuteRequest("c", [], PENDING))
        await cell.initial_response()
        for subcommand, *arguments in (["ps"], ["kill", "--session", f"{provider.host_pid}:a\x1b]0;t\x07\x9b"]):
            done = await trio.to_thread.run_sync(codemode, folder, subcommand, *arguments)
            assert rf":a\x1b]0;t\x07\x9b:{cell.cell_id}" in done.stdout
            assert not {"\x1b", "\x07", "\x9b"} & set(done.stdout + done.stderr)


async def test_ends_from_outside_never_break_a_conversation(folder: Path) -> None:
    place = str(folder / "codemode")
    random = Random(7)
    sources = [
        "for (;;) text('x'.repeat(1000))",
        "await new Promise((done) => setTimeout(done, 20)); text('over')",
        "await Promise.all([tools.echo({}), tools.never({})])",
        "notify('on my way'); yield_control(); await new Promise(() => {})",
        "text('short')",
    ]
    ended = 0

    async def never(_: object) -> Any:
        await trio.sleep_forever()

    async def use(session: Session, source: str) -> None:
        request = ExecuteRequest(
            "c", [define_tool("echo"), define_tool("never")], source, random.choice([0, 5, 60_000])
        )
        cell = await session.execute(request)
        response = await cell.initial_response()
        while isinstance(response, Yielded):
            if random.random() < 0.2:
                with suppress(RequestFailedError):  # it is being terminated already
                    response = (await session.terminate(cell.cell_id)).response
            else:
                await trio.sleep(random.random() / 20)
                response = (await session.wait(WaitRequest(cell.cell_id, random.choice([0, 5, 60_000])))).response
        if isinstance(response, Result):
            # What was over when it was ended is gone.
            assert response.error_text in (None, f"exec cell {cell.cell_id} not found")

    def end_one(where: HostSocket) -> bool:
        cells = report(where).cells
        if not cells:
            return False
        cell = random.choice(cells)
        try:
            return bool(end_cells(where, cell.session_id, cell.cell_id).cells)
        except CellNotFoundError:
            return False  # it has ended meanwhile

    async def end_many(where: HostSocket) -> None:
        nonlocal ended
        while True:
            ended += await trio.to_thread.run_sync(end_one, where)

    delegate = Recorder(never=never)
    command = [sys.executable, "-m", "codemode_host", "--control", place]
    async with CodeModeProvider(command) as provider, provider.session(delegate) as session:
        while not find_hosts(place)[0]:  # noqa: ASYNC110 nobody tells us
            await trio.sleep(0.005)
        (where,) = find_hosts(place)[0]
        async with trio.open_nursery() as killing:
            killing.start_soon(end_many, where)
            async with trio.open_nursery() as nursery:
                for number in range(40):
                    nursery.start_soon(use, session, sources[number % len(sources)])
            killing.cancel_scope.cancel()
        assert session.generation == 1
        assert ended
        await delegate.until(lambda: len(delegate.closed) == 40)
        assert delegate.errors == []
