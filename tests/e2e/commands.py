"""`codemode` as a person runs it: the real program in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.processes import list_children

ROOT = Path(__file__).resolve().parents[2]
CODEMODE = [sys.executable, "-m", "codemode_client.cli"]
CTRL_C_IGNORED = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]
"""Becomes the command that follows, as a script's `&` starts it: Ctrl-C in the terminal is not for it."""

TOOLS = '''
from codemode_client import Toolbox
from codemode_protocol.errors import ToolError

toolbox = Toolbox()

@toolbox.tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b

def shout(text: str) -> str:
    """Say it louder."""
    return text.upper()

functions = [shout]
nothing = 5
'''


def make_environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def run_codemode(
    folder: Path, *arguments: str, stdin: str = "", timeout: float = 60, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CODEMODE, *arguments],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=make_environment(**more),
    )


def install(folder: Path, **programs: str) -> None:
    """Put programs into the folder's `bin`, by the arguments for Python that they stand for."""
    (folder / "bin").mkdir()
    for name, arguments in {"codemode": f"-m {CODEMODE[-1]}", "codemode-host": "-m codemode_host", **programs}.items():
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        program.chmod(0o755)


def run_shell(folder: Path, command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A line as it is typed, with `bin` first on the path and nothing to read; all that it writes is its output."""
    env = make_environment(**more)
    env["PATH"] = f"{folder / 'bin'}:{env['PATH']}"
    return subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
        env=env,
    )


@contextmanager
def start_codemode(folder: Path, *arguments: str, before: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """The program with pipes, in a process group of its own; ended with the block. `before` becomes it."""
    process = subprocess.Popen(
        [*before, *CODEMODE, *arguments],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        env=make_environment(),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def find_host(pid: int) -> int:
    """The process number of the host that a running `codemode` has started."""
    hosts = [child for child in list_children(pid) if b"codemode_host" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(hosts) == 1, hosts
    return hosts[0]
