"""What the C library does with memory that was freed.

Large blocks are asked of the system one by one by default, and given back as soon as they are free: each use of one
pays for its pages again, about a microsecond for 4 KiB, which is more than encoding or decoding what they hold.
"""

from __future__ import annotations

import ctypes

from codemode_protocol.limits import MIB

KEPT_BYTES = 128 * MIB
"""So much free memory may wait for its next use until `give_back_memory` is called."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * MIB  # the library takes no larger one


def keep_freed_memory() -> None:
    """Use freed memory again before asking for more. For a process of one's own; without glibc nothing changes."""
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def give_back_memory() -> None:
    """Give the system what is free."""
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
