"""A host that is asked from outside: what it says of its cells, how they end, and who may ask."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from codemode_client import hosts
from codemode_client.hosts import (
    CellNotFoundError,
    HostGoneError,
    HostSilentError,
    HostSocket,
    end_cells,
    end_host,
    find_hosts,
    report,
)
from codemode_host.control.socket import ControlSocketError, open_private_directory
from codemode_protocol.control import CellReport, ListCells, encode
from codemode_protocol.control_sockets import socket_name, start_time
from codemode_protocol.messages import (
    CellClosed,
    DelegateCancel,
    DelegateRequest,
    OperationRequest,
    OperationResponse,
    Terminate,
    Wait,
)
from codemode_protocol.values import Terminated, WaitRequest
from tests.host.program import Program, program, running, texts, until

ENDLESS = "await new Promise(() => {});"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Where a test's hosts have their sockets."""
    return str(tmp_path / "control")


async def found(folder: str, pid: int) -> HostSocket:
    """The socket of a host, once it is there."""
    await until(lambda: [one for one in find_hosts(folder)[0] if one.pid == pid])
    return next(one for one in find_hosts(folder)[0] if one.pid == pid)


async def cell_that(where: HostSocket, cell_id: str, state: str, *waits: str) -> CellReport:
    """A cell, once it is in a state and waits for just that."""
    seen: list[CellReport] = []

    def there() -> bool:
        seen[:] = [cell for cell in report(where).cells if cell.cell_id == cell_id]
        return bool(seen) and seen[0].state == state and seen[0].waiting_on == list(waits)

    await until(there)
    return seen[0]


async def closed(host: Program, cell: str) -> None:
    await host.receive(lambda message: isinstance(message, CellClosed) and message.cell_id == cell)


# What there is


async def test_each_state_is_told_and_what_is_waited_for(folder: str) -> None:
    async with program("--control", folder, "--output-mib", "2") as host:
        await host.open()
        for source, state, waits in (
            ("while (true) {}", "running", ()),
            ("await Promise.all([tools.a({}), tools.b({}), tools.a({})])", "waiting", ("calls",)),
            ("await new Promise((done) => setTimeout(done, 1e6))", "waiting", ("timer",)),
            ("setTimeout(() => {}, 1e6); await tools.a({})", "waiting", ("calls", "timer")),
            (ENDLESS, "waiting", ("nothing",)),
            ("for (;;) text('x'.repeat(1e5))", "paused", ("output",)),
            ("notify('on my way')", "draining", ("notifications",)),
            ("text('done')", "finished", ()),
        ):
            _, number = await host.start(source, "s", "a", "b", yield_ms=0)
            cell = await cell_that(await found(folder, host.pid), number, state, *waits)
            assert (cell.session_id, cell.cell_id, cell.call_id) == ("s", number, "call")
            assert (cell.finished_ms is not None) == (state == "finished")
            assert cell.notifications == (state == "draining")
            assert (cell.output_bytes > 2_000_000) == (state == "paused")
            if number == "2":
                assert [(calls.tool, calls.count) for calls in cell.calls] == [("a", 2), ("b", 1)]
                assert all(0 <= calls.oldest_ms <= cell.age_ms for calls in cell.calls)


async def test_the_facts_are_those_of_the_process(folder: str) -> None:
    async with program("--control", folder, "--memory-mib", "200") as host:
        await host.open()
        await host.open("t")
        _, number = await host.start(f"globalThis.kept = new Uint8Array(5e7).fill(1); {ENDLESS}", yield_ms=60_000)
        where = await found(folder, host.pid)
        cell = await cell_that(where, number, "waiting", "nothing")
        assert cell.pid in host.runtimes()
        assert cell.memory_bytes is not None
        assert cell.resident_bytes is not None
        assert 4.9e7 <= cell.memory_bytes < 1e8  # less what its start had filled and it needs no more
        assert cell.resident_bytes > cell.memory_bytes
        assert cell.observed
        _, looping = await host.start("for (;;) {}", "t", yield_ms=0)
        await until(lambda: (report(where).cells[1].cpu_ms or 0) >= 30)
        known = report(where)
        assert [(one.session_id, one.cell_id, one.observed) for one in known.cells] == [
            ("s", number, True),
            ("t", looping, False),
        ]
        assert (known.pid, known.client_pid, known.sessions) == (host.pid, os.getpid(), 2)
        assert known.memory_limit_bytes == 200 << 20
        assert known.age_ms >= known.cells[0].age_ms >= known.cells[1].age_ms


