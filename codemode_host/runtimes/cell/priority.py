"""A cell that computes for long goes on at a lower priority: short ones are answered as if it were not there.

After some processor time the kernel sends SIGPROF. The handler is machine code: Python's would have to wait for
JavaScript to end.
"""

from __future__ import annotations

import ctypes
import os
import struct

from codemode_host.runtimes.machine_code import MachineCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # what `signal` consists of, without the import of `enum`

SHORT_SECONDS = 0.004
"""Processor time that a cell may take at the priority that it begins with; most cells need less."""

LONG_NICENESS = 10
"""Of a cell that takes more. Not the lowest: beside a busy program it should still come to its end."""

_SIGPROF = 27


class LowerPriority:
    """The handler, which forked processes inherit; each sets the timer for itself."""

    def __init__(self) -> None:
        self._code = MachineCode(_lower_priority()) if os.uname().machine == "x86_64" else None
        self._there = self._code is not None and self._code.address is not None
        if self._code is not None and self._there:
            ctypes.CDLL(None).signal(_SIGPROF, ctypes.c_void_p(self._code.address))

    def after_short_time(self) -> None:
        """Have this process's priority lowered once it has computed for `SHORT_SECONDS`."""
        if self._there:
            _signal.setitimer(_signal.ITIMER_PROF, SHORT_SECONDS)


def _lower_priority() -> bytes:
    """Return x86-64 code for `setpriority(PRIO_PROCESS, 0, LONG_NICENESS)`."""
    return (
        b"\xb8" + struct.pack("<I", 141) + b"\x31\xff\x31\xf6\xba" + struct.pack("<I", LONG_NICENESS) + b"\x0f\x05\xc3"
    )
