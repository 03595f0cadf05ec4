"""Confines a cell's process to what running JavaScript needs.

Runs in the forked child before it reads a user's source. The layers, from the outside in: it dies with the zygote, it
cannot gain privileges, it has no core dumps and no resources beyond its limits, no descriptors except its link and
standard error, and a seccomp filter that kills the process at any system call outside the list below.
`docs/security.md` explains what each layer guarantees.

The filter is assembled here because it is only a dozen instructions over a list of numbers, and no library is needed.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct

from codemode_host.runtimes.cell.priority import LONG_NICENESS, LowerPriority

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
_SYS_SECCOMP, _SECCOMP_GET_ACTION_AVAIL = 317, 2

_AUDIT_ARCH_X86_64 = 0xC000003E
_X32_SYSCALL_BIT = 0x4000_0000

# The x86-64 system calls of a traced runtime during compilation, garbage collection, regular expressions, dates and
# locales, plus those of the link and the allocator.
ALLOWED = {
    "read": 0,
    "write": 1,
    "poll": 7,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "rt_sigreturn": 15,
    "mremap": 25,
    "madvise": 28,
    "getpid": 39,
    "exit": 60,
    "gettimeofday": 96,
    "getrusage": 98,
    "gettid": 186,
    "time": 201,
    "setpriority": 141,
    "futex": 202,
    "clock_gettime": 228,
    "exit_group": 231,
    "getrandom": 318,
}
# System calls that return an error, which the engine handles.
REFUSED = {
    "stat": 4,
    "fstat": 5,
    "lstat": 6,
    "lseek": 8,
    "rt_sigaction": 13,
    "rt_sigprocmask": 14,
    "ioctl": 16,
    "access": 21,
    "sched_yield": 24,
    "readlink": 89,
    "prctl": 157,
    "sched_getaffinity": 204,
    "openat": 257,
    "newfstatat": 262,
    "readlinkat": 267,
    "prlimit64": 302,
}

_LD_ABS, _JEQ, _JGE, _JSET, _AND, _RET = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_RET_ALLOW = 0x7FFF_0000
_RET_KILL_PROCESS = 0x8000_0000
_RET_EACCES = 0x0005_0000 | 13
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGUMENTS = 0, 4, 16

READING_FD, WRITING_FD, STDERR_FD = 3, 4, 2
"""The only descriptors that a cell has: its ends of its link, and standard error."""

# Shared memory counts towards no limit, and memory that grows downwards, is locked or in huge pages towards none that
# holds. The engine uses none of them, and no address that must be free.
_MAP_KINDS_REFUSED = 0x1 | 0x100 | 0x2000 | 0x4_0000 | 0x10_0000
_MAP_PRIVATE = 0x2
_PROT_GROWS = 0x0100_0000 | 0x0200_0000
_MREMAP_MAYMOVE = 1
_MADVICE = (0, 1, 2, 3, 4, 8, 14, 15)
"""Access patterns, DONTNEED, FREE, HUGEPAGE and NOHUGEPAGE: none that concerns pages of other processes."""
_FUTEX_OPERATIONS = (0, 1, 3, 4, 5, 9, 10)
_FUTEX_FLAGS = 0x180
_CLOCKS = 12
"""Clock numbers below this are the machine's, the process's and the thread's; others name processes and devices."""


DATA_HEADROOM_BYTES = 1024 * 1024 * 1024
"""How much more memory a cell may allocate than it may fill. For example, to encode a string as JSON the engine
allocates six to twelve bytes a character and uses few of them."""


class ConfinementError(Exception):
    """A layer of the confinement cannot be applied; the message names it and says what to do."""


def supported() -> bool:
    """Return whether there is a filter for this machine's instruction set."""
    return os.uname().machine == "x86_64"