async def test_many_calls_and_long_names_are_told_in_few_words(folder: str) -> None:
    async with program("--control", folder) as host:
        await host.open("s" * 5_000)
        names = [f"{'n' * 300}{number}" for number in range(30)]
        source = "await Promise.all(ALL_TOOLS.flatMap(({ name }) => [1, 2].map(() => tools[name]({}))))"
        _, number = await host.start(source, "s" * 5_000, *names, yield_ms=0)
        where = await found(folder, host.pid)
        await until(lambda: [calls.count for calls in report(where).cells[0].calls] == [2] * 20)
        cell = await cell_that(where, number, "waiting", "calls")
        assert len(cell.session_id) == 1000
        assert [(len(calls.tool), calls.count) for calls in cell.calls] == [(200, 2)] * 20


# Ending


@pytest.mark.parametrize(
    "source", ["text('one'); yield_control(); text('two'); while (true) {}", f"text('one'); {ENDLESS}"]
)
async def test_whoever_observes_a_cell_is_told_that_it_was_terminated(folder: str, source: str) -> None:
    async with program("--control", folder) as host:
        await host.open()
        number, cell = await host.start(source, yield_ms=60_000)
        where = await found(folder, host.pid)
        if "yield_control" in source:
            assert texts(await host.first(number)) == ["one"]
            await host.stdin.send_all(host.connection.send(_request(host, Wait("s", WaitRequest(cell, 60_000)))))
            await until(lambda: (report(where).cells[0].cpu_ms or 0) >= 100)  # it loops
        else:
            await cell_that(where, cell, "waiting", "nothing")
        await until(lambda: report(where).cells[0].observed)
        (ended,) = end_cells(where, "s", cell).cells
        assert (ended.session_id, ended.cell_id, ended.how) == ("s", cell, "terminated")
        if "yield_control" in source:
            answer = await host.receive(lambda message: isinstance(message, OperationResponse))
            response = answer.result.value.outcome.outcome.response  # type: ignore[union-attr]
        else:
            response = await host.first(number)
        assert isinstance(response, Terminated)
        assert texts(response) == (["two"] if "yield_control" in source else ["one"])
        await closed(host, cell)
        assert texts(await host.run("text('still here')")) == ["still here"]
    assert f"session s cell {cell}: ended from outside, by process {os.getpid()} of user" in host.stderr.decode()


async def test_an_observer_whose_time_is_over_while_the_cell_is_being_ended_hears_of_the_end(folder: str) -> None:
    async with program("--control", folder) as host:
        await host.open()
        _, cell = await host.start(ENDLESS, yield_ms=0)
        where = await found(folder, host.pid)
        await cell_that(where, cell, "waiting", "nothing")
        zygote = host.zygote
        os.kill(zygote, signal.SIGSTOP)  # which kills cells, and now does not
        await host.stdin.send_all(host.connection.send(_request(host, Wait("s", WaitRequest(cell, 100)))))
        (ended,) = end_cells(where, "s", cell).cells  # has waited for much longer than that
        assert ended.how == "terminating"
        os.kill(zygote, signal.SIGCONT)
        answer = await host.receive(lambda message: isinstance(message, OperationResponse))
        assert isinstance(answer.result.value.outcome.outcome.response, Terminated)  # type: ignore[union-attr]
        await closed(host, cell)


async def test_the_calls_of_a_cell_that_is_ended_are_cancelled(folder: str) -> None:
    async with program("--control", folder) as host:
        await host.open()
        _, cell = await host.start("await tools.a({})", "s", "a", yield_ms=0)
        call = await host.receive(lambda message: isinstance(message, DelegateRequest))
        assert isinstance(call, DelegateRequest)
        end_cells(await found(folder, host.pid), "s", cell)
        await host.receive(lambda message: message == DelegateCancel(call.id))


