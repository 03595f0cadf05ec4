"""Configures what the C library does with freed memory.

By default it maps each large block separately and unmaps it as soon as it is freed. Every use then faults its pages in
again, about a microsecond for 4 KiB, which takes longer than encoding or decoding their content.
"""

from __future__ import annotations

import ctypes

from codemode_protocol.limits import MIB

KEPT_BYTES = 128 * MIB
"""The most free memory that is kept for reuse until `give_back_memory` is called."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * MIB  # the library's maximum


def keep_freed_memory() -> None:
    """Reuse freed memory before requesting more, in the whole process. Without glibc nothing changes."""
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def give_back_memory() -> None:
    """Return free memory to the system."""
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