def seccomp_program() -> bytes:
    """Return the filter as a classic BPF program of 8 bytes an instruction."""
    program = [
        (_LD_ABS, 0, 0, _OFFSET_ARCH),
        (_JEQ, 1, 0, _AUDIT_ARCH_X86_64),
        (_RET, 0, 0, _RET_KILL_PROCESS),
        (_LD_ABS, 0, 0, _OFFSET_NUMBER),
        (_JGE, 0, 1, _X32_SYSCALL_BIT),
        (_RET, 0, 0, _RET_KILL_PROCESS),
    ]
    allow_any = (_RET, 0, 0, _RET_ALLOW)
    kill = (_RET, 0, 0, _RET_KILL_PROCESS)
    refuse = (_RET, 0, 0, _RET_EACCES)
    # The most frequent calls come first.
    program += _check("write", 0, [*_equal((WRITING_FD, STDERR_FD)), kill])
    program += _check("read", 0, [*_equal((READING_FD,)), kill])
    program += _check(
        "mmap", 3, [(_JSET, 0, 1, _MAP_KINDS_REFUSED), kill, (_JSET, 1, 0, _MAP_PRIVATE), kill, allow_any]
    )
    program += _check("mprotect", 2, [(_JSET, 0, 1, _PROT_GROWS), kill, allow_any])
    program += _check("mremap", 3, [(_JGE, 0, 1, _MREMAP_MAYMOVE + 1), kill, allow_any])
    program += _check("madvise", 2, [*_equal(_MADVICE), refuse])
    program += _check("futex", 1, [(_AND, 0, 0, ~_FUTEX_FLAGS & 0xFFFF_FFFF), *_equal(_FUTEX_OPERATIONS), kill])
    program += _check("clock_gettime", 0, [(_JGE, 0, 1, _CLOCKS), refuse, allow_any])
    lower = [
        part for index, value in ((1, 0), (2, LONG_NICENESS)) for part in (_load(index), (_JEQ, 1, 0, value), kill)
    ]
    program += _check("setpriority", 0, [(_JEQ, 1, 0, 0), kill, *lower, allow_any])
    numbers = [(number, _RET_ALLOW) for number in ALLOWED.values()]
    numbers += [(number, _RET_EACCES) for number in REFUSED.values()]
    for number, verdict in numbers:
        program.append((_JEQ, 0, 1, number))
        program.append((_RET, 0, 0, verdict))
    program.append(kill)
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def _check(name: str, argument: int, verdict: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Return instructions that judge a call by the lower half of an argument; each path must end in a return."""
    return [(_JEQ, 0, len(verdict) + 1, ALLOWED[name]), _load(argument), *verdict]


def _load(argument: int) -> tuple[int, int, int, int]:
    return _LD_ABS, 0, 0, _OFFSET_ARGUMENTS + 8 * argument


def _equal(allowed: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    return [part for value in allowed for part in ((_JEQ, 0, 1, value), (_RET, 0, 0, _RET_ALLOW))]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Confinement:
    """The confinement, prepared before the fork so that applying it takes few system calls.

    Args:
        seccomp: Whether to apply the system call filter.
        memory_limit: The memory that the process may fill, in bytes beyond what it has at the fork; None for no limit.
            Here it only bounds allocations (`DATA_HEADROOM_BYTES` more); the host watches the rest.
        cpu_seconds: The limit of processor time; None for no limit.

    Raises:
        ConfinementError: This machine has no system call filter.
    """

    def __init__(self, *, seccomp: bool, memory_limit: int | None, cpu_seconds: int | None) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
        self._memory_limit = memory_limit
        self._cpu_seconds = cpu_seconds
        self._lower_priority = LowerPriority()
        self._program: _Program | None = None
        if seccomp:
            remedy = "run with --confinement off to do without"
            if not supported():
                raise ConfinementError(f"no system call filter for {os.uname().machine}: {remedy}")
            if not self._filter_available():
                raise ConfinementError(f"the kernel has no system call filter that kills: {remedy}")
            code = seccomp_program()
            self._code = ctypes.create_string_buffer(code, len(code))
            self._program = _Program(len(code) // 8, ctypes.addressof(self._code))

    def _filter_available(self) -> bool:
        verdict = ctypes.c_uint32(_RET_KILL_PROCESS)
        return bool(self._libc.syscall(_SYS_SECCOMP, _SECCOMP_GET_ACTION_AVAIL, 0, ctypes.byref(verdict)) == 0)

    def apply(self, parent: int) -> None:
        """Apply all layers. `parent` is the pid of the process that forked this one."""
        self.apply_inherited()
        self.apply_own(parent)

    def apply_inherited(self) -> None:
        """Apply the layers that forked processes inherit; once, in the zygote."""
        self._prctl("no new privileges", PR_SET_NO_NEW_PRIVS, 1)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        if self._memory_limit is not None:
            space, data = _address_space_bytes()
            data += self._memory_limit + DATA_HEADROOM_BYTES
            _limit(resource.RLIMIT_DATA, data)
            # Bounds what counts towards the other limit no more: memory that is only read, and the tables of its pages.
            space += self._memory_limit + 2 * DATA_HEADROOM_BYTES
            _limit(resource.RLIMIT_AS, space)

    def apply_own(self, parent: int) -> None:
        """Apply the layers that each process needs for itself; the filter last, because it forbids the others."""
        self._prctl("death signal", PR_SET_PDEATHSIG, 9)
        if os.getppid() != parent:
            os._exit(0)
        self._lower_priority.after_short_time()
        if self._cpu_seconds is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (self._cpu_seconds, self._cpu_seconds + 1))
        if self._program is not None:
            self._prctl("system call filter", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(self._program))

    def _prctl(self, layer: str, option: int, argument: int, pointer: int = 0) -> None:
        if self._libc.prctl(option, argument, pointer, 0, 0) != 0:
            error = os.strerror(ctypes.get_errno())
            raise ConfinementError(f"cannot set {layer}: {error}; --confinement off does without confinement")


def _limit(kind: int, value: int) -> None:
    """Set a resource limit, or leave a lower one that the process has already."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _address_space_bytes() -> tuple[int, int]:
    """Return how much address space this process has, and how much of it counts towards RLIMIT_DATA, in bytes."""
    with open("/proc/self/statm", "rb") as file:
        words = file.read().split()
    return int(words[0]) * resource.getpagesize(), int(words[5]) * resource.getpagesize()