@pytest.mark.parametrize("how", ["wait", "terminate"])
async def test_a_cell_that_nobody_observes_keeps_its_output_and_its_end_for_the_next_who_asks(
    folder: str, how: str
) -> None:
    async with program("--control", folder) as host:
        await host.open()
        _, loops = await host.start("text('one'); while (true) {}", yield_ms=0)
        _, drains = await host.start("text('one'); store('never', 1); notify('x')", yield_ms=0)
        where = await found(folder, host.pid)
        await cell_that(where, drains, "draining", "notifications")
        assert [end.how for end in end_cells(where, "s").cells] == ["terminated", "terminated"]
        for cell in (loops, drains):
            await cell_that(where, cell, "finished")
            response = await (host.wait(cell) if how == "wait" else host.terminate(cell))
            assert isinstance(response, Terminated)
            assert texts(response) == ["one"]
            await closed(host, cell)
        assert report(where).cells == []
        assert texts(await host.run("text(load('never') === undefined)")) == ["true"]


async def test_an_end_that_nobody_took_is_dropped(folder: str) -> None:
    async with program("--control", folder) as host:
        await host.open()
        _, cell = await host.start("text('x')", yield_ms=0)
        where = await found(folder, host.pid)
        await cell_that(where, cell, "finished")
        assert [end.how for end in end_cells(where, "s").cells] == ["dropped"]
        await closed(host, cell)
        assert report(where).cells == []
        missing = await host.wait(cell)
        assert getattr(missing, "error_text", None) == f"exec cell {cell} not found"


async def test_a_session_whose_cells_are_ended_stays_open(folder: str) -> None:
    async with program("--control", folder) as host:
        await host.open()
        await host.open("t")
        assert (await host.run("store('kept', 5)")).error_text is None
        cells = [(await host.start("while (true) {}", yield_ms=60_000))[1] for _ in range(3)]
        _, other = await host.start(ENDLESS, "t", yield_ms=0)
        where = await found(folder, host.pid)
        assert {(end.cell_id, end.how) for end in end_cells(where, "s").cells} == {
            (cell, "terminated") for cell in cells
        }
        assert [cell.cell_id for cell in report(where).cells] == [other]
        assert texts(await host.run("text(load('kept'))")) == ["5"]
        assert end_cells(where, "s").cells == []


async def test_what_is_not_there_cannot_be_ended(folder: str) -> None:
    async with program("--control", folder) as host:
        await host.open()
        where = await found(folder, host.pid)
        with pytest.raises(CellNotFoundError, match="session s has no cell 7"):
            end_cells(where, "s", "7")
        with pytest.raises(CellNotFoundError, match="the host has no session t"):
            end_cells(where, "t")


async def test_a_cell_that_is_being_terminated_already_is_left_to_that(folder: str) -> None:
    async with program("--control", folder) as host:
        await host.open()
        _, cell = await host.start("while (true) {}", yield_ms=0)
        where = await found(folder, host.pid)
        zygote = host.zygote
        os.kill(zygote, signal.SIGSTOP)
        try:
            await host.stdin.send_all(host.connection.send(_request(host, Terminate("s", cell))))
            await cell_that(where, cell, "terminating")
            assert [end.how for end in end_cells(where, "s", cell).cells] == ["terminating"]
        finally:
            os.kill(zygote, signal.SIGCONT)
        await closed(host, cell)


async def test_a_host_is_ended_and_nothing_of_it_is_left(folder: str) -> None:
    async with program("--control", folder) as host:
        await host.open()
        await host.start("while (true) {}", yield_ms=0)
        where = await found(folder, host.pid)
        await until(lambda: len(host.runtimes()) >= 2)
        host.remember_family()
        assert await trio.to_thread.run_sync(end_host, where) == "terminated"
        assert await host.ended() == -signal.SIGTERM
        await until(lambda: not host.left(), 2)
        assert os.listdir(folder) == []
        with pytest.raises(HostGoneError):
            end_host(where)


