"""How the servers of this folder are reached: as programs of a configuration, and by HTTP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVERS = Path(__file__).parent


def plain(*options: str) -> dict[str, object]:
    return {"command": sys.executable, "args": [str(SERVERS / "plain.py"), *options]}


def bench(*options: str) -> dict[str, object]:
    return {"command": sys.executable, "args": [str(SERVERS / "bench.py"), *options]}


@contextmanager
def over_http(*words: str) -> Iterator[str]:
    """A bench server on loopback; its origin. `words` may be its port and its name."""
    command = [sys.executable, str(SERVERS / "bench.py"), "--http", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()
