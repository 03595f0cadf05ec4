"""The loops and plain calls: one interface, one program, and real programs that get a real Ctrl-C."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import codemode_client
from codemode_client import blocking
from codemode_client._blocking.thread import ABANDONED_SECONDS
from tests.processes import list_children

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 30.0

INTERNAL = {
    "CodeModeProvider": {"connect", "host_gone", "loop"},
    "Session": {"keep", "open"},
    "StartedCell": {"keep_initial_response"},
    "ModelTools": set[str](),
}
"""What the async classes have for one another, and not for callers."""
MADE_BY_OTHERS = {"Session", "StartedCell"}
"""Callers do not construct these."""


# One interface


def list_interface(cls: type, internal: set[str]) -> dict[str, object]:
    """A class's public names: parameters of methods, None for what is no method."""
    found: dict[str, object] = {}
    for name in dir(cls):
        member = inspect.getattr_static(cls, name)
        # Slots and attributes that `__init__` sets are in the instances, not here.
        if not name.startswith("_") and name not in internal and not inspect.ismemberdescriptor(member):
            found[name] = list_parameters(member) if inspect.isfunction(member) else None
    return found


def list_parameters(function: object) -> list[tuple[str, object, object, object]]:
    assert callable(function)
    return [
        (one.name, one.kind, one.default, one.annotation) for one in inspect.signature(function).parameters.values()
    ]


def is_async(cls: type, name: str) -> bool:
    return inspect.iscoroutinefunction(getattr(cls, name))


@pytest.mark.parametrize("name", list(INTERNAL))
def test_plain_calls_have_the_same_names_and_parameters(name: str) -> None:
    awaited: type = getattr(codemode_client, name)
    plain: type = getattr(blocking, name)
    expected = list_interface(awaited, INTERNAL[name])
    if name == "CodeModeProvider":
        expected["closed"] = None  # which the async one sets for itself
    assert list_interface(plain, set()) == expected
    if name not in MADE_BY_OTHERS:
        assert list_parameters(plain) == list_parameters(awaited)
    assert not any(is_async(plain, method) for method, found in expected.items() if found is not None)


def test_plain_calls_export_what_differs() -> None:
    assert blocking.__all__ == sorted([*INTERNAL, "Toolbox"])
    assert blocking.Toolbox is codemode_client.Toolbox


# One program

STYLES = ("trio", "asyncio", "blocking")


def find_example(style: str) -> Path:
    return ROOT / "examples" / f"callers_{style}.py"


def read_plain_source(style: str) -> str:
    """An example without what may differ: its docstring, imports, awaits, and how `main` is run."""
    source = find_example(style).read_text(encoding="utf-8")
    source = source.partition('"""\n\n')[2]
    source = re.sub(r"^(import|from) .*\n", "", source, flags=re.MULTILINE)
    source = re.sub(r"\bawait (?!tools\.|Promise\.)", "", source)
    source = re.sub(r"\basync ", "", source)
    source = re.sub(r"(trio|asyncio)\.run\(main(\(\))?\)", "main()", source)
    return source.strip()


def test_the_examples_differ_in_imports_and_awaits_alone() -> None:
    assert read_plain_source("trio") == read_plain_source("asyncio") == read_plain_source("blocking")
    assert "session.run(" in read_plain_source("blocking")


def test_the_examples_say_the_same() -> None:
    said = {
        style: subprocess.run(
            [sys.executable, find_example(style)], capture_output=True, text=True, check=True, timeout=60
        ).stdout
        for style in STYLES
    }
    assert said["trio"].splitlines() == ["Oslo: 37.4 °F", "Rome: 64.4 °F", "one", "two", "completed", "20"]
    assert said["asyncio"] == said["blocking"] == said["trio"]


