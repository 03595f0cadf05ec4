"""The bytes from and to a client, over real pipes: what is kept back, how it goes out, and when a client is lost."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from codemode_host.serving.client import LARGE_READ, SMALL_READ, Channel
from codemode_host.serving.recorder import Recorder
from codemode_host.supervision import HostStopped
from codemode_protocol.exit_status import HostExitStatus
from codemode_protocol.limits import Limits
from codemode_protocol.recording import Direction, decode_recording


class Ends:
    """A channel, and the client's ends of its pipes."""

    def __init__(self, limits: Limits, recorder: Recorder | None) -> None:
        self.host_reads, self.to_host = os.pipe()
        self.from_host, self.host_writes = os.pipe()
        for fd in (self.host_reads, self.host_writes, self.from_host):
            os.set_blocking(fd, False)
        self.channel = Channel(self.host_reads, self.host_writes, limits, recorder)

    def hear(self) -> bytes:
        """All that the channel has written."""
        heard = b""
        try:
            while data := os.read(self.from_host, 1 << 20):
                heard += data
        except BlockingIOError:
            pass
        return heard

    def stop_reading(self) -> None:
        os.close(self.from_host)
        self.from_host = -1

    def close(self) -> None:
        for fd in (self.host_reads, self.to_host, self.from_host, self.host_writes):
            if fd >= 0:
                os.close(fd)


@contextmanager
def ends(recorder: Recorder | None = None, **limits: int) -> Iterator[Ends]:
    made = Ends(Limits(**limits), recorder)
    try:
        yield made
    finally:
        made.close()


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def test_what_comes_is_read_as_it_comes_and_more_at_once_while_there_is_much() -> None:
    with ends() as client:
        os.write(client.to_host, b"hello")
        assert await client.channel.read() == b"hello"
        fcntl.fcntl(client.host_reads, fcntl.F_SETPIPE_SZ, LARGE_READ)
        total = os.write(client.to_host, bytes(LARGE_READ))
        sizes: list[int] = []
        while sum(sizes) < total:
            sizes.append(len(await client.channel.read()))
        assert sizes == [SMALL_READ, total - SMALL_READ]
        os.write(client.to_host, b"x" * (SMALL_READ + 1))
        assert [len(await client.channel.read()) for _ in range(2)] == [SMALL_READ, 1]


async def test_the_end_of_input_is_nothing_and_a_file_can_be_read_as_well() -> None:
    with ends() as client:
        os.close(client.to_host)
        client.to_host = -1
        assert await client.channel.read() == b""
    with tempfile.TemporaryFile() as file:
        file.write(b"from a file")
        file.seek(0)
        channel = Channel(file.fileno(), file.fileno(), Limits())
        assert await channel.read() == b"from a file"
        assert await channel.read() == b""
        with trio.fail_after(10):
            await channel.watch()  # of a file nobody closes the other end


async def test_what_cannot_be_read_or_waited_for_is_a_lost_client_or_an_error() -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = os.open(folder, os.O_RDONLY)
        try:
            with pytest.raises(HostStopped, match="cannot read from it: Is a directory"):
                await Channel(directory, directory, Limits()).read()
        finally:
            os.close(directory)
    with pytest.raises(OSError, match="Bad file descriptor"):
        await Channel(999_999, 999_999, Limits()).read()


async def test_frames_are_written_together_and_in_order_however_little_the_pipe_takes() -> None:
    with ends() as client:
        frames = [bytes([number]) * (100 if number % 3 else 30_000) for number in range(256)]
        frames += [b"tiny"] * 2000
        async with trio.open_nursery() as nursery:
            for frame in frames:
                client.channel.queue(frame)
            assert client.hear() == b""
            client.channel.flush(nursery.start_soon)
            client.channel.flush(nursery.start_soon)
            heard = client.hear()
            assert 0 < len(heard) < sum(map(len, frames))
            while len(heard) < sum(map(len, frames)):
                await settle()
                heard += client.hear()
        assert heard == b"".join(frames)
        async with trio.open_nursery() as nursery:
            client.channel.queue(b"one more")
            client.channel.flush(nursery.start_soon)
            assert client.hear() == b"one more"


async def test_room_is_when_no_more_is_queued_than_may_be() -> None:
    with ends(queued_bytes=100_000) as client:
        channel = client.channel
        with trio.fail_after(10):
            channel.queue(bytes(100_000))
            await channel.room()
        channel.queue(b"x")
        waited: list[str] = []

        async def wait(name: str) -> None:
            await channel.room()
            waited.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "first")
            nursery.start_soon(wait, "second")
            await settle()
            assert waited == []
            channel.flush(nursery.start_soon)
            await settle()
            client.hear()
            await settle()
            assert sorted(waited) == ["first", "second"]
            client.hear()
        assert channel.write_now()


async def test_all_is_written_once_it_is_drained() -> None:
    with ends() as client:
        client.channel.queue(bytes(300_000))
        heard = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.channel.drained)
            while len(heard) < 300_000:
                await settle()
                heard += client.hear()
        assert client.channel.write_now()


async def test_a_client_that_leaves_too_much_unread_is_lost() -> None:
    with ends(unread_bytes=1000) as client:
        client.channel.queue(bytes(1000))
        with pytest.raises(HostStopped, match="it leaves 1001 bytes unread") as raised:
            client.channel.queue(b"x")
        assert raised.value.failure.status is HostExitStatus.CLIENT_LOST
    with ends(unread_bytes=1000) as client:
        for _ in range(10):
            client.channel.queue(bytes(1000))
            assert client.channel.write_now()


async def test_a_client_that_has_stopped_reading_is_lost_at_the_next_write_and_noticed_without_one() -> None:
    with ends() as client:
        client.channel.queue(b"never heard")
        client.stop_reading()
        with pytest.raises(HostStopped, match="cannot write to it: Broken pipe"):
            client.channel.write_now()
        assert client.channel.write_now()
        with trio.fail_after(10):
            await client.channel.room()
            with pytest.raises(HostStopped, match="it closed its end of the output"):
                await client.channel.watch()
    with ends() as client:
        with trio.move_on_after(0.01):
            await client.channel.watch()
            pytest.fail("it has not closed its end")


def records(path: Path) -> list[tuple[Direction, bytes]]:
    return [(one.direction, bytes(one.data)) for one in decode_recording(path.read_bytes()).records]


async def test_a_recording_has_what_was_read_and_what_was_really_written(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    recorder = Recorder(str(path), "length")
    with ends(recorder) as client:
        os.write(client.to_host, b"asked")
        await client.channel.read()
        client.channel.queue(b"answer " * 4)
        client.channel.queue(b"x" * 100_000)
        assert not client.channel.write_now()
        heard = client.hear()
        written = b"".join(data for direction, data in records(path) if direction is Direction.TO_CLIENT)
        assert written == heard
        assert client.channel.write_now()
        heard += client.hear()
        assert heard == b"answer " * 4 + b"x" * 100_000
    recorder.close()
    assert records(path)[0] == (Direction.TO_HOST, b"asked")
    assert b"".join(data for direction, data in records(path) if direction is Direction.TO_CLIENT) == heard
    assert path.stat().st_mode & 0o777 == 0o600
