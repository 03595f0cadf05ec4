"""Machine code of ours: a few instructions for what neither Python nor JavaScript can do."""

from __future__ import annotations

import ctypes

_PROT_READ_WRITE, _PROT_READ_EXEC = 3, 5
_MAP_PRIVATE_ANONYMOUS = 34


class MachineCode:
    """A page of machine code of ours; None as its address where the kernel refuses it."""

    def __init__(self, code: bytes) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        self.address: int | None = None
        page = libc.mmap(None, ctypes.c_size_t(len(code)), _PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS, -1, 0)
        if page == ctypes.c_void_p(-1).value:
            return
        ctypes.memmove(page, code, len(code))
        if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(len(code)), _PROT_READ_EXEC) == 0:
            self.address = int(page)
