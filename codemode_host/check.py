"""`codemode-host --check`: try on this machine everything that the host promises about its cells."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
from collections.abc import Callable

import trio
from msgspec import Raw

from codemode_host.inprocess import InProcessSessionProvider
from codemode_host.runtimes import link
from codemode_host.runtimes.cell.confinement import Confinement, ConfinementError
from codemode_host.runtimes.host_side.memory_group import MemoryGroup
from codemode_protocol.errors import HostStartError, describe_exit_status
from codemode_protocol.limits import MEMORY_MET, MIB, Limits
from codemode_protocol.values import ExecuteRequest, InputText, Result, ToolInvocation

_MEMORY_MIB = 64

# Forbidden system calls of x86-64, with harmless arguments.
_FORBIDDEN = {
    "start a process": (57,),
    "run a program": (59, 0, 0, 0),
    "open a socket": (41, 1, 1, 0),
    "signal another process": (62, 1, 0),
    "trace a process": (101, 0, 0, 0, 0),
    "map shared memory": (9, 0, 4096, 3, 0x21, -1, 0),
}

_SOUND = """
let sum = 0; for (let i = 0; i < 3e6; i++) sum = (sum + i) % 1000003;
let kept = []; for (let i = 0; i < 2e5; i++) { kept.push({ i }); if (kept.length > 1e4) kept = []; }
await new Promise((resolve) => setTimeout(resolve, 1));
text([sum, /^(a|b)*c$/.test("abababc"), new Intl.NumberFormat("de-DE").format(1234.5)].join(" "));
"""
_SOUND_OUTPUT = "45 true 1.234,5"


_OPTIONAL_LAYERS = {
    link.READY_UNPRIVILEGED: "cells are not root and have no capabilities",
    link.READY_NAMESPACES: "cells have no network, and shared memory and mounts of their own (namespaces)",
    link.READY_LANDLOCK: "cells cannot use files (Landlock)",
}
"""Behind the filter; a kernel or a container may refuse them."""


def _control_group() -> str:
    what = "the memory of all cells together can be limited (a control group, for --total-memory-mib)"
    try:
        MemoryGroup.create(MIB).remove()
    except OSError as error:
        return f"not here {what}: {error.strerror}"
    return f"ok       {what}"


class _EchoDelegate:
    async def invoke_tool(self, invocation: ToolInvocation) -> Raw:
        return invocation.input

    async def notify(self, call_id: str, cell_id: str, text: str) -> None: ...

    def cell_closed(self, cell_id: str) -> None: ...


def check(*, confined: bool) -> int:
    """Print a line for each check. Return 0, or 1 if something is missing that no flag turns off."""
    lines: list[tuple[bool, str]] = []

    def note(good: bool, what: str) -> None:
        lines.append((good, what))
        sys.stdout.write(f"{'ok     ' if good else 'MISSING'}  {what}\n")
        sys.stdout.flush()

    sys.stdout.write(f"Python {platform.python_version()}, Linux {platform.release()} on {platform.machine()}\n")
    if confined:
        _check_confinement(note)
    else:
        sys.stdout.write("off      confinement (--confinement off)\n")
    try:
        trio.run(_check_cells, note, confined)
    except* HostStartError as group:
        note(False, f"the engine: {group.exceptions[0]}")
    return 0 if all(good for good, _ in lines) else 1


def _check_confinement(note: Callable[[bool, str], None]) -> None:
    try:
        confinement = Confinement(seccomp=True, memory_limit=None, cpu_seconds=None)
    except ConfinementError as error:
        note(False, f"system call filter: {error}")
        return
    for what, call in _FORBIDDEN.items():
        status = _in_confined_child(confinement, call)
        note(status == -signal.SIGSYS, f"a cell cannot {what}: {describe_exit_status(status)}")
    status = _in_confined_child(confinement, (257, -100, b"/etc/passwd", 0))
    ending = os.strerror(status) if status > 0 else describe_exit_status(status)
    note(status == 13, f"a cell cannot open a file: {ending}")


def _in_confined_child(confinement: Confinement, call: tuple[int | bytes, ...]) -> int:
    """Make a system call in a confined process and return its exit status: the error number, 0 for success."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        status = 255
        try:
            confinement.apply(parent)
            failed = libc.syscall(*(ctypes.c_long(part) if isinstance(part, int) else part for part in call)) < 0
            status = ctypes.get_errno() if failed else 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def _check_cells(note: Callable[[bool, str], None], confined: bool) -> None:
    limits = Limits(memory_bytes=_MEMORY_MIB * MIB)
    async with InProcessSessionProvider(limits, confined=confined) as provider:
        session = await provider.open_session(_EchoDelegate())

        async def run(source: str) -> Result | None:
            response = await (await session.execute(ExecuteRequest("check", [], source))).initial_response()
            return response if isinstance(response, Result) else None

        sound = await run(_SOUND)
        flags = provider.pool.flags
        note(bool(flags & link.READY_SINGLE_THREADED), "the engine is single-threaded, so that forks of it are sound")
        note(bool(flags & link.READY_NATIVE_JOBS), "promise jobs run in the engine's own queue")
        for flag, what in _OPTIONAL_LAYERS.items():
            sys.stdout.write(f"{'ok      ' if flags & flag else 'not here'} {what}\n")
        sys.stdout.write(f"{_control_group()}\n")
        good = sound is not None and sound.content_items == [InputText(_SOUND_OUTPUT)] and sound.error_text is None
        note(good, "a forked runtime compiles, collects garbage, waits and knows locales")
        full = await run("const all = []; for (;;) all.push(new Uint8Array(1e6).fill(1));")
        expected = MEMORY_MET(limit=_MEMORY_MIB)
        note(full is not None and full.error_text == expected, f"a cell's memory is limited: {expected}")
        after = await run("text(1)")
        note(after is not None and after.error_text is None, "another cell goes on after that")