async def test_a_host_that_stands_still_is_said_to_and_is_killed(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(hosts, "TERMINATE_SECONDS", 0.2)
    async with program("--control", folder) as host:
        where = await found(folder, host.pid)
        os.kill(host.pid, signal.SIGSTOP)
        with pytest.raises(HostSilentError, match=r"does not answer within 0.2 s: is it stopped\?"):
            report(where)
        assert await trio.to_thread.run_sync(end_host, where) == "killed"
        assert await host.ended() == -signal.SIGKILL


# Where the socket is


async def test_without_a_word_the_socket_is_where_the_environment_says(tmp_path: Path) -> None:
    folder = tmp_path / "codemode"
    async with program(env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}) as host:
        where = await found(str(folder), host.pid)
        assert report(where).pid == host.pid
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.listdir(folder) == []


async def test_a_host_takes_the_next_place_when_the_first_cannot_be_used(tmp_path: Path) -> None:
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path / "nowhere"), "TMPDIR": str(tmp_path)}
    async with program(env=env) as host:
        assert report(await found(str(tmp_path / f"codemode-{os.geteuid()}"), host.pid)).pid == host.pid


async def test_a_path_is_never_too_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    async with program("--control", str(deep / "control")) as host:
        assert report(await found(str(deep / "control"), host.pid)).pid == host.pid


async def test_a_host_without_a_private_folder_says_so_in_a_line_and_goes_on(folder: str) -> None:
    os.mkdir(folder)
    os.chmod(folder, 0o750)
    async with program("--control", folder) as host:
        await until(lambda: host.stderr)
        await host.open()
        assert texts(await host.run("text(1)")) == ["1"]
        assert find_hosts(folder) == (
            [],
            [f"{folder} is left out: it is open to others, and hosts do not use it like that"],
        )
    assert os.listdir(folder) == []
    assert host.stderr.decode() == (
        "codemode-host: WARNING: no control socket, so `codemode ps` will not find this host: "
        f"{folder} is open to others: chmod 700 it\n"
    )


@pytest.mark.parametrize("how", ["link", "file", "foreign", "missing"])
def test_a_folder_that_is_not_private_is_not_used(folder: str, tmp_path: Path, how: str) -> None:
    private = tmp_path / "private"
    private.mkdir(0o700)
    if how == "link":
        os.symlink(private, folder)
    elif how == "file":
        Path(folder).write_text("")
    elif how == "foreign":
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder away")
        os.mkdir(folder, 0o700)
        os.chown(folder, 65534, 65534)
    else:
        folder += "/below"
    with pytest.raises((OSError, ControlSocketError)):
        open_private_directory(folder)
    # One that is private, though somebody else's, root may look into.
    assert len(find_hosts(folder)[1]) == (how in ("link", "file"))


async def test_no_socket_where_none_is_wanted(tmp_path: Path) -> None:
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    async with program("--control", "off", env=env) as host:
        await host.open()
        await host.run("await new Promise((done) => setTimeout(done, 100))")
        assert os.listdir(tmp_path) == []


