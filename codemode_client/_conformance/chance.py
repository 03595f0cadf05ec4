"""Conversations at random with a host process: the state machine of the test kit, from a seed."""

from __future__ import annotations

import time
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Final

from codemode_client._conformance.conversations import Trial
from codemode_client._conformance.findings import Finding
from codemode_client._conformance.process import HostProcess
from codemode_protocol.testing import Differs, HostUnderTest
from codemode_protocol.testing.host_machine import (
    HostMachine,
    run_host_machine,
)

NAME: Final = "random"
CONVERSATIONS: Final = 20
STEPS: Final = 30
"""As many steps each of them has, at most."""

SHRINK_SECONDS: Final = 10.0
"""How long a shorter conversation is looked for in which a host differs."""

_FINDING = Finding(
    NAME,
    "ok",
    "does what a model of it does, in conversations at random with several cells",
    "docs/protocol.md#what-happens-when",
)


class _Enough(BaseException):
    """Ends a search: Hypothesis lets it through, as it does with an interrupt."""


def converse_at_random(trial: Trial, seed: int) -> Finding:
    """Have conversations at random, and say what came of them: in the shortest one in which the host differs.

    Args:
        trial: Of the program.
        seed: Makes the same choices again.

    Raises:
        HostStartError: The program cannot be run.
    """
    if trial.given_up is not None:
        return _FINDING.not_tried(trial.given_up)
    with trial.threads(1) as pool:
        return pool.submit(_converse, trial, seed).result()


def _converse(trial: Trial, seed: int) -> Finding:
    shortest: Differs | None = None
    give_up_at = float("inf")

    class Machine(HostMachine):
        def start_host(self) -> HostUnderTest:
            if time.monotonic() >= give_up_at or trial.stopped:
                raise _Enough
            return trial.start()

        def stop_host(self, host: HostUnderTest) -> None:
            assert isinstance(host, HostProcess)
            trial.stop(host)

        def failing(self, differs: Differs) -> None:
            nonlocal shortest, give_up_at
            if shortest is None:
                give_up_at = time.monotonic() + SHRINK_SECONDS
            if shortest is None or len(differs.transcript) <= len(shortest.transcript):
                shortest = differs
            if differs.silent:  # to look for a shorter one would be to wait again and again
                raise _Enough

    note = f"seed {seed}"
    try:
        with TemporaryDirectory() as storage:
            run_host_machine(Machine, seed, conversations=CONVERSATIONS, steps=STEPS, storage=storage)
    except (_Enough, Differs):
        if shortest is None:
            raise
        return _FINDING.differing(shortest, note)
    return replace(_FINDING, note=note)
