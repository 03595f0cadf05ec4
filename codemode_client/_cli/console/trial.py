"""The checks of `codemode doctor` that run a host: its own check, and cells."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence

from codemode_client._cli.console.diagnosis import Finding
from codemode_client._session.provider import CodeModeProvider
from codemode_client._tools.toolbox import Toolbox
from codemode_protocol.errors import CodeModeError, first_cause
from codemode_protocol.values import InputText, Result

CHECK_SECONDS = 60.0
CELLS = 20
"""The number of cells for the median time."""

_SOURCE = "text(await tools.add({ a: 40, b: 2 }));"
_REMEDY = "run `codemode-host --check` for the whole of it, and see docs/operations.md"


def try_host(command: Sequence[str]) -> Iterator[Finding]:
    """Yield the findings of a host's own check and of running cells on it."""
    yield from _check(command)
    yield _cells(command)


def _check(command: Sequence[str]) -> Iterator[Finding]:
    name = "host's check"
    try:
        done = subprocess.run(
            [*command, "--check"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CHECK_SECONDS,
            check=False,
        )
    except OSError as error:
        yield Finding(name, "fail", f"{command[0]} cannot be run: {error.strerror}", "give another program with --host")
        return
    except subprocess.TimeoutExpired:
        yield Finding(name, "fail", f"it has not ended after {CHECK_SECONDS:g} s", _REMEDY)
        return
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    good = [what.strip() for word, _, what in lines if word == "ok"]
    missing = [what.strip() for word, _, what in lines if word == "MISSING"]
    off = [what.strip() for word, _, what in lines if word == "off"]
    absent = [what.removeprefix("here").strip() for word, _, what in lines if word == "not"]
    for what in missing:
        remedy = "see docs/security.md for what is needed, docs/operations.md for doing without"
        yield Finding(name, "fail", what, remedy)
    for what in off:
        yield Finding(name, "warn", f"off: {what}", "leave that flag out where scripts are not trusted")
    for what in absent:
        remedy = "a layer behind the others, which the kernel or the container does not give: docs/security.md"
        yield Finding("host's layers", "info", f"not here: {what}", remedy)
    if done.returncode != 0 and not missing:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        yield Finding(name, "fail", f"ended with status {done.returncode}: {last}", _REMEDY)
    elif not missing:
        layers = "" if absent or off else ", every layer of confinement among them"
        yield Finding(name, "ok", f"{len(good)} things that cells rely on were tried, and work{layers}")


def _cells(command: Sequence[str]) -> Finding:
    try:
        first, usual = asyncio.run(_measure(command))
    except BaseException as raised:
        cause = first_cause(raised)
        if not isinstance(cause, CodeModeError):
            raise
        return Finding("cells", "fail", str(cause).replace("\n", " "), _REMEDY)
    return Finding("cells", "ok", f"one that calls a tool takes {usual:.1f} ms, the first with its host {first:.0f} ms")


async def _measure(command: Sequence[str]) -> tuple[float, float]:
    """Measure the milliseconds until the first cell's end, and the median time of the following cells."""

    def add(a: int, b: int) -> int:
        return a + b

    toolbox = Toolbox([add])
    began = time.perf_counter()
    async with CodeModeProvider(command) as provider, provider.session(toolbox) as session:
        times = []
        for _ in range(CELLS + 1):
            response = await session.run(_SOURCE, toolbox.definitions)
            if not (isinstance(response, Result) and response.content_items == [InputText("42")]):
                raise CodeModeError(f"a cell that adds 40 and 2 with a tool answers {response}")
            times.append(time.perf_counter())
    took = [1000 * (after - before) for before, after in itertools.pairwise(times)]
    return 1000 * (times[0] - began), statistics.median(took)