def test_a_slip_of_the_pen_is_no_folder() -> None:
    command = [sys.executable, "-m", "codemode_host", "--control", "onn"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "'onn' is not on, off or a folder with a slash in it, as in ./onn" in done.stderr


# What is left behind


@pytest.mark.parametrize("how", ["end of input", "malformed", "panic"])
async def test_a_host_that_ends_takes_its_socket_away(folder: str, how: str) -> None:
    async with program("--control", folder) as host:
        await found(folder, host.pid)
        if how == "end of input":
            await host.stdin.aclose()
        elif how == "malformed":
            await host.stdin.send_all(b"\x01\x00\x00\x00x")
        else:
            await until(lambda: len(host.runtimes()) == 2)
            os.kill(host.runtimes()[0], signal.SIGSEGV)
        status = await host.ended()
        assert status == {"end of input": 0, "malformed": 1, "panic": 70}[how]
        assert os.listdir(folder) == []


async def test_what_a_killed_host_left_is_cleared_away_by_whoever_asks(folder: str) -> None:
    async with program("--control", folder) as host, program("--control", folder) as other:
        where, there = await found(folder, host.pid), await found(folder, other.pid)
        host.process.kill()
        await host.ended()
        assert {one.pid for one in find_hosts(folder)[0]} == {host.pid, other.pid}
        with pytest.raises(HostGoneError, match=f"host {host.pid} has ended"):
            report(where)
        assert os.listdir(folder) == [there.name]
        with pytest.raises(HostGoneError):
            report(where)
        assert report(there).pid == other.pid


def left_behind(folder: str, name: str) -> None:
    """A socket's file that nobody listens to."""
    with socket.socket(socket.AF_UNIX) as nobody:
        nobody.bind(f"{folder}/{name}")


def test_only_the_file_of_a_process_that_is_gone_is_removed(tmp_path: Path) -> None:
    folder = str(tmp_path)
    tmp_path.chmod(0o700)
    started = start_time(Path("/proc/self/stat").read_bytes())
    mine, older = socket_name(os.getpid(), started), socket_name(os.getpid(), started - 1)
    for name in (mine, older, "1-x.sock", "notes.txt"):
        left_behind(folder, name)
    sockets, _ = find_hosts(folder)
    assert [one.name for one in sockets] == [older, mine]
    with pytest.raises(HostGoneError):
        report(sockets[0])
    with pytest.raises(HostSilentError, match="Connection refused"):
        report(sockets[1])
    assert sorted(os.listdir(folder)) == sorted([mine, "1-x.sock", "notes.txt"])


def test_a_host_that_ends_while_it_is_asked_has_ended(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    name = socket_name(os.getpid(), start_time(Path("/proc/self/stat").read_bytes()))
    left_behind(str(tmp_path), name)
    ((ending,), _) = find_hosts(str(tmp_path))
    remover = threading.Timer(0.1, (tmp_path / name).unlink)
    remover.start()
    with pytest.raises(HostGoneError):
        report(ending)
    remover.join()


def test_a_host_that_its_client_has_not_reaped_has_ended(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        stat_of_it = Path(f"/proc/{process.pid}/stat").read_bytes()
        left_behind(str(tmp_path), socket_name(process.pid, start_time(stat_of_it)))
        ((unreaped,), _) = find_hosts(str(tmp_path))
        for ask in (end_host, report):
            with pytest.raises(HostGoneError):
                ask(unreaped)
        assert os.listdir(tmp_path) == []


# Who may ask, and what


@contextmanager
def pretender(folder: Path, answer: bytes) -> Iterator[HostSocket]:
    """A process that listens like a host, this one, and says what it likes to the first that asks."""
    folder.chmod(0o700)
    started = start_time(Path("/proc/self/stat").read_bytes())
    name = socket_name(os.getpid(), started)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / name))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield HostSocket(str(folder), name, os.getpid(), started)
        thread.join()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed the connection without a word"),
        (b"half a line", "closed the connection without a word"),
        (b"what?\n", "answers what this version does not know"),
        (b'{"type":"refused","message":"no such thing"}\n', "does not know what it was asked: no such thing"),
        (b'{"type":"ended","cells":[]}\n', "does not know what it was asked: CellsEnded"),
    ],
)
def test_a_host_that_answers_something_else_is_an_error_that_says_so(tmp_path: Path, answer: bytes, words: str) -> None:
    with pretender(tmp_path, answer) as where, pytest.raises(HostSilentError, match=words) as caught:
        report(where)
    assert caught.value.host_pid == os.getpid()


def socket_inodes(pid: int) -> set[str]:
    """The sockets that a process has open."""
    descriptors = Path(f"/proc/{pid}/fd")
    return {link for one in descriptors.iterdir() if (link := os.readlink(one)).startswith("socket:")}


