"""The control socket of a host, in this process: how many it serves at a time, and for how long it waits for whom."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from codemode_host.control.socket import (
    ANSWER_SECONDS,
    CONNECTIONS,
    REQUEST_BYTES,
    REQUEST_SECONDS,
    ControlSocket,
    ControlSocketError,
    open_private_directory,
)
from codemode_host.runtimes.host_side.runtimes import RuntimePool
from codemode_protocol.control import ListCells, encode
from tests.host.stage import Stage, stage
from tests.processes import list_descriptors

LIST = encode(ListCells()) + b"\n"


class StagedHost:
    """What the control socket sees of a host."""

    def __init__(self, on_stage: Stage) -> None:
        self.limits = on_stage.owner.limits
        self.cells = 0
        self.pool: RuntimePool = on_stage.owner.pool
        self.started_ns = 0
        self.sessions = {"s": on_stage.session}
        self.flushed = 0

    def flush(self) -> None:
        self.flushed += 1


@asynccontextmanager
async def served(folder: str) -> AsyncIterator[tuple[ControlSocket, Path]]:
    async with stage() as on_stage, trio.open_nursery() as nursery:
        control = ControlSocket(StagedHost(on_stage), folder)
        nursery.start_soon(control.serve)
        await trio.testing.wait_all_tasks_blocked()
        (name,) = os.listdir(folder)
        yield control, Path(folder, name)
        nursery.cancel_scope.cancel()
        control.remove()
        control.remove()


def connect(peer: socket.socket, place: Path) -> None:
    """Connect by way of the folder's descriptor: its path may be too long."""
    folder = os.open(place.parent, os.O_PATH)
    try:
        peer.connect(f"/proc/self/fd/{folder}/{place.name}")
    finally:
        os.close(folder)
    peer.setblocking(False)


@contextmanager
def connected(place: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as peer:
        connect(peer, place)
        yield peer


async def hear(peer: socket.socket) -> bytes:
    """All until the end."""
    data = b""
    while True:
        await trio.lowlevel.wait_readable(peer)
        piece = peer.recv(1 << 20)
        if not piece:
            return data
        data += piece


async def test_a_request_may_come_in_pieces_and_without_its_end(folder: str) -> None:
    async with served(folder) as (_, place):
        with connected(place) as peer:
            for at in range(len(LIST)):
                peer.send(LIST[at : at + 1])
                await trio.testing.wait_all_tasks_blocked()
            whole = msgspec.json.decode(await hear(peer))
        with connected(place) as peer:
            peer.send(LIST[:-1])
            peer.shutdown(socket.SHUT_WR)
            assert msgspec.json.decode(await hear(peer)).keys() == whole.keys()
        with connected(place) as peer:
            peer.send(b" " * REQUEST_BYTES)
            assert b"this is no request" in await hear(peer)
        assert place.exists()
    assert not place.exists()


async def test_so_many_are_served_at_a_time_and_the_slow_ones_not_for_ever(
    folder: str, autojump_clock: trio.testing.MockClock
) -> None:
    before = list_descriptors().keys()
    async with served(folder) as (_, place):
        held = list_descriptors().keys()
        begun = trio.current_time()
        silent = [socket.socket(socket.AF_UNIX) for _ in range(CONNECTIONS)]
        for peer in silent:
            connect(peer, place)
        await trio.testing.wait_all_tasks_blocked()
        with connected(place) as peer:
            peer.send(LIST)
            assert msgspec.json.decode(await hear(peer))["cells"] == []
        assert trio.current_time() - begun == pytest.approx(REQUEST_SECONDS)
        for peer in silent:
            assert b"this is no request" in await hear(peer)
            peer.close()
        await trio.testing.wait_all_tasks_blocked()
        assert list_descriptors().keys() == held
    assert list_descriptors().keys() == before


async def test_whoever_does_not_read_the_answer_is_let_go(
    folder: str, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(*_: object) -> bytes:
        return bytes(8 << 20)

    monkeypatch.setattr("codemode_host.control.requests.answer", answer)
    async with served(folder) as (_, place):
        with connected(place) as peer:
            peer.send(LIST)
            await trio.sleep(ANSWER_SECONDS - 0.1)
            taken = len(peer.recv(1 << 20))
            await trio.sleep(0.2)
            await trio.testing.wait_all_tasks_blocked()
            assert taken + len(await hear(peer)) < 8 << 20
        with connected(place) as peer:
            peer.send(LIST)
            assert len(await hear(peer)) == 8 << 20


def test_a_folder_is_made_for_its_user_alone_or_taken_if_it_is_that(tmp_path: Path) -> None:
    before = list_descriptors()
    folder = tmp_path / "new"
    for _ in range(2):
        os.close(open_private_directory(str(folder)))
        assert folder.stat().st_mode & 0o777 == 0o700
    for mode in (0o710, 0o701, 0o777):
        folder.chmod(mode)
        with pytest.raises(ControlSocketError, match="chmod 700"):
            open_private_directory(str(folder))
    with pytest.raises(OSError, match="No such file"):
        open_private_directory(str(tmp_path / "no" / "folder"))
    assert list_descriptors() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
async def test_root_may_ask_a_host_of_another_user_and_a_third_user_may_not() -> None:
    # Outside of the tests' own folder, which no other user may enter.
    folder = f"/tmp/codemode-test-{os.getpid()}"
    os.mkdir(folder, 0o700)
    os.chown(folder, 65534, 65534)
    try:
        os.seteuid(65534)
        async with served(folder) as (_, place):
            for user, heard in ((0, True), (65533, False)):
                os.seteuid(0)
                os.chmod(folder, 0o755)
                os.chmod(place, 0o777)
                os.seteuid(user)
                with connected(place) as peer:  # the kernel keeps who connected
                    os.seteuid(0)
                    os.seteuid(65534)
                    told = b""
                    with contextlib.suppress(ConnectionError):  # it does not read what it was asked
                        peer.send(LIST)
                        told = await hear(peer)
                    assert (told != b"") == heard
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)
