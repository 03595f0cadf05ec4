"""The system call filter, run here instruction by instruction as the kernel does: what it says to each call."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codemode_host.runtimes.cell import confinement

X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x0005000D

PROGRAM = list(struct.iter_unpack("<HBBI", confinement.seccomp_program()))
CHECKED = {"write", "read", "mmap", "mprotect", "mremap", "madvise", "setpriority", "futex", "clock_gettime"}
"""The calls whose arguments are looked at."""

PRIVATE, SHARED, FIXED, ANONYMOUS = 2, 1, 0x10, 0x20


def judge(number: int, *arguments: int, architecture: int = X86_64) -> int:
    """Return the filter's verdict on a system call."""
    data = struct.pack("<iIQ6Q", number, architecture, 0, *arguments, *(0,) * (6 - len(arguments)))
    at, value = 0, 0
    while True:
        code, if_true, if_false, operand = PROGRAM[at]
        at += 1
        match code:
            case 0x20:
                (value,) = struct.unpack_from("<I", data, operand)
            case 0x54:
                value &= operand
            case 0x06:
                return int(operand)
            case _:
                holds = {0x15: value == operand, 0x35: value >= operand, 0x45: value & operand != 0}[code]
                at += if_true if holds else if_false


def call(name: str, *arguments: int) -> int:
    return judge(confinement.ALLOWED[name], *arguments)


def test_the_lists_have_no_call_twice() -> None:
    assert not set(confinement.ALLOWED.values()) & set(confinement.REFUSED.values())
    assert set(confinement.ALLOWED) >= CHECKED


@given(st.integers(0, 1023) | st.integers(0, (1 << 31) - 1), st.tuples(*[st.integers(0, (1 << 64) - 1)] * 6))
def test_a_call_that_is_not_listed_kills_whatever_its_arguments(number: int, arguments: tuple[int, ...]) -> None:
    names = {number: name for name, number in confinement.ALLOWED.items()}
    verdict = judge(number, *arguments)
    if number in confinement.REFUSED.values():
        assert verdict == REFUSE
    elif number not in names:
        assert verdict == KILL
    elif names[number] not in CHECKED:
        assert verdict == ALLOW
    else:
        assert verdict in (ALLOW, KILL, REFUSE)


@pytest.mark.parametrize("architecture", [I386, AARCH64, 0])
def test_a_call_of_another_instruction_set_kills(architecture: int) -> None:
    for number in (*confinement.ALLOWED.values(), *confinement.REFUSED.values()):
        assert judge(number, 4, architecture=architecture) == KILL
        assert judge(number | 0x40000000, 4) == KILL


@pytest.mark.parametrize(("name", "descriptors"), [("read", {3}), ("write", {2, 4})])
def test_only_the_link_and_standard_error_are_read_and_written(name: str, descriptors: set[int]) -> None:
    for fd in range(64):
        assert call(name, fd) == (ALLOW if fd in descriptors else KILL)
    assert call(name, 0xFFFFFFFF) == KILL


@pytest.mark.parametrize(
    ("flags", "verdict"),
    [
        (PRIVATE | ANONYMOUS, ALLOW),
        (PRIVATE | ANONYMOUS | FIXED, ALLOW),
        (PRIVATE | ANONYMOUS | 0x4000, ALLOW),  # MAP_NORESERVE
        (SHARED | ANONYMOUS, KILL),
        (3 | ANONYMOUS, KILL),  # MAP_SHARED_VALIDATE
        (ANONYMOUS, KILL),
        (PRIVATE | ANONYMOUS | 0x100, KILL),  # MAP_GROWSDOWN
        (PRIVATE | ANONYMOUS | 0x2000, KILL),  # MAP_LOCKED
        (PRIVATE | ANONYMOUS | 0x40000, KILL),  # MAP_HUGETLB
        (PRIVATE | ANONYMOUS | 0x100000, KILL),  # MAP_FIXED_NOREPLACE
    ],
)
def test_only_memory_that_is_counted_is_mapped(flags: int, verdict: int) -> None:
    assert call("mmap", 0, 4096, 3, flags, 0xFFFFFFFF, 0) == verdict


@pytest.mark.parametrize(
    ("name", "arguments", "verdict"),
    [
        ("mprotect", (0, 4096, 5), ALLOW),
        ("mprotect", (0, 4096, 0x01000001), KILL),  # PROT_GROWSDOWN
        ("mprotect", (0, 4096, 0x02000001), KILL),  # PROT_GROWSUP
        ("mremap", (0, 4096, 8192, 0), ALLOW),
        ("mremap", (0, 4096, 8192, 1), ALLOW),
        ("mremap", (0, 4096, 8192, 3), KILL),  # MREMAP_FIXED
        ("mremap", (0, 4096, 8192, 5), KILL),  # MREMAP_DONTUNMAP
        ("madvise", (0, 4096, 4), ALLOW),  # MADV_DONTNEED
        ("madvise", (0, 4096, 100), REFUSE),  # MADV_HWPOISON
        ("madvise", (0, 4096, 21), REFUSE),  # MADV_PAGEOUT
        ("futex", (0, 0), ALLOW),
        ("futex", (0, 128 | 256 | 9), ALLOW),  # private, by the real-time clock
        ("futex", (0, 6), KILL),  # FUTEX_LOCK_PI
        ("futex", (0, 128 | 11), KILL),  # FUTEX_WAIT_REQUEUE_PI
        ("clock_gettime", (1,), ALLOW),
        ("clock_gettime", (0xFFFFFFF6,), REFUSE),  # of another process
        ("setpriority", (0, 0, 10), ALLOW),
        ("setpriority", (0, 1, 10), KILL),
        ("setpriority", (1, 0, 10), KILL),
        ("setpriority", (0, 0, 5), KILL),
        ("setpriority", (0, 0, 0), KILL),
        ("setpriority", (0, 0, 0xFFFFFFEC), KILL),
    ],
)
def test_arguments_are_as_the_engine_needs_them(name: str, arguments: tuple[int, ...], verdict: int) -> None:
    assert call(name, *arguments) == verdict
