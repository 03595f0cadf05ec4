"""Who may ask a host from outside, and what becomes of those who ask for something else."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from codemode_client.hosts import (
    HostSilentError,
    HostSocket,
    report,
)
from codemode_protocol.control import ListCells, encode
from codemode_protocol.control_sockets import socket_name, start_time
from tests.host.controlled import ENDLESS, find_socket
from tests.host.program import is_running, read_texts, run_program, wait_until


@contextmanager
def pretend(folder: Path, answer: bytes) -> Iterator[HostSocket]:
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
    with pretend(tmp_path, answer) as where, pytest.raises(HostSilentError, match=words) as caught:
        report(where)
    assert caught.value.host_pid == os.getpid()


def has_no_socket(pid: int) -> bool:
    return not socket_inodes(pid)


def socket_inodes(pid: int) -> set[str]:
    """The sockets that a process has open."""
    descriptors = Path(f"/proc/{pid}/fd")
    return {link for one in descriptors.iterdir() if (link := os.readlink(one)).startswith("socket:")}


async def test_neither_the_zygote_nor_a_cell_has_the_socket(folder: str) -> None:
    async with run_program("--control", folder) as host:
        await host.open()
        where = await find_socket(folder, host.pid)
        lines = await trio.Path("/proc/net/unix").read_text()
        (line,) = [line for line in lines.splitlines() if line.endswith(f"/.{where.name}")]
        listener = f"socket:[{line.split()[6]}]"
        assert listener in socket_inodes(host.pid)
        with socket.socket(socket.AF_UNIX) as connection:  # while one is open, too
            connection.connect(f"{folder}/{where.name}")
            await host.start(ENDLESS, yield_ms=0)
            await wait_until(lambda: len(host.runtimes()) == 2)
            assert len(socket_inodes(host.zygote) - {listener}) == 1  # to the host
            for pid in host.runtimes():
                await wait_until(partial(has_no_socket, pid))  # it closes the zygote's own first
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
        async with run_program("--control", folder) as host:
            where = await find_socket(folder, host.pid)
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
    async with run_program("--control", folder) as host:
        where = await find_socket(folder, host.pid)
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
    async with run_program("--control", folder) as host:
        await host.open()
        where = await find_socket(folder, host.pid)
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
                    assert read_texts(await host.run(f"text({number})")) == [str(number)]
        finally:
            over.set()
            for thread in threads:
                thread.join()
            for connection in silent:
                connection.close()
        assert report(where).cells == []


async def test_one_who_leaves_before_the_answer_is_nobodys_trouble(folder: str) -> None:
    async with run_program("--control", folder) as host:
        await host.open()
        where = await find_socket(folder, host.pid)
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(f"{folder}/{where.name}")
                connection.sendall(encode(ListCells()) + b"\n")
        await wait_until(lambda: report(where).pid == host.pid)
        assert is_running(host.pid)
        assert host.stderr == b""
