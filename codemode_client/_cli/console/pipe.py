"""Reads cells from a pipe, separated by blank lines that are not within a statement."""

from __future__ import annotations

import codecs
import os
from collections.abc import AsyncIterator
from functools import partial

from codemode_client._cli.commands import UsageError
from codemode_client._cli.console.javascript import is_complete
from codemode_client._loops.threads import Threads

_READ_BYTES = 65536


async def cells(descriptor: int = 0) -> AsyncIterator[str]:
    """Yield each cell as soon as its last line was read. Raises UsageError if the input is not UTF-8."""
    lines: list[str] = []
    async for line in _lines(descriptor):
        if line.strip():
            lines.append(line)
        elif lines:
            if is_complete("\n".join(lines)):
                yield "\n".join(lines)
                lines = []
            else:
                lines.append(line)
    if lines:
        yield "\n".join(lines)


async def _lines(descriptor: int) -> AsyncIterator[str]:
    decode = codecs.getincrementaldecoder("utf-8")().decode
    rest = ""
    reader = Threads(1)
    while True:
        # Not through sys.stdin, because a thread that still waits at exit must not hold its lock.
        data = await reader.run(partial(os.read, descriptor, _READ_BYTES))
        try:
            *lines, rest = (rest + decode(data, not data)).split("\n")
        except UnicodeDecodeError as error:
            raise UsageError(f"standard input is not UTF-8 text: {error}") from error
        for line in lines:
            yield line.removesuffix("\r")
        if not data:
            break
    if rest:
        yield rest
