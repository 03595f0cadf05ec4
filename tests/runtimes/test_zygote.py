"""The zygote as a process: what it has taken off, what it refuses, and that everything ends with it."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from codemode_host.runtimes import link
from codemode_host.runtimes.host_side.spawn import ZygoteOptions, engine_directory
from codemode_host.runtimes.zygote.isolation import NOBODY
from codemode_host.runtimes.zygote.main import NICENESS, Settings
from tests.host.program import is_running, list_running_children, wait_until
from tests.runtimes.test_pool import finish, run, running_pool

ROOT = Path(__file__).resolve().parents[2]


class Spoken:
    """A zygote that the test speaks to, with some lines of Python run in it first."""

    def __init__(self, before: str = "", **words: str) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(60)
        boot = (
            f"import os, sys; os.dup2({theirs.fileno()}, 3); sys.path += {[str(ROOT), engine_directory()]!r}\n"
            f"{before}\nfrom codemode_host.runtimes.zygote.main import main; main()"
        )
        options = {word.partition("=")[0]: word.partition("=")[2] for word in ZygoteOptions().words()} | words
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", boot, *(f"{name}={value}" for name, value in options.items())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={},
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self.links: list[int] = []

    def hear(self) -> tuple[int, ...]:
        record: tuple[int, ...] = link.CONTROL.unpack(self.control.recv(link.CONTROL.size))
        return record

    def say(self, kind: int, serial: int = 0, *descriptors: int) -> None:
        packet = link.CONTROL.pack(kind, serial, 0, 0, 0, 0)
        if descriptors:
            socket.send_fds(self.control, [packet], descriptors)
        else:
            self.control.send(packet)

    def fork(self, serial: int) -> tuple[int, int]:
        """Have a runtime forked: its pid, and the host's end of what it writes."""
        reading, its_writing = os.pipe()
        its_reading, writing = os.pipe()
        memory = os.memfd_create("output")
        os.ftruncate(memory, link.OUTPUT_BYTES)
        self.say(link.FORK, serial, its_reading, its_writing, memory)
        for fd in (its_reading, its_writing, memory):
            os.close(fd)
        self.links += [reading, writing]
        kind, told, pid, filled, *_ = self.hear()
        assert (kind, told) == (link.FORKED, serial)
        assert filled > 0
        return pid, writing

    def descriptors_at_rest(self) -> int:
        """How many it has open once it has done all that it was told and waits for more."""
        place = Path(f"/proc/{self.process.pid}")
        while (place / "stat").read_text().rpartition(") ")[2][0] != "S":
            time.sleep(0.001)
        return len(os.listdir(place / "fd"))

    def end(self) -> tuple[int, str]:
        """Its exit status, and what it wrote."""
        output, _ = self.process.communicate(timeout=60)
        return self.process.returncode, output.decode()

    def close(self) -> None:
        self.control.close()
        self.process.kill()
        self.process.communicate()
        for fd in self.links:
            os.close(fd)


@contextmanager
def spoken(before: str = "", **words: str) -> Iterator[Spoken]:
    zygote = Spoken(before, **words)
    try:
        yield zygote
    finally:
        zygote.close()


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def read_oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def has_signal(mask: str, number: int) -> bool:
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_options_are_what_the_host_says_and_confined_if_it_says_nothing() -> None:
    plain = Settings(["parent=1"])
    assert (plain.confined, plain.single_threaded, plain.native_jobs) == (True, True, True)
    assert (plain.memory_limit, plain.cpu_seconds, plain.parent, plain.time_zone) == (None, None, 1, "")
    words = ZygoteOptions(
        confined=False, single_threaded=False, native_jobs=False, memory_limit=5, cpu_seconds=6
    ).words()
    said = Settings([*words, "tz=Europe/Oslo"])
    assert (said.confined, said.single_threaded, said.native_jobs) == (False, False, False)
    assert (said.memory_limit, said.cpu_seconds, said.time_zone) == (5, 6, "Europe/Oslo")
    assert said.parent == os.getpid()
    said = Settings(ZygoteOptions(memory_limit=None).words())
    assert (said.confined, said.memory_limit, said.cpu_seconds) == (True, None, None)


def test_a_zygote_of_another_host_ends_at_once() -> None:
    with spoken(parent="1") as zygote:
        assert zygote.end() == (0, "")


def test_a_machine_without_a_filter_is_refused_in_a_line_that_says_what_to_do() -> None:
    before = "from codemode_host.runtimes.cell import confinement; confinement.supported = lambda: False"
    with spoken(before) as zygote:
        status, output = zygote.end()
    assert (status, output) == (
        link.EXIT_REFUSED,
        f"no system call filter for {os.uname().machine}: run with --confinement off to do without\n",
    )


