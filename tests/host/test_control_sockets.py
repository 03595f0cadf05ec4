"""Where a host's control socket is, who may have it, and what is left of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from codemode_client.hosts import (
    HostGoneError,
    HostSilentError,
    end_cells,
    end_host,
    find_hosts,
    report,
)
from codemode_host.control.socket import ControlSocketError, open_private_directory
from codemode_protocol.control_sockets import socket_name, start_time
from tests.host.controlled import find_socket
from tests.host.program import read_texts, run_program, wait_until

# Where the socket is


async def test_without_a_word_the_socket_is_where_the_environment_says(tmp_path: Path) -> None:
    folder = tmp_path / "codemode"
    async with run_program(env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}) as host:
        where = await find_socket(str(folder), host.pid)
        assert report(where).pid == host.pid
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.listdir(folder) == []


async def test_a_host_takes_the_next_place_when_the_first_cannot_be_used(tmp_path: Path) -> None:
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path / "nowhere"), "TMPDIR": str(tmp_path)}
    async with run_program(env=env) as host:
        assert report(await find_socket(str(tmp_path / f"codemode-{os.geteuid()}"), host.pid)).pid == host.pid


async def test_a_path_is_never_too_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    async with run_program("--control", str(deep / "control")) as host:
        assert report(await find_socket(str(deep / "control"), host.pid)).pid == host.pid


async def test_a_host_without_a_private_folder_says_so_in_a_line_and_goes_on(folder: str) -> None:
    os.mkdir(folder)
    os.chmod(folder, 0o750)
    async with run_program("--control", folder) as host:
        await wait_until(lambda: host.stderr)
        await host.open()
        assert read_texts(await host.run("text(1)")) == ["1"]
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


FIND_AS_ANOTHER = """
import os, sys
from codemode_client.hosts import find_hosts
os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(*find_hosts(sys.argv[1]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_folder_of_another_user_is_not_believed() -> None:
    # Outside of the tests' own folder, which nobody else may enter.
    folder = f"/tmp/codemode-test-{os.getpid()}"
    os.mkdir(folder, 0o755)
    try:
        leave_behind(folder, socket_name(os.getpid(), start_time(Path("/proc/self/stat").read_bytes())))
        asking = [sys.executable, "-c", FIND_AS_ANOTHER, folder]
        done = subprocess.run(asking, capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout == f"[] ['{folder} is left out: it belongs to user 0']\n"
    finally:
        shutil.rmtree(folder)


async def test_no_socket_where_none_is_wanted(tmp_path: Path) -> None:
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    async with run_program("--control", "off", env=env) as host:
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
    async with run_program("--control", folder) as host:
        await find_socket(folder, host.pid)
        if how == "end of input":
            await host.stdin.aclose()
        elif how == "malformed":
            await host.stdin.send_all(b"\x01\x00\x00\x00x")
        else:
            await wait_until(lambda: len(host.runtimes()) == 2)
            os.kill(host.runtimes()[0], signal.SIGSEGV)
        status = await host.ended()
        assert status == {"end of input": 0, "malformed": 1, "panic": 70}[how]
        assert os.listdir(folder) == []


async def test_what_a_killed_host_left_is_cleared_away_by_whoever_asks(folder: str) -> None:
    async with run_program("--control", folder) as host, run_program("--control", folder) as other:
        where, there = await find_socket(folder, host.pid), await find_socket(folder, other.pid)
        host.process.kill()
        await host.ended()
        assert {one.pid for one in find_hosts(folder)[0]} == {host.pid, other.pid}
        with pytest.raises(HostGoneError, match=f"host {host.pid} has ended"):
            report(where)
        assert os.listdir(folder) == [there.name]
        with pytest.raises(HostGoneError):
            report(where)
        assert report(there).pid == other.pid


def leave_behind(folder: str, name: str) -> None:
    """A socket's file that nobody listens to."""
    with socket.socket(socket.AF_UNIX) as nobody:
        nobody.bind(f"{folder}/{name}")


def test_only_the_file_of_a_process_that_is_gone_is_removed(tmp_path: Path) -> None:
    folder = str(tmp_path)
    tmp_path.chmod(0o700)
    started = start_time(Path("/proc/self/stat").read_bytes())
    mine, older = socket_name(os.getpid(), started), socket_name(os.getpid(), started - 1)
    for name in (mine, older, "1-x.sock", "notes.txt"):
        leave_behind(folder, name)
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
    leave_behind(str(tmp_path), name)
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
        leave_behind(str(tmp_path), socket_name(process.pid, start_time(stat_of_it)))
        ((unreaped,), _) = find_hosts(str(tmp_path))
        for ask in (end_host, report):
            with pytest.raises(HostGoneError):
                ask(unreaped)
        assert os.listdir(tmp_path) == []


# Sockets that are not what they say


def test_a_socket_that_another_process_listens_on_is_not_believed(folder: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as victim:
        start = start_time(Path(f"/proc/{victim.pid}/stat").read_bytes())
        with socket.socket(socket.AF_UNIX) as listener:
            os.mkdir(folder, 0o700)
            listener.bind(f"{folder}/{socket_name(victim.pid, start)}")
            listener.listen()
            [host], complaints = find_hosts(folder)
            assert (host.pid, complaints) == (victim.pid, [])
            with pytest.raises(HostSilentError, match="not believed"):
                report(host)
            with pytest.raises(HostSilentError, match="not believed"):
                end_cells(host, "session", "1")
        assert victim.poll() is None
        victim.communicate()


def test_a_process_of_another_user_is_not_ended_for_a_folder_s_owner(folder: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as victim:
        os.mkdir(folder, 0o700)
        name = socket_name(victim.pid, start_time(Path(f"/proc/{victim.pid}/stat").read_bytes()))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/{name}")
            os.chown(folder, 65534, 65534)
            [host], _ = find_hosts(folder)
            with pytest.raises(HostSilentError, match="not believed"):
                end_host(host)
        assert victim.poll() is None
        victim.communicate()