PAGE = (ROOT / "docs" / "callers.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL))
def test_every_program_of_the_documentation_runs(block: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


# Real programs, real signals

PROLOGUE = """
import asyncio, contextlib, sys, threading, time
from codemode_client import CodeModeProvider, Toolbox, blocking
from codemode_protocol.errors import SessionClosedError
from codemode_protocol.values import ExecuteRequest, WaitRequest

toolbox = Toolbox(on_notify=lambda text: print(text, flush=True))

@toolbox.tool
def stuck() -> None:
    "A tool that nothing ends."
    print("ready", flush=True)
    time.sleep(1000)

@toolbox.tool
async def endless() -> None:
    "A tool that a cancellation ends."
    await asyncio.sleep(1000)

SPIN = "notify('ready'); while (true) {}"

def started(session, source=SPIN, yield_ms=600_000):
    return session.execute(ExecuteRequest("call", toolbox.definitions, source, yield_ms))
"""

BLOCKING = """
with blocking.CodeModeProvider() as provider, provider.session(toolbox) as session:
    try:
        %s
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        raise
"""

ASYNCIO = """
async def main():
    async with CodeModeProvider() as provider, provider.session(toolbox) as session:
        try:
            %s
        except asyncio.CancelledError:
            print("interrupted", flush=True)
            raise

asyncio.run(main())
"""

CALLS = {
    "run": "WAIT session.run(SPIN)",
    "initial_response": "cell = WAIT started(session); WAIT cell.initial_response()",
    "wait": (
        "cell = WAIT started(session, SPIN, 0); WAIT cell.initial_response(); "
        "WAIT session.wait(WaitRequest(cell.cell_id, 600_000))"
    ),
    "endless tool": "WAIT session.run(\"notify('ready'); await tools.endless()\", toolbox.definitions)",
}


WAITING_CALLS = {"202", "232", "281"}
"""Of x86-64: futex, epoll_wait, epoll_pwait."""


class Program:
    """A program that was started, and what it left or did not leave."""

    def __init__(self, source: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROLOGUE + source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={key: value for key, value in os.environ.items() if key != "CODEMODE_TEST_HOST"},
        )
        self.processes: set[int] = set()

    def expect(self, line: str) -> None:
        """Read the program's next line; every process that it has then is remembered."""
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], PATIENCE_SECONDS)
        assert readable, f"no word of {line!r}"
        said = self.process.stdout.readline()
        assert said == line + "\n", said + (self.process.communicate()[1] if not said else "")
        self.processes |= list_descendants(self.process.pid)

    def go_on(self) -> None:
        """Let it read a line."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def interrupt(self) -> None:
        """Ctrl-C. A signal that comes just before the interpreter goes to wait is seen when it wakes: so not then."""
        deadline = time.monotonic() + 1.0
        syscall = Path(f"/proc/{self.process.pid}/syscall")
        while self.process.poll() is None and time.monotonic() < deadline:
            if syscall.read_text().split()[0] in WAITING_CALLS:
                break
            time.sleep(0.001)
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """Wait for its end, and for that of its processes; its status and what it wrote on standard error."""
        _, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        deadline = time.monotonic() + 2.0
        while (left := [pid for pid in self.processes if is_running(pid)]) and time.monotonic() < deadline:
            time.sleep(0.005)
        assert left == []
        return self.process.returncode, errors

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def run_program(source: str) -> Iterator[Program]:
    running = Program(source)
    try:
        yield running
    finally:
        running.kill()


def list_descendants(pid: int) -> set[int]:
    children = list_children(pid)
    return {*children, *(below for child in children for below in list_descendants(child))}


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended; one that waits to be reaped has."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("call", list(CALLS))
def test_ctrl_c_ends_a_blocking_call_the_host_and_the_program(call: str) -> None:
    with run_program(BLOCKING % CALLS[call].replace("WAIT ", "")) as running:
        running.expect("ready")
        assert len(running.processes) >= 2  # a host and what it has started
        begin = time.monotonic()
        running.interrupt()
        running.expect("interrupted")
        assert time.monotonic() - begin < ABANDONED_SECONDS  # it came to its end, and was not given up
        status, errors = running.end()
    assert status == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize("call", list(CALLS))
def test_ctrl_c_ends_a_call_under_asyncio_run_the_host_and_the_program(call: str) -> None:
    with run_program(ASYNCIO % CALLS[call].replace("WAIT", "await")) as running:
        running.expect("ready")
        running.interrupt()
        running.expect("interrupted")
        status, errors = running.end()
    assert status == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "was never" not in errors
    assert "Task was destroyed" not in errors


def test_a_second_ctrl_c_leaves_a_tool_that_nothing_ends() -> None:
    source = BLOCKING % "session.run('await tools.stuck()', toolbox.definitions)"
    with run_program(source) as running:
        running.expect("ready")
        running.interrupt()
        running.expect("interrupted")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while running.process.poll() is None and time.monotonic() < deadline:
            running.interrupt()  # each one ends one wait: for the session, for the thread
            time.sleep(0.1)
        status, errors = running.end()
    assert status == -signal.SIGINT
    assert "KeyboardInterrupt" in errors


OPEN_AT_THE_END = {
    "a blocking provider": """
provider = blocking.CodeModeProvider()
provider.__enter__()
session = provider.open_session(toolbox)
cell = started(session, SPIN, 0)
""",
    "a blocking provider with a stuck tool": """
provider = blocking.CodeModeProvider()
provider.__enter__()
session = provider.open_session(toolbox)
started(session, "await tools.stuck()")
""",
    "a blocking provider in the middle of a thread's call": """
provider = blocking.CodeModeProvider()
provider.__enter__()
session = provider.open_session(toolbox)

def run():
    with contextlib.suppress(SessionClosedError):
        session.run(SPIN)

threading.Thread(target=run, daemon=True).start()
""",
    "an asyncio provider whose loop is closed": """
async def main():
    provider = CodeModeProvider()
    await provider.__aenter__()
    session = await provider.open_session(toolbox)
    await started(session, "notify('ready'); await tools.endless()")
    await asyncio.to_thread(sys.stdin.readline)  # the end of the loop ends the host: it is looked at before
    return provider, session

kept = asyncio.run(main())
""",
}


@pytest.mark.parametrize("what", list(OPEN_AT_THE_END))
def test_a_program_that_ends_with_an_open_provider_does_not_hang_and_leaves_nothing(what: str) -> None:
    source = OPEN_AT_THE_END[what] + "sys.stdin.readline()\n"
    with run_program(source) as running:
        running.expect("ready")
        assert len(running.processes) >= 2
        running.go_on()
        status, errors = running.end()
    assert (status, errors) == (0, "")


@pytest.mark.parametrize("style", ["asyncio", "blocking"])
def test_a_tool_that_ends_the_program_ends_it_and_its_host(style: str) -> None:
    call = "session.run('await tools.leave()', toolbox.definitions)"
    source = """
@toolbox.tool
async def leave() -> None:
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    raise SystemExit(3)
"""
    if style == "asyncio":
        source += ASYNCIO.replace("asyncio.CancelledError", "ZeroDivisionError") % f"await {call}"
    else:
        source += BLOCKING % call
    with run_program(source) as running:
        running.expect("ready")
        assert len(running.processes) >= 2
        running.go_on()
        status, errors = running.end()
    assert status == 3, errors
    assert "never retrieved" not in errors