def test_a_layer_that_cannot_be_had_refuses_the_start() -> None:
    before = "from codemode_host.runtimes.cell import confinement\nconfinement.PR_SET_NO_NEW_PRIVS = 9999\n"
    with spoken(before) as zygote:
        status, output = zygote.end()
    assert status == link.EXIT_REFUSED
    assert output.startswith("cannot set no new privileges: ")
    assert "Traceback" not in output


def test_a_runtime_that_cannot_put_on_its_layers_ends_before_it_has_a_script() -> None:
    before = "from codemode_host.runtimes.cell import confinement\nconfinement.SECCOMP_MODE_FILTER = 9999\n"
    with spoken(before) as zygote:
        assert zygote.hear()[0] == link.READY
        pid, _ = zygote.fork(1)
        kind, serial, status, *_ = zygote.hear()
        assert (kind, serial, os.waitstatus_to_exitcode(status)) == (link.EXITED, 1, link.EXIT_BROKEN)
        zygote.control.close()
        status, output = zygote.end()
    assert status == 0
    assert f"[{pid}] the runtime is broken" in output
    assert "cannot set system call filter" in output


def test_what_goes_wrong_in_a_zygote_is_told_with_a_traceback() -> None:
    with spoken("from codemode_host.runtimes.zygote import main as it; it.Zygote.run = lambda self: 1 / 0") as zygote:
        assert zygote.hear()[0] == link.READY
        status, output = zygote.end()
    assert status == link.EXIT_BROKEN
    assert "ZeroDivisionError" in output


def test_runtimes_end_with_their_zygote_and_a_zygote_with_its_control_socket() -> None:
    with spoken() as zygote:
        assert zygote.hear()[0] == link.READY
        first, _ = zygote.fork(1)
        second, _ = zygote.fork(2)
        zygote.control.close()
        assert zygote.end() == (0, "")
        watched = select.poll()
        for reading in zygote.links[::2]:
            watched.register(reading, select.POLLHUP)
        # The kernel ends the runtimes, and the pipes that they wrote to end with them.
        ended: set[int] = set()
        while len(ended) < 2:
            found = watched.poll(60_000)
            assert found
            for fd, _ in found:
                ended.add(fd)
                watched.unregister(fd)
        assert first != second


def test_a_runtime_is_killed_when_it_is_asked_for_and_how_it_ended_is_told() -> None:
    with spoken() as zygote:
        kind, flags, pid, *_ = zygote.hear()
        assert (kind, pid) == (link.READY, zygote.process.pid)
        assert flags & link.READY_SINGLE_THREADED
        zygote.say(link.KILL, 99)  # which there is not
        zygote.fork(7)
        zygote.fork(8)
        zygote.say(link.KILL, 7)
        kind, serial, status, peak, cpu, asked = zygote.hear()
        assert (kind, serial, asked) == (link.EXITED, 7, 1)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        assert peak > 10 * link.MIB
        assert 0 <= cpu < 10_000_000
        zygote.say(link.KILL, 7)
        os.close(zygote.links.pop())  # the runtime's link ends, and it with it
        kind, serial, status, *_, asked = zygote.hear()
        assert (kind, serial, status, asked) == (link.EXITED, 8, 0, 0)


@pytest.mark.parametrize("frame", [(link.SETTLE, b"[]"), (link.FLUSHED, b""), (99, b"")])
def test_a_runtime_that_hears_what_it_may_not_before_its_script_ends(frame: tuple[int, bytes]) -> None:
    with spoken() as zygote:
        zygote.hear()
        _, writing = zygote.fork(1)
        os.write(writing, link.HEADER.pack(len(frame[1]), frame[0], 0) + frame[1])
        kind, _, status, *_ = zygote.hear()
        assert (kind, os.waitstatus_to_exitcode(status)) == (link.EXITED, link.EXIT_BROKEN)
        zygote.control.close()
        assert f"the host sent kind {frame[0]} before the start" in zygote.end()[1]


@pytest.mark.parametrize("kind", [link.START, link.FLUSHED, 99])
def test_a_runtime_that_hears_what_it_may_not_while_its_script_runs_ends(kind: int) -> None:
    with spoken() as zygote:
        zygote.hear()
        _, writing = zygote.fork(1)
        source = b"await new Promise(() => {})"
        lengths = link.START_LENGTHS.pack(len(source), 2, 2)
        os.write(writing, link.HEADER.pack(len(lengths) + len(source) + 4, link.START, 0) + lengths + source + b"[]{}")
        os.write(writing, link.HEADER.pack(0, kind, 0))
        ended, _, status, *_ = zygote.hear()
        assert (ended, os.waitstatus_to_exitcode(status)) == (link.EXITED, link.EXIT_BROKEN)
        zygote.control.close()
        assert f"the host sent kind {kind}" in zygote.end()[1]


