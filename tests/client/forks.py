"""Calls in a fork of the test's process."""

from __future__ import annotations

import os
from collections.abc import Callable


def ask_in_fork(function: Callable[[], object]) -> str:
    """Call a function in a fork of this process, and return what its RuntimeError says; "" if it raises none.

    Forking with threads is a warning from Python 3.12 on, which the test must expect.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except RuntimeError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as said:
        answer = said.read()
    os.waitpid(pid, 0)
    return answer
