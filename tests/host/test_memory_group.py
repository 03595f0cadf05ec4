"""Control groups for the memory of all cells: made, filled and removed where this machine lets its tests make one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from codemode_client import CodeModeProvider, Toolbox
from codemode_host.inprocess import InProcessSessionProvider
from codemode_host.runtimes.host_side import memory_group
from codemode_host.runtimes.host_side.memory_group import MemoryGroup
from codemode_protocol.errors import HostStartError
from codemode_protocol.limits import MIB, Limits
from codemode_protocol.values import ExecuteRequest, Result
from tests.client.recorder import Recorder

# The kernel's count of processes that it killed for want of memory is the machine's: hosts of other tests look at it.
pytestmark = pytest.mark.alone

FILL = "import sys; data = bytearray(b'x') * (int(sys.argv[1]) << 20); print('filled', flush=True); sys.stdin.read()"


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    try:
        made = MemoryGroup.create(64 * MIB)
    except OSError as error:
        pytest.skip(f"this machine gives no control group: {error}")
    yield made
    made.remove()


def names() -> list[str]:
    first, second = memory_group._own_groups()
    parent = first or second
    assert parent is not None
    return [name for name in os.listdir(parent) if name.startswith(f"codemode-{os.getpid()}-")]


def fill(group: MemoryGroup, mib: int) -> subprocess.Popen[bytes]:
    """Run a process in the group that fills so much memory once it is there."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.stdin.readline(); {FILL}", str(mib)], stdin=pipe, stdout=pipe
    )
    group.add(process.pid)
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    return process


def test_processes_may_fill_so_much_together_and_one_too_many_is_killed(group: MemoryGroup) -> None:
    with fill(group, 30) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"filled\n"
        assert not group.has_killed()
        with fill(group, 100) as second:
            assert second.wait() == -signal.SIGKILL
        assert group.has_killed()
        assert not group.has_killed()
        assert first.poll() is None
        first.kill()


def test_it_is_removed_when_its_processes_are_gone(group: MemoryGroup) -> None:
    assert len(names()) == 1
    with fill(group, 1) as process:
        process.kill()
        group.remove()
    assert names() == []
    group.remove()


def test_what_a_killed_host_has_left_is_removed_by_the_next(group: MemoryGroup) -> None:
    first, second = memory_group._own_groups()
    process = subprocess.Popen(["true"])
    process.wait()
    parent = first or memory_group._giving(second or "")
    left = Path(parent, f"codemode-{process.pid}-0")
    left.mkdir()
    other = MemoryGroup.create(MIB)
    try:
        assert not left.exists()
        assert len(names()) == 2
    finally:
        other.remove()


async def test_cells_that_take_too_much_together_end_alone_and_their_host_lives(group: MemoryGroup) -> None:
    source = "const all = []; for (let i = 0; i < 400; i++) all.push(new Uint8Array(1e6).fill(1)); text('had enough')"
    async with CodeModeProvider([sys.executable, "-m", "codemode_host", "--total-memory-mib", "200"]) as provider:
        async with provider.session(Toolbox()) as session:
            result = await session.run(source)
            assert result.error_text == (
                "the cells of the host exceeded 200 MiB of memory together, and the kernel stopped this one"
            )
            assert (await session.run("text(1)")).text == "1"
            assert session.generation == 1
        assert provider.counters.limits_met["total_memory_bytes"] == 1


async def test_a_provider_without_a_host_process_has_such_a_group_too(group: MemoryGroup) -> None:
    source = "const all = []; for (let i = 0; i < 400; i++) all.push(new Uint8Array(1e6).fill(1))"
    async with InProcessSessionProvider(Limits(total_memory_bytes=200 * MIB)) as provider:
        session = await provider.open_session(Recorder())
        assert len(names()) == 2
        cell = await session.execute(ExecuteRequest("call", [], source, 60_000))
        response = await cell.initial_response()
        assert isinstance(response, Result)
        assert "together" in (response.error_text or "")
    assert len(names()) == 1


def test_a_host_with_too_little_for_its_engine_refuses_to_start(group: MemoryGroup) -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "codemode_host", "--total-memory-mib", "1"]
    done = subprocess.run(command, stdin=reading, capture_output=True, text=True, timeout=60, check=False)
    os.close(reading)
    os.close(writing)
    cause = "the zygote ended: killed by SIGKILL, by the kernel: --total-memory-mib is too little"
    assert done.stderr.splitlines()[:2] == ["codemode-host: refused to start", f"  cause: {cause}"]
    assert done.returncode == 78


async def test_where_there_is_none_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_group, "_own_groups", lambda: (None, None))
    async with InProcessSessionProvider(Limits(total_memory_bytes=MIB)) as provider:
        with pytest.raises(HostStartError, match="the system has no control groups for memory"):
            await provider.open_session(Recorder())


MOUNTS = """\
23 1 254:0 / / rw - ext4 /dev/root rw
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
35 31 0:32 {root} /sys/fs/cgroup/memory rw shared:7 - cgroup cgroup rw,memory
41 31 0:38 {root} {unified} rw - cgroup2 cgroup2 rw
"""


@pytest.mark.parametrize(
    ("groups", "root", "first", "second"),
    [
        ("4:memory:/a/b\n0::/\n", "/", "/sys/fs/cgroup/memory/a/b", None),
        ("4:memory,hugetlb:/\n0::/\n", "/", "/sys/fs/cgroup/memory", None),
        ("4:memory:/docker/1/x\n0::/\n", "/docker/1", "/sys/fs/cgroup/memory/x", None),
        ("3:cpuset:/a\n0::/a b/c\n", "/", None, "a b/c"),
        ("0::/elsewhere\n", "/", None, None),
        ("", "/", None, None),
    ],
)
def test_the_own_group_is_found_in_either_version(
    tmp_path: Path, groups: str, root: str, first: str | None, second: str | None
) -> None:
    unified = tmp_path / "unified"
    (unified / "a b" / "c").mkdir(parents=True)
    (unified / "a b" / "c" / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "cgroup").write_text(groups)
    (tmp_path / "mountinfo").write_text(MOUNTS.format(root=root, unified=unified))
    expected = None if second is None else f"{unified}/{second}"
    assert memory_group._own_groups(str(tmp_path)) == (first, expected)


def test_in_the_second_version_a_group_gives_memory_to_those_below_it(tmp_path: Path) -> None:
    control = tmp_path / "cgroup.subtree_control"
    control.write_text("cpu\n")
    assert memory_group._giving(str(tmp_path)) == str(tmp_path)
    assert control.read_text() == "+memory"
    control.write_text("cpu memory\n")
    with contextlib.suppress(PermissionError):
        control.chmod(0o400)
    assert memory_group._giving(str(tmp_path)) == str(tmp_path)
    assert control.read_text() == "cpu memory\n"
