"""Each layer of the confinement, proved by attempting what it forbids from inside a process that has put it on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from codemode_host.runtimes.cell import confinement
from codemode_host.runtimes.cell.priority import LONG_NICENESS

MIB = 1024 * 1024

PREAMBLE = """
import ctypes, errno, mmap, os, resource, signal, socket, sys, time
from codemode_host.runtimes.cell import confinement as module
from codemode_host.runtimes.cell.confinement import Confinement
from codemode_host.runtimes.machine_code import MachineCode
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = libc.mmap.restype = ctypes.c_long
def call(number, *arguments):
    return libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
def mapped(flags, protection=3):
    return libc.mmap(None, ctypes.c_size_t(8192), protection, flags, -1, ctypes.c_long(0))
def leave(fine):
    os._exit(7 if fine else 1)
# The ends of a link, and other descriptors that lead to the same.
link, other = os.pipe(), os.pipe()
os.write(link[1], b"from the host"); os.write(other[1], b"from another")
os.dup2(link[0], 3); os.dup2(link[1], 4); os.dup2(other[0], 30); os.dup2(other[1], 31)
PAGE = mapped(0x22)
GETPID_IN_32_BITS = ctypes.PYFUNCTYPE(ctypes.c_int)(MachineCode(bytes.fromhex("b814000000cd80c3")).address)
confinement = Confinement(seccomp={seccomp}, memory_limit={memory}, cpu_seconds={cpu})
{before}confinement.apply(os.getppid())
"""


def confined(
    attempt: str, *, seccomp: bool = True, memory: int | None = None, cpu: int | None = None, before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run Python source in a process that has confined itself; `before` is run before that."""
    script = PREAMBLE.format(seccomp=seccomp, memory=memory, cpu=cpu, before=before) + attempt
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path.cwd(),
    )


def test_what_a_cell_needs_still_works() -> None:
    done = confined("x = bytearray(50_000_000); os.write(2, os.read(3, 4)); leave(len(x) == 50_000_000)")
    assert (done.returncode, done.stderr) == (7, "from")


@pytest.mark.parametrize(
    "attempt",
    [
        "os.write(4, b'x') == 1",
        "os.read(3, 100) == b'from the host'",
        "call(7, 0, 0, 0) == 0",
        "mapped(0x22) > 0",
        "mapped(0x4022) > 0",
        "libc.mprotect(ctypes.c_long(PAGE), ctypes.c_long(4096), 1) == 0",
        "libc.munmap(ctypes.c_long(PAGE), ctypes.c_long(4096)) == 0",
        "call(25, PAGE, 8192, 4096, 0) == PAGE",
        "call(25, PAGE, 8192, 1 << 20, 1) > 0",
        "all(call(28, PAGE, 4096, advice) == 0 for advice in (0, 1, 2, 3, 4, 8))",
        "call(12, 0) > 0",
        "os.getpid() == call(39)",
        "call(186) == os.getpid()",
        "abs(call(201, 0) - time.time()) < 3",
        "call(96, PAGE, 0) == 0",
        "call(98, 0, PAGE) == 0",
        "len(os.urandom(8)) == 8",
        "[call(202, PAGE, 1 | flags, 1, 0, 0, 0) for flags in (0, 0x80)] == [0, 0]",
        *(
            f"(call(202, PAGE, {wait}, 1, 0, 0, -1), ctypes.get_errno()) == (-1, errno.EAGAIN)"
            for wait in (0, 9, 0x189)
        ),
        *(f"call(202, PAGE, {requeue}, 0, 0, PAGE + 4) == 0" for requeue in (3, 5)),
        "[call(228, clock, PAGE) for clock in (0, 1, 2, 3, 4, 5, 6, 7, 11)] == [0] * 9",
        "call(141, 0, 0, module.LONG_NICENESS) == 0",
    ],
)
def test_what_a_cell_may_ask_of_the_kernel_it_gets(attempt: str) -> None:
    done = confined(f"leave({attempt})")
    assert done.returncode == 7, done.stderr


