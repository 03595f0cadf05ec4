"""The seed of a test run's random choices: `CODEMODE_TEST_SEED` sets it, and the header of a run prints it.

Without one each run draws its own, except under CI, where each run makes the same choices.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

VARIABLE = "CODEMODE_TEST_SEED"

# It stays in the environment for the processes that share the tests of this run.
SEED = int(os.environ.setdefault(VARIABLE, "0" if "CI" in os.environ else str(random.randrange(1 << 32))))


def one_in(count: int, cases: Sequence[T]) -> Sequence[T]:
    """Return one in so many of some expensive cases for this run, at least one; other runs have the others."""
    return cases[SEED % min(count, max(len(cases), 1)) :: count]