def test_a_cells_output_from_before_its_script_is_not_taken_for_the_scripts() -> None:
    with spoken() as zygote:
        zygote.hear()
        reading, its_writing = os.pipe()
        its_reading, writing = os.pipe()
        memory = os.memfd_create("output")
        os.ftruncate(memory, link.OUTPUT_BYTES)
        zygote.say(link.FORK, 1, its_reading, its_writing, memory)
        zygote.links += [reading, writing, its_reading, its_writing, memory]
        zygote.hear()
        assert os.pread(memory, 5, 0)[link.STARTED] == 0
        source = b"text('x'); yield_control(); await new Promise(() => {})"
        lengths = link.START_LENGTHS.pack(len(source), 2, 2)
        os.write(writing, link.HEADER.pack(len(lengths) + len(source) + 4, link.START, 0) + lengths + source + b"[]{}")
        assert os.read(reading, 100)[4] == link.YIELD
        end, started = struct.unpack("<IB", os.pread(memory, 5, 0))
        assert started == 1
        assert os.pread(memory, end, 0)[link.OUTPUT_START + 4 : link.OUTPUT_START + 5] == b"x"


# What it has taken off


async def test_zygote_and_runtime_have_what_the_flags_say_and_die_of_what_kills() -> None:
    own = status_of(os.getpid())
    async with running_pool() as pool:
        runtime = pool.take()
        runtime.start(b"notify('on'); await new Promise(() => {})", b"[]", b"{}")
        await runtime.wait_readable()
        zygote = pool.zygote.pid
        await wait_until(lambda: runtime.pid is not None)  # the zygote's report comes another way
        assert runtime.pid is not None
        for pid in (zygote, runtime.pid):
            status = status_of(pid)
            assert status["Threads"] == "1"
            assert status["NoNewPrivs"] == "1"
            if pool.flags & link.READY_UNPRIVILEGED:
                assert all(int(status[name], 16) == 0 for name in ("CapEff", "CapPrm", "CapInh"))
                if os.geteuid() == 0:
                    assert status["Uid"].split() == status["Gid"].split() == [str(NOBODY)] * 4
                    assert status["Groups"] == ""
            for number in (signal.SIGSEGV, signal.SIGILL, signal.SIGBUS, signal.SIGFPE, signal.SIGTRAP):
                assert not has_signal(status["SigCgt"], number)
                assert not has_signal(status["SigIgn"], number)
            assert has_signal(status["SigIgn"], signal.SIGINT)
            assert read_oom_score(pid) == 500
        assert status_of(zygote)["Seccomp"] == own["Seccomp"]
        assert status_of(runtime.pid)["Seccomp"] == "2"
        assert os.sched_getscheduler(zygote) == os.SCHED_BATCH
        assert os.sched_getscheduler(runtime.pid) == os.SCHED_OTHER
        lower = min(os.getpriority(os.PRIO_PROCESS, 0) + NICENESS, 19)
        assert os.getpriority(os.PRIO_PROCESS, zygote) == lower
        assert os.getpriority(os.PRIO_PROCESS, runtime.pid) >= lower
        runtime.kill()
        await runtime.exited.wait()
        runtime.close()


def namespace_of(pid: int, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


async def test_zygote_and_runtime_have_a_network_without_an_address_and_memory_and_mounts_of_their_own() -> None:
    async with running_pool() as pool:
        if not pool.flags & link.READY_NAMESPACES:
            pytest.skip("no namespaces can be made here")
        runtime = pool.take()
        runtime.start(b"notify('on'); await new Promise(() => {})", b"[]", b"{}")
        await runtime.wait_readable()
        await wait_until(lambda: runtime.pid is not None)  # the zygote's report comes another way
        assert runtime.pid is not None
        for pid in (pool.zygote.pid, runtime.pid):
            for kind in ("net", "ipc", "mnt"):
                assert namespace_of(pid, kind) != namespace_of(os.getpid(), kind)
            seen = Path("/proc") / str(pid) / "net"
            assert len((seen / "route").read_text().splitlines()) <= 1  # a heading
            assert "host LOCAL" not in (seen / "fib_trie").read_text()
            ipv6 = seen / "if_inet6"
            assert not ipv6.exists() or ipv6.read_text() == ""
        runtime.kill()
        await runtime.exited.wait()
        runtime.close()


def test_an_idle_zygote_cannot_open_a_file_any_more() -> None:
    before = (
        "from codemode_host.runtimes.zygote import main as it\n"
        "improve = it.Zygote._improve\n"
        "def improve_and_tell(self):\n"
        "    improve(self)\n"
        "    if not self._improving:\n"
        "        try: open('/etc/passwd').close()\n"
        "        except OSError as error: print(type(error).__name__, flush=True)\n"
        "        else: print('opened', flush=True)\n"
        "it.Zygote._improve = improve_and_tell\n"
    )
    with spoken(before) as zygote:
        kind, flags, *_ = zygote.hear()
        assert kind == link.READY
        if not flags & link.READY_LANDLOCK:
            pytest.skip("this kernel has no Landlock")
        assert zygote.process.stdout is not None
        assert zygote.process.stdout.readline() == b"PermissionError\n"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="elsewhere they cannot be replaced")