def test_a_thread_may_end_and_a_signal_s_handler_may_return() -> None:
    assert confined("call(60, 7)").returncode == 7
    handler = "signal.signal(signal.SIGXCPU, lambda *_: None)\n"
    done = confined("while time.process_time() < 1.2: pass\nos._exit(7)", cpu=1, before=handler)
    assert done.returncode == 7, done.stderr


@pytest.mark.parametrize(
    "attempt",
    [
        "os.read(0, 1)",
        "os.read(30, 1)",
        "os.read(4, 1)",
        "os.read(2, 1)",
        "os.write(1, b'x')",
        "os.write(3, b'x')",
        "os.write(31, b'x')",
        "mmap.mmap(-1, 4096)",
        "mapped(0x21)",
        "mapped(0x23)",
        "mapped(0x20)",
        "mapped(0x122)",
        "mapped(0x2022)",
        "mapped(0x40022)",
        "mapped(0x100022)",
        "libc.mprotect(ctypes.c_long(PAGE), ctypes.c_long(4096), 0x01000003)",
        "libc.mprotect(ctypes.c_long(PAGE), ctypes.c_long(4096), 0x02000003)",
        "call(25, PAGE, 4096, 4096, 3, PAGE + 4096)",
        "call(25, PAGE, 4096, 4096, 5)",
        "call(25, PAGE, 4096, 4096, 2)",
        "call(202, PAGE, 2, 0, 0, 0, 0)",
        "call(202, PAGE, 6, 0, 0, 0, 0)",
        "call(202, PAGE, 11, 0, 0, 0, 0)",
        "call(202, PAGE, 12 | 0x80, 0, 0, 0, 0)",
        "call(202, PAGE, 1 | 0x200, 0, 0, 0, 0)",
        "call(141, 0, os.getppid(), module.LONG_NICENESS)",
        "call(141, 1, 0, module.LONG_NICENESS)",
        "call(141, 2, 0, module.LONG_NICENESS)",
        "call(141, 0, 0, 0)",
        "call(141, 0, 0, module.LONG_NICENESS + 1)",
    ],
)
def test_an_allowed_call_with_other_arguments_kills_the_process(attempt: str) -> None:
    done = confined(f"{attempt}\nos._exit(0)")
    assert done.returncode == -signal.SIGSYS, done.stderr


def test_calls_of_another_architecture_kill_the_process() -> None:
    if confined("leave(GETPID_IN_32_BITS() == os.getpid())", seccomp=False).returncode != 7:
        pytest.skip("this kernel has no 32-bit calls")
    assert confined("GETPID_IN_32_BITS()\nos._exit(0)").returncode == -signal.SIGSYS


@pytest.mark.parametrize(
    "attempt",
    [
        *(f"call({number}, 0, 0, 0, 0, 0, 0)" for number in (4, 5, 6, 8, 13, 14, 16, 21, 24, 89, 157, 204, 257, 262)),
        *(f"call({number}, 0, 0, 0, 0, 0, 0)" for number in (267, 302)),
        *(f"call(28, PAGE, 4096, {advice})" for advice in (9, 10, 12, 16, 21, 25, 100)),
        *(f"call(228, {clock}, PAGE)" for clock in (12, -2, -3)),
    ],
)
def test_what_the_engine_can_do_without_is_refused_and_it_goes_on(attempt: str) -> None:
    done = confined(f"leave({attempt} == -1 and ctypes.get_errno() == errno.EACCES)")
    assert done.returncode == 7, done.stderr


# Each layer is there, or the cell does not start


