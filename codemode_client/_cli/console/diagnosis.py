"""The checks of `codemode doctor` that need no host.

No check raises, and no dependency is imported, because it may be missing.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from codemode_protocol.limits import MIB, Limits

Status = Literal["ok", "info", "warn", "fail"]

DISTRIBUTION = "codemode-host"
OLDEST_PYTHON, FIRST_UNSUPPORTED_PYTHON = (3, 11), (3, 14)
OLDEST_GLIBC = (2, 31)
FEW_PROCESSES = 100
"""Warn below this number of processes that can still be started."""
FEW_DESCRIPTORS = 4096
"""The descriptors that a host needs for as many cells as its default limits allow."""
EXTRAS = {
    "mcp": (["mcp"], "`codemode mcp` and `--mcp`"),
    "otel": (["opentelemetry"], "traces"),
    "repl": (["prompt_toolkit", "pygments"], "the prompt of `codemode repl`"),
    "testing": (["hypothesis"], "`codemode conformance`"),
}


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    `status` is `warn` for what works badly, `fail` for what is necessary and does not work. `remedy` says what
    to do; None if nothing.
    """

    name: str
    status: Status
    found: str
    remedy: str | None = None


def look() -> Iterator[Finding]:
    """Yield the findings of all checks."""
    yield _python()
    yield from _platform()
    yield from _packages()
    yield _seccomp()
    yield _descriptors()
    yield _processes()
    yield _memory()
    yield from _extras()
    yield _terminal()


def _python() -> Finding:
    version = platform.python_version()
    if OLDEST_PYTHON <= sys.version_info[:2] < FIRST_UNSUPPORTED_PYTHON:
        return Finding("Python", "ok", f"{version} at {sys.executable}")
    return Finding("Python", "fail", version, "install it for Python 3.11, 3.12 or 3.13")


def _platform() -> Iterator[Finding]:
    system, machine = platform.system(), platform.machine()
    if (system, machine) == ("Linux", "x86_64"):
        yield Finding("platform", "ok", f"Linux {platform.release()} on x86_64")
    else:
        yield Finding("platform", "fail", f"{system} on {machine}", "the host runs on x86-64 Linux alone")
    library, version = platform.libc_ver()
    if library == "glibc" and _numbers(version) >= OLDEST_GLIBC:
        yield Finding("C library", "ok", f"glibc {version}")
    else:
        found = f"{library or 'not glibc'} {version}"
        yield Finding("C library", "fail", found, "use a system with glibc 2.31 or newer")


def _packages() -> Iterator[Finding]:
    try:
        own = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        yield Finding(DISTRIBUTION, "warn", "not installed, run from its source", f"pip install {DISTRIBUTION}")
        return
    yield Finding(DISTRIBUTION, "ok", own.version)
    for requirement in own.requires or []:
        match = re.match(r"([\w.-]+)\s*(==|>=)\s*([\w.]+)\s*$", requirement)
        if match is None:  # a requirement of an extra
            continue
        name, relation, wanted = match.groups()
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "fail", "not installed", f"pip install '{name}{relation}{wanted}'")
            continue
        good = version == wanted if relation == "==" else _numbers(version) >= _numbers(wanted)
        if good:
            yield Finding(name, "ok", version)
        else:
            yield Finding(name, "fail", f"{version}, {relation} {wanted} is needed", f"pip install '{requirement}'")


def _seccomp() -> Finding:
    available = _read("/proc/sys/kernel/seccomp/actions_avail")
    remedy = "use a kernel with CONFIG_SECCOMP_FILTER; without it only `codemode-host --confinement off` runs cells"
    if available is None:
        return Finding("seccomp", "warn", "the kernel does not say what it has", remedy)
    if "kill_process" not in available.split():
        return Finding("seccomp", "fail", f"the kernel has {available.strip()}, not kill_process", remedy)
    status = _read("/proc/self/status") or ""
    filtered = ", below a filter of the container" if re.search(r"^Seccomp:\s*2", status, re.MULTILINE) else ""
    return Finding("seccomp", "ok", f"the kernel can end a process at a forbidden call{filtered}")


