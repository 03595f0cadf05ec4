"""New secrets for a forked process: what one cell finds out about its memory should not help the next.

A fork has the stack canary and the pointer guard of the process that it was forked from. Both lie behind the thread's
pointer and can be replaced, if no function that is under way has saved the old ones: so the rest of the process's life
happens in a function that never returns. What cannot be replaced is shared by all cells of a zygote: the addresses, and
Python's hash seed.
"""

from __future__ import annotations

import ctypes
import os

from codemode_host.runtimes.machine_code import MachineCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_X86_64 = bytes.fromhex("64488934252800000064488914253000000031d2ffe7")
"""mov %rsi,%fs:0x28; mov %rdx,%fs:0x30; xor %edx,%edx; jmp *%rdi"""

_Function = ctypes.PYFUNCTYPE(None)


class NewSecrets:
    """The machine code that replaces them, prepared before the fork."""

    def __init__(self) -> None:
        self._replace_and_jump: Callable[[object, int, int], None] | None = None
        self._function: Callable[[], NoReturn] | None = None
        self._run_function = _Function(self._run)
        if os.uname().machine != "x86_64":
            return  # elsewhere the canary is a variable that cannot be written any more
        page = MachineCode(_X86_64).address
        if page is not None:
            self._replace_and_jump = ctypes.PYFUNCTYPE(None, _Function, ctypes.c_uint64, ctypes.c_uint64)(page)

    def _run(self) -> None:
        assert self._function is not None
        self._function()

    def go_on(self, function: Callable[[], NoReturn]) -> None:
        """Replace the secrets, where that can be done, and call a function that must not return."""
        if self._replace_and_jump is None:
            function()
        else:
            # A canary's first byte is 0: a string that runs over ends before it.
            canary = int.from_bytes(b"\0" + os.urandom(7), "little")
            self._function = function
            self._replace_and_jump(self._run_function, canary, int.from_bytes(os.urandom(8), "little"))
