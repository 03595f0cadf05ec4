"""What the engine does when it cannot go on for want of memory: end its process, with a status that says so.

By itself it crashes, by a write to address 0, as it does when it is broken. A cell's limit and an engine panic would
look alike, and what tells them apart must be something that a script cannot bring about. So the functions that the
engine ends in for this reason alone, and no other, are overwritten in memory: with code that exits.

Do not touch this lightly: the functions are found by their exported names, and never return to their callers.
"""

from __future__ import annotations

import ctypes
import os
import struct

_FUNCTIONS = (
    "_ZN2js24AutoEnterOOMUnsafeRegion10crash_implEPKc",
    "_ZN2js24AutoEnterOOMUnsafeRegion10crash_implEmPKc",
    "_Z19mozalloc_handle_oomm",
    "_ZN3std5alloc8rust_oom17hda180eacbcfe9ee5E",
)
_SET_NEW_HANDLER = "_ZSt15set_new_handlerPFvvE"
_PROT_READ_EXEC, _PROT_READ_WRITE = 5, 3


class ExhaustionError(RuntimeError):
    """The engine's functions cannot be overwritten here."""


def exit_when_exhausted(library: ctypes.CDLL, status: int) -> None:
    """Have this process exit with `status` where the engine cannot go on without more memory.

    Raises:
        ExhaustionError: A function is not where it should be, or there is no such code for this machine.
    """
    code = _exit_code(status)
    address = 0
    for name in _FUNCTIONS:
        try:
            address = ctypes.cast(library[name], ctypes.c_void_p).value or 0
        except AttributeError as error:
            raise ExhaustionError(f"the engine's library does not export {name}") from error
        _overwrite(address, code)
    # PythonMonkey's own `new`, through the C++ library that it brought along.
    ctypes.CDLL("libstdc++.so.6")[_SET_NEW_HANDLER](ctypes.c_void_p(address))


def _overwrite(address: int, code: bytes) -> None:
    try:
        # This leaves the mapping in one piece, which can then be moved to huge pages as a whole.
        with open("/proc/self/mem", "r+b", 0) as memory:
            memory.seek(address)
            memory.write(code)
    except OSError:
        _overwrite_pages(address, code)
    if ctypes.string_at(address, len(code)) != code:
        raise ExhaustionError("the engine's code cannot be changed")


def _overwrite_pages(address: int, code: bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    first = address & -page_bytes
    length = ctypes.c_size_t((address + len(code) - first + page_bytes - 1) & -page_bytes)
    if libc.mprotect(ctypes.c_void_p(first), length, _PROT_READ_WRITE) != 0:
        raise ExhaustionError(f"the engine's code cannot be changed: {os.strerror(ctypes.get_errno())}")
    ctypes.memmove(address, code, len(code))
    libc.mprotect(ctypes.c_void_p(first), length, _PROT_READ_EXEC)


def _exit_code(status: int) -> bytes:
    """Return machine code for `exit_group(status)`."""
    machine = os.uname().machine
    if machine == "x86_64":
        return b"\xbf" + struct.pack("<I", status) + b"\xb8" + struct.pack("<I", 231) + b"\x0f\x05"
    raise ExhaustionError(f"no machine code for {machine}")