def _descriptors() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft}, which the host raises to {hard}"
    if 0 <= hard < FEW_DESCRIPTORS:
        remedy = f"raise the hard limit to {FEW_DESCRIPTORS} (ulimit -Hn, LimitNOFILE=, --ulimit nofile=)"
        return Finding("descriptors", "warn", found, f"{remedy}, or give fewer cells with `codemode-host --cells`")
    return Finding("descriptors", "ok", found)


def _processes() -> Finding:
    rooms = [room for room in (_own_processes_left(), _room("pids.max", "pids.current")) if room is not None]
    if not rooms:
        return Finding("processes", "ok", "not limited")
    room = min(rooms)
    found = f"{room} more can be started, and each cell is one"
    if room >= FEW_PROCESSES:
        return Finding("processes", "ok", found)
    remedy = "raise the limit (ulimit -u, TasksMax=, --pids-limit), or end what is not needed"
    return Finding("processes", "fail" if room < 8 else "warn", found, remedy)


def _own_processes_left() -> int | None:
    """Return how many more processes and threads this user may start; None if unlimited."""
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if limit == resource.RLIM_INFINITY or os.geteuid() == 0:
        return None
    used = 0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and folder.stat().st_uid == os.geteuid():
                used += len(os.listdir(folder / "task"))
        except OSError:
            continue  # the process has ended
    return max(limit - used, 0)


def _memory() -> Finding:
    limit = Limits().memory_bytes
    assert limit is not None
    rooms = [room for room in (_memory_available(), _room("memory.max", "memory.current")) if room is not None]
    if not rooms:
        return Finding("memory", "warn", "the system does not say how much is available", "mount /proc")
    found = f"{min(rooms) // MIB} MiB available, {limit // MIB} MiB is what one cell may fill"
    if min(rooms) < 2 * limit:
        remedy = "give the host more memory, or cells less (`codemode-host --memory-mib`)"
        return Finding("memory", "warn", found, remedy)
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if space != resource.RLIM_INFINITY:
        found += f", with an address space of {space // MIB} MiB"
        return Finding("memory", "warn", found, "lift the limit of the address space (ulimit -v unlimited)")
    return Finding("memory", "ok", found)


def _memory_available() -> int | None:
    match = re.search(r"^MemAvailable:\s*(\d+) kB", _read("/proc/meminfo") or "", re.MULTILINE)
    return int(match[1]) * 1024 if match is not None else None


def _room(limit: str, current: str) -> int | None:
    """Return what the control groups of this process leave of a resource; None if they do not limit it."""
    match = re.search(r"^0::/(.*)$", _read("/proc/self/cgroup") or "", re.MULTILINE)
    if match is None:
        return None
    top = Path("/sys/fs/cgroup")
    group = top / match[1]
    rooms = []
    for folder in [group, *group.parents]:
        if not folder.is_relative_to(top):
            break
        most, used = _read(folder / limit), _read(folder / current)
        if most is not None and used is not None and most.strip().isdigit():
            rooms.append(max(int(most) - int(used), 0))
    return min(rooms, default=None)


def _extras() -> Iterator[Finding]:
    for extra, (modules, purpose) in EXTRAS.items():
        if all(find_spec(module) is not None for module in modules):
            yield Finding(f"extra {extra}", "ok", f"installed, for {purpose}")
        else:
            remedy = f"pip install '{DISTRIBUTION}[{extra}]'"
            yield Finding(f"extra {extra}", "info", f"not installed, for {purpose}", remedy)


def _terminal() -> Finding:
    encoding = sys.stdout.encoding or "unknown"
    if encoding.lower().replace("-", "") != "utf8":
        remedy = "choose a UTF-8 locale (LC_ALL=C.UTF-8), or set PYTHONUTF8=1"
        return Finding("terminal", "warn", f"output is in {encoding}, which cannot show every character", remedy)
    kind = f"a terminal ({os.environ.get('TERM', 'TERM is not set')})" if sys.stdout.isatty() else "no terminal"
    return Finding("terminal", "ok", f"{kind}, output is in UTF-8")


def _read(path: str | Path) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, for comparison."""
    return tuple(map(int, re.findall(r"\d+", re.match(r"[\d.]*", version)[0])))  # type: ignore[index]
