"""Moves machine code to huge pages, which a fork inherits.

A forked process maps the pages of a library's code a few at a time, as it first executes them: some hundred page faults
for the engine in each cell, half a millisecond. Mappings of anonymous memory are inherited. So the engine's code is
copied into anonymous memory that replaces the file's at the same addresses, in huge pages of two mebibytes, so few that
they hardly slow down a fork.
"""

from __future__ import annotations

import ctypes

HUGE = 2 * 1024 * 1024

_PROT_READ, _PROT_WRITE, _PROT_EXEC = 1, 2, 4
_MAP_PRIVATE, _MAP_ANONYMOUS = 2, 32
_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25


def use_huge_pages(library: str) -> int:
    """Move the code of the loaded libraries whose file name starts with `library` to huge pages.

    If the kernel has no huge pages available, nothing is changed. Only for a process with one thread, which must not
    execute that code meanwhile.

    Returns:
        The number of bytes moved.
    """
    libc = ctypes.CDLL(None)
    libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
    changed = 0
    for start, end in _code(library):
        size = end - start
        got = libc.mmap(
            None, ctypes.c_size_t(size + HUGE), _PROT_READ | _PROT_WRITE, _MAP_PRIVATE | _MAP_ANONYMOUS, -1, 0
        )
        if got == ctypes.c_void_p(-1).value:
            break
        copy = (got + HUGE - 1) // HUGE * HUGE
        ready = libc.madvise(ctypes.c_void_p(copy), ctypes.c_size_t(size), _MADV_HUGEPAGE) == 0
        if ready:
            ctypes.memmove(copy, start, size)
            ready = (
                # It returns only once every page is a huge one.
                libc.madvise(ctypes.c_void_p(copy), ctypes.c_size_t(size), _MADV_COLLAPSE) == 0
                and libc.mprotect(ctypes.c_void_p(copy), ctypes.c_size_t(size), _PROT_READ | _PROT_EXEC) == 0
                and libc.mremap(
                    ctypes.c_void_p(copy),
                    ctypes.c_size_t(size),
                    ctypes.c_size_t(size),
                    _MREMAP_MAYMOVE | _MREMAP_FIXED,
                    ctypes.c_void_p(start),
                )
                == start
            )
        if ready:
            changed += size
        else:
            libc.munmap(ctypes.c_void_p(copy), ctypes.c_size_t(size))
        libc.munmap(ctypes.c_void_p(got), ctypes.c_size_t(copy - got))
        libc.munmap(ctypes.c_void_p(copy + size), ctypes.c_size_t(got + HUGE - copy))
    return changed


def _code(library: str) -> list[tuple[int, int]]:
    """Return the address ranges of the libraries' code that fill whole huge pages.

    Constants may share the first page and become executable with it, but not writable.
    """
    found: list[tuple[int, int]] = []
    before = (0, "")  # the end of the constants right before, and their file
    constants = 0
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            fields = line.rstrip("\n").split(None, 5)
            low, _, high = fields[0].partition("-")
            start, end = int(low, 16), int(high, 16)
            path = fields[5] if len(fields) > 5 else ""
            if fields[1] == "r--p" and path:
                if before != (start, path):
                    constants = start
                before = (end, path)
            elif fields[1] == "r-xp" and path.rpartition("/")[2].startswith(library):
                lowest = constants if before == (start, path) else start
                first = max((lowest + HUGE - 1) // HUGE, start // HUGE) * HUGE
                last = end // HUGE * HUGE
                if first < last:
                    found.append((first, last))
    return found
