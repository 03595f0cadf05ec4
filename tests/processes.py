"""Which processes are there, as the kernel tells it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def list_children(pid: int) -> list[int]:
    """List a process's children, those that ended but were not reaped among them; none where there is no such process.

    Asked of the process itself: looking through all of `/proc` costs more than many a test.
    """
    children: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):  # a thread that has ended meanwhile
                children += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return children


def list_descriptors() -> dict[int, str]:
    """This process's open descriptors, and what each leads to."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # the one that the listing itself had open
    return found
