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

MIB = 1024 * 1024

PREAMBLE = """
import ctypes, os, signal, socket, sys
from codemode_host.runtimes.cell.confinement import Confinement
libc = ctypes.CDLL(None, use_errno=True)
SECRET = os.open("/proc/self/status", os.O_RDONLY)
import errno, resource
confinement = Confinement(seccomp={seccomp}, memory_limit={memory}, cpu_seconds={cpu})
confinement.apply(os.getppid())
"""


def confined(
    attempt: str, *, seccomp: bool = True, memory: int | None = None, cpu: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python source in a process that has confined itself."""
    script = PREAMBLE.format(seccomp=seccomp, memory=memory, cpu=cpu) + attempt
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path.cwd(),
    )


def test_what_a_cell_needs_still_works() -> None:
    done = confined("x = bytearray(50_000_000); os.write(2, b'fine'); os._exit(len(x) == 50_000_000 and 7)")
    assert (done.returncode, done.stderr) == (7, "fine")


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
        "os.write(1, b'x')",
        "os.read(0, 1)",
        "libc.mmap(None, 4096, 3, 0x21, -1, 0)",
        "libc.mmap(None, 4096, 3, 0x122, -1, 0)",
        "libc.mremap(None, 4096, 4096, 3, None)",
        "libc.setpriority(0, 1, 5)",
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


def test_an_unknown_machine_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.uname", lambda: SimpleNamespace(machine="riscv64"))
    with pytest.raises(confinement.ConfinementError, match="--confinement off"):
        confinement.Confinement(seccomp=True, memory_limit=None, cpu_seconds=None)