@pytest.mark.parametrize(
    ("option", "layer"), [(38, "no new privileges"), (1, "death signal"), (22, "system call filter")]
)
def test_a_layer_that_the_kernel_refuses_refuses_the_start_and_is_named(option: int, layer: str) -> None:
    refuse = (
        "prctl = confinement._libc.prctl\n"
        "class Refusing:\n"
        "    @staticmethod\n"
        f"    def prctl(number, *rest): return -1 if number == {option} else prctl(number, *rest)\n"
        "confinement._libc = Refusing\n"
    )
    done = confined("os._exit(7)", before=refuse)
    assert done.returncode == 1
    assert f"ConfinementError: cannot set {layer}: " in done.stderr
    assert "--confinement off" in done.stderr


def test_a_filter_that_the_kernel_does_not_take_refuses_the_start() -> None:
    done = confined("os._exit(7)", before="confinement._program.length = 0\n")
    assert done.returncode == 1
    assert "ConfinementError: cannot set system call filter: Invalid argument" in done.stderr


def test_a_kernel_whose_filters_cannot_kill_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "_SECCOMP_GET_ACTION_AVAIL", 99)
    with pytest.raises(confinement.ConfinementError, match=r"no system call filter that kills: .*--confinement off"):
        confinement.Confinement(seccomp=True, memory_limit=None, cpu_seconds=None)
    confinement.Confinement(seccomp=False, memory_limit=None, cpu_seconds=None)


@pytest.mark.parametrize("memory", [None, 64 * MIB])
def test_address_space_and_data_have_the_limits_that_follow_from_the_memory_limit(memory: int | None) -> None:
    done = confined(
        "words = open('/proc/self/statm').read().split()\n"
        "size, data = int(words[0]) * 4096, int(words[5]) * 4096\n"
        "print(size, data, *(resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)))",
        seccomp=False,
        memory=memory,
    )
    size, data, space_limit, data_limit = map(int, done.stdout.split())
    if memory is None:
        assert (space_limit, data_limit) == (-1, -1)
    else:
        assert abs(data_limit - data - memory - confinement.DATA_HEADROOM_BYTES) < 8 * MIB
        assert abs(space_limit - size - memory - 2 * confinement.DATA_HEADROOM_BYTES) < 8 * MIB


def test_processor_time_has_a_limit_that_can_be_handled_and_one_that_cannot() -> None:
    done = confined("print(*resource.getrlimit(resource.RLIMIT_CPU))", seccomp=False, cpu=3)
    assert done.stdout == "3 4\n"


def test_a_process_that_computes_for_long_goes_on_at_a_lower_priority_and_one_that_does_not_keeps_its_own() -> None:
    watch = "begun = os.getpriority(os.PRIO_PROCESS, 0)\n"
    look = "short = os.getpriority(os.PRIO_PROCESS, 0)\n"
    start = "seconds = time.process_time() + 0.2\n"
    compute = "while time.process_time() < seconds: pass\n"
    tell = "print(begun, short, os.getpriority(os.PRIO_PROCESS, 0))"
    done = confined(look + start + compute + tell, seccomp=False, before=watch)
    begun, short, now = map(int, done.stdout.split())
    assert short == begun
    assert now == max(begun, LONG_NICENESS)
    assert confined(start + compute + "os._exit(7)").returncode == 7


@pytest.mark.parametrize(
    "attempt",
    [
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "socket.socket()",
        "socket.socketpair()",
        "os.kill(os.getppid(), 0)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "os.pidfd_open(os.getppid())",
        "os.dup(1)",
        "os.pipe()",
        "os.unlink('/nonexistent')",
        "os.mkdir('/nonexistent/x')",
        "os.rename('/nonexistent', '/nonexistent2')",
        "os.chdir('/')",
        "os.setuid(os.getuid())",
        "os.memfd_create('x')",
        "libc.ptrace(0, 0, 0, 0)",
        "libc.syscall(101, 0, 0, 0, 0)",
        "libc.syscall(56, 0, 0, 0, 0, 0)",
        "libc.syscall(435, 0, 0)",
        "libc.syscall(321, 0, 0, 0)",
        "libc.syscall(310, 1, 0, 0, 0, 0, 0)",
        "libc.syscall(425, 1, 0)",
        "libc.unshare(0)",
        "libc.mount(None, None, None, 0, None)",
        "libc.syscall(0x40000000 | 39)",
    ],
)
def test_a_forbidden_system_call_kills_the_process(attempt: str) -> None:
    done = confined(f"try:\n    {attempt}\nfinally:\n    os._exit(0)")
    assert done.returncode == -signal.SIGSYS