def test_each_runtime_has_a_stack_canary_and_a_pointer_guard_of_its_own() -> None:
    before = (
        "import ctypes\n"
        "from codemode_host.runtimes.cell import main as cell\n"
        "from codemode_host.runtimes.machine_code import MachineCode\n"
        "def load(offset):\n"  # mov %fs:offset,%rax; ret
        "    code = MachineCode(bytes.fromhex('64488b0425') + offset.to_bytes(4, 'little') + b'\\xc3')\n"
        "    return code, ctypes.PYFUNCTYPE(ctypes.c_uint64)(code.address)\n"
        "canary, guard = load(0x28), load(0x30)\n"
        "def tell(*_):\n"
        "    os.write(2, b'%x %x\\n' % (canary[1](), guard[1]()))\n"
        "    os._exit(0)\n"
        "cell.run = tell\n"
        "os.write(2, b'%x %x\\n' % (canary[1](), guard[1]()))\n"
    )
    with spoken(before) as zygote:
        assert zygote.hear()[0] == link.READY
        for serial in (1, 2, 3):
            zygote.fork(serial)
            kind, _, status, *_ = zygote.hear()
            assert (kind, status) == (link.EXITED, 0)
        zygote.control.close()
        status, output = zygote.end()
    told = [line.split() for line in output.splitlines()]
    canaries, guards = zip(*told, strict=True)
    assert (status, len(told)) == (0, 4)
    assert len(set(canaries)) == len(set(guards)) == 4
    assert all(int(canary, 16) & 0xFF == 0 for canary in canaries)


async def test_a_flood_of_interrupts_does_not_end_a_cell() -> None:
    async with running_pool() as pool:
        os.kill(pool.zygote.pid, signal.SIGINT)
        assert (await run(pool, "text(1)"))[1] is None


def test_a_fork_that_the_machine_refuses_is_told_and_the_zygote_goes_on() -> None:
    before = "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))"
    with spoken(before) as zygote:
        zygote.hear()
        reading, writing = os.pipe()
        zygote.links += [reading, writing]
        for serial in (1, 2):
            zygote.say(link.FORK, serial, reading, writing, writing)
            kind, told, number, *_ = zygote.hear()
            if kind == link.FORKED:
                pytest.skip("this machine forks whatever the limit")
            assert (kind, told, number) == (link.FORK_FAILED, serial, errno.EAGAIN)
        count = zygote.descriptors_at_rest()
        zygote.say(link.FORK, 3, reading, writing, writing)
        assert zygote.hear()[:2] == (link.FORK_FAILED, 3)
        zygote.say(link.KILL, 3)
        assert zygote.descriptors_at_rest() == count


async def test_many_forks_in_a_row_leave_no_descriptor_in_the_zygote() -> None:
    async with running_pool(spares=0) as pool:
        count = len(os.listdir(f"/proc/{pool.zygote.pid}/fd"))
        for _ in range(2):
            runtimes = [pool.take() for _ in range(20)]
            for runtime in runtimes:
                runtime.start(b"1", b"[]", b"{}")
            for runtime in runtimes:
                await finish(runtime)
        # Right after its start it reads files of the kernel's, one at a time. Each fork would leave one more.
        assert len(os.listdir(f"/proc/{pool.zygote.pid}/fd")) < count + 10
        assert list_running_children(pool.zygote.pid) == []


async def test_a_zygote_that_is_stopped_is_ended_all_the_same() -> None:
    async with running_pool() as pool:
        runtime = pool.take()
        runtime.start(b"notify('on'); while (true) {}", b"[]", b"{}")
        await runtime.wait_readable()
        family = [pool.zygote.pid, runtime.pid]
        os.kill(pool.zygote.pid, signal.SIGSTOP)
        with trio.fail_after(10):
            await pool.aclose()
        runtime.close()
        await wait_until(lambda: not any(is_running(pid) for pid in family if pid is not None))