async def test_neither_the_zygote_nor_a_cell_has_the_socket(folder: str) -> None:
    async with program("--control", folder) as host:
        await host.open()
        where = await found(folder, host.pid)
        lines = await trio.Path("/proc/net/unix").read_text()
        (line,) = [line for line in lines.splitlines() if line.endswith(f"/.{where.name}")]
        listener = f"socket:[{line.split()[6]}]"
        assert listener in socket_inodes(host.pid)
        with socket.socket(socket.AF_UNIX) as connection:  # while one is open, too
            connection.connect(f"{folder}/{where.name}")
            await host.start(ENDLESS, yield_ms=0)
            await until(lambda: len(host.runtimes()) == 2)
            assert len(socket_inodes(host.zygote) - {listener}) == 1  # to the host
            for pid in host.runtimes():
                assert socket_inodes(pid) == set()
            assert listener not in socket_inodes(host.zygote)


AS_ANOTHER = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as connection:
    connection.settimeout(10)
    try:
        connection.connect(sys.argv[1])
        connection.sendall(b'{"type":"list"}\\n')
        print(connection.recv(65536))
    except OSError as error:
        print(type(error).__name__)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
async def test_another_user_is_refused_by_the_folder_and_by_the_host() -> None:
    # Outside of the tests' own folder, which nobody else may enter.
    folder = f"/tmp/codemode-test-{os.getpid()}"
    os.mkdir(folder, 0o700)
    try:
        async with program("--control", folder) as host:
            where = await found(folder, host.pid)
            path = f"{folder}/{where.name}"
            os.chmod(path, 0o777)
            asking = [sys.executable, "-c", AS_ANOTHER, path]
            done = await trio.run_process(asking, capture_stdout=True)
            assert done.stdout == b"PermissionError\n"
            os.chmod(folder, 0o755)
            done = await trio.run_process(asking, capture_stdout=True)
            assert done.stdout in (b"b''\n", b"ConnectionResetError\n", b"BrokenPipeError\n")
            assert b"of user 65534, and says nothing" in host.stderr
            os.chmod(folder, 0o700)
            assert report(where).pid == host.pid
    finally:
        os.rmdir(folder)


async def test_what_is_no_request_is_answered_so_and_the_host_goes_on(folder: str) -> None:
    async with program("--control", folder) as host:
        where = await found(folder, host.pid)
        for line in (
            b"",
            b"\n",
            b"list\n",
            b'{"type":"end"}\n',
            b"[" * 8000 + b"\n",
            b"\xff\xfe\n",
            b"x" * 8192,
            b"half",
        ):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(f"{folder}/{where.name}")
                connection.sendall(line)
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(65536).startswith(b'{"type":"refused","message":"this is no request: ')
        assert report(where).pid == host.pid


async def test_a_flood_of_nonsense_does_not_keep_cells_waiting(folder: str) -> None:
    async with program("--control", folder) as host:
        await host.open()
        where = await found(folder, host.pid)
        path = f"{folder}/{where.name}"
        silent = [socket.socket(socket.AF_UNIX) for _ in range(4)]  # they say nothing, and have their time
        over = threading.Event()

        def flood() -> None:
            while not over.is_set():
                with socket.socket(socket.AF_UNIX) as connection:
                    try:
                        connection.settimeout(5)
                        connection.connect(path)
                        connection.sendall(os.urandom(4096) + b"\n")
                    except OSError:
                        continue

        threads = [threading.Thread(target=flood) for _ in range(4)]
        try:
            for connection in silent:
                connection.connect(path)
            for thread in threads:
                thread.start()
            for number in range(20):
                with trio.fail_after(2):
                    assert texts(await host.run(f"text({number})")) == [str(number)]
        finally:
            over.set()
            for thread in threads:
                thread.join()
            for connection in silent:
                connection.close()
        assert report(where).cells == []


async def test_one_who_leaves_before_the_answer_is_nobodys_trouble(folder: str) -> None:
    async with program("--control", folder) as host:
        await host.open()
        where = await found(folder, host.pid)
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(f"{folder}/{where.name}")
                connection.sendall(encode(ListCells()) + b"\n")
        await until(lambda: report(where).pid == host.pid)
        assert running(host.pid)
        assert host.stderr == b""


def _request(host: Program, request: Wait | Terminate) -> OperationRequest:
    return OperationRequest(host.connection.next_request_id(), request)
