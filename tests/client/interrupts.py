"""Interrupting a plain call as Ctrl-C does it, in the moment that the test wants."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from codemode_client._blocking import thread as background


class Interrupted(BaseException):
    """What the signal of these tests raises, as Ctrl-C raises KeyboardInterrupt."""


@contextmanager
def interrupt_call(when: threading.Event) -> Iterator[None]:
    """Interrupt the call in the block by a signal: once `when` is set, and the call waits for its answer."""

    def handle(number: int, frame: object) -> None:
        raise Interrupted

    def interrupt() -> None:
        assert when.wait(30)
        while sys._current_frames()[main].f_code is not background.Call.wait.__code__:
            time.sleep(0.001)
        signal.pthread_kill(main, signal.SIGUSR1)

    main = threading.get_ident()
    previous = signal.signal(signal.SIGUSR1, handle)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(Interrupted):
            yield
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, previous)
