"""`codemode-host --check`."""

from __future__ import annotations
from .runtimes.spawn import ZygoteOptions


def check(options: ZygoteOptions) -> int:
    return 0