@pytest.mark.parametrize(
    "attempt",
    [
        "os.open('/etc/passwd', os.O_RDONLY)",
        "os.open('/tmp/codemode-test', os.O_RDWR | os.O_CREAT)",
        "os.stat('/etc/passwd')",
        "os.readlink('/etc/localtime')",
    ],
)
def test_a_file_that_the_engine_might_look_for_is_refused_softly(attempt: str) -> None:
    done = confined(f"try:\n    {attempt}\nexcept PermissionError:\n    os._exit(7)\nfinally:\n    os._exit(0)")
    assert done.returncode == 7


def test_limits_cannot_be_raised_again() -> None:
    done = confined(
        "try:\n    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))\n"
        "except OSError:\n    os._exit(7)\nfinally:\n    os._exit(0)"
    )
    assert done.returncode == 7


def test_there_is_no_core_dump_and_no_file_growth() -> None:
    done = confined(
        "limits = [resource.getrlimit(kind) for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE)]\n"
        "print(*limits, flush=True); os._exit(0)",
        seccomp=False,
    )
    assert done.stdout == "(0, 0) (0, 0)\n"


def test_privileges_cannot_be_gained() -> None:
    done = confined("os.write(1, open('/proc/self/status','rb').read()); os._exit(0)", seccomp=False)
    assert "NoNewPrivs:\t1" in done.stdout
    assert "Seccomp:\t0" in done.stdout


def test_memory_above_the_limit_cannot_be_had() -> None:
    more = 64 * MIB + confinement.DATA_HEADROOM_BYTES + MIB
    done = confined(
        f"try:\n    bytearray({more})\nexcept MemoryError:\n    os._exit(7)\nfinally:\n    os._exit(0)",
        memory=64 * MIB,
    )
    assert done.returncode == 7


def test_processor_time_above_the_limit_ends_the_process() -> None:
    done = confined("while True: pass", cpu=1)
    assert done.returncode == -signal.SIGXCPU


def test_a_process_whose_parent_is_another_ends_at_once() -> None:
    script = (
        "import os; from codemode_host.runtimes.cell.confinement import Confinement\n"
        "Confinement(seccomp=False, memory_limit=None, cpu_seconds=None).apply(1 << 30); os._exit(7)"
    )
    done = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert done.returncode == 0


def test_the_process_dies_with_its_parent() -> None:
    read_end, write_end = os.pipe()
    script = (
        "import os, time\n"
        "from codemode_host.runtimes.cell.confinement import Confinement\n"
        "parent = os.getpid()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    Confinement(seccomp=False, memory_limit=None, cpu_seconds=None).apply(parent)\n"
        f"    os.write({write_end}, b'confined')\n"
        "    time.sleep(1000)\n"
        "os.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", script], pass_fds=[write_end]) as parent:
        os.close(write_end)
        assert os.read(read_end, 8) == b"confined"
        parent.kill()
    # The pipe ends when its last writer is gone: the child, which nobody but the kernel has told to go.
    assert os.read(read_end, 1) == b""
    os.close(read_end)


def test_the_filter_says_no_to_every_number_that_it_does_not_list() -> None:
    program = confinement.seccomp_program()
    assert not set(confinement.ALLOWED.values()) & set(confinement.REFUSED.values())
    assert program[-8:] == (0x06).to_bytes(2, "little") + b"\0\0" + (0x8000_0000).to_bytes(4, "little")


def test_an_unknown_machine_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.uname", lambda: SimpleNamespace(machine="riscv64"))
    with pytest.raises(confinement.ConfinementError, match="--confinement off"):
        confinement.Confinement(seccomp=True, memory_limit=None, cpu_seconds=None)
