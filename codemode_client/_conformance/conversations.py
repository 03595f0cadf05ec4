"""The conversations of the test kit with a host process each, several side by side."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from codemode_client._conformance.findings import Finding
from codemode_client._conformance.process import HostProcess
from codemode_protocol.testing import Conversation, Differs, play

MAX_SIDE_BY_SIDE = 4

MAX_SILENCES = 3
"""After so many conversations that took all the time there is, the others are not tried."""


class Trial:
    """One program, tried. What it is tried with is up to the caller."""

    def __init__(self, command: Sequence[str], patience: float) -> None:
        """Take note of a program, without running it.

        Args:
            command: The program and its arguments.
            patience: Seconds for each message, and for the host's end.
        """
        self._command = list(command)
        self.patience = patience
        self._running: set[HostProcess] = set()
        self._stopped = False
        self._lock = threading.Lock()
        self._silences = 0
        self.given_up: str | None = None
        """Why nothing more is tried."""

    def start(self) -> HostProcess:
        """Start a host; to be given to `stop`.

        Raises:
            HostStartError: The program cannot be run.
        """
        host = HostProcess(self._command, self.patience)
        with self._lock:
            self._running.add(host)
            stopped = self._stopped
        if stopped:
            host.interrupt()
        return host

    def stop(self, host: HostProcess) -> None:
        """Take a host away."""
        with self._lock:
            self._running.discard(host)
        host.close()

    def converse(self, conversations: Sequence[Conversation]) -> Iterator[Finding]:
        """Have conversations, and say in their order what came of each.

        The first one is had alone: with a host that it fails with the others are not tried.

        Raises:
            HostStartError: The program cannot be run.
        """
        with self.threads(min(MAX_SIDE_BY_SIDE, os.cpu_count() or 1)) as pool:
            for conversation in conversations[:1]:
                first = pool.submit(self._converse, conversation).result()
                yield first
                if first.outcome == "differs" and len(conversations) > 1:
                    self.given_up = f"the host has not passed {first.name}"
            for future in [pool.submit(self._converse, one) for one in conversations[1:]]:
                yield future.result()

    @contextlib.contextmanager
    def threads(self, count: int) -> Iterator[ThreadPoolExecutor]:
        """Have threads to start hosts in. When the block is left by an exception, what they wait for is given up.

        An interrupt reaches the main thread only: here none can part a host from the one who is to stop it.
        """
        pool = ThreadPoolExecutor(count)
        try:
            yield pool
        except BaseException:
            self._interrupt()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    @property
    def stopped(self) -> bool:
        """Whether everything is given up."""
        return self._stopped

    def _interrupt(self) -> None:
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for host in running:
            host.interrupt()

    def _converse(self, conversation: Conversation) -> Finding:
        finding = Finding(conversation.name, "ok", conversation.proves, conversation.rule)
        if self.given_up is not None:
            return finding.not_tried(self.given_up)
        host = self.start()
        try:
            play(conversation, host)
        except Differs as differs:
            if differs.silent:
                self._note_silence()
            return finding.differing(differs)
        finally:
            self.stop(host)
        return finding

    def _note_silence(self) -> None:
        """Count a conversation in which the host was waited for in vain."""
        with self._lock:
            self._silences += 1
            if self._silences >= MAX_SILENCES:
                self.given_up = f"the host was waited for in vain {self._silences} times"
