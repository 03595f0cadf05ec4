"""What the client says to `logging`, and what it does not."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from msgspec import Raw

from codemode_client import CodeModeProvider
from codemode_client._observability.events import FIELDS
from codemode_protocol.errors import (
    HostLostError,
    HostStartError,
    HostUnavailableError,
    RequestFailedError,
    StaleCellError,
    ToolError,
)
from codemode_protocol.values import ExecuteRequest, ToolInvocation, WaitRequest
from tests.client.host_process import kill_host, require_host_pid
from tests.client.recorder import Recorder, define_tool

# The loops differ below sessions, where others prove it on each.
pytestmark = pytest.mark.loops("asyncio")

SECRET = "s3cr3t"


class Records(logging.Handler):
    """A handler that keeps the records."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.all.append(record)

    def find(self, words: str) -> logging.LogRecord:
        found = [record for record in self.all if words in record.getMessage()]
        assert len(found) == 1, [record.getMessage() for record in self.all]
        return found[0]

    def text(self) -> str:
        formatter = logging.Formatter("%(levelname)s %(name)s %(session)s %(cell)s %(message)s")
        return "\n".join(formatter.format(record) for record in self.all)


@contextmanager
def listening(level: int = logging.DEBUG) -> Iterator[Records]:
    """What the client's loggers say from a level on."""
    logger, handler = logging.getLogger("codemode_client"), Records()
    before = logger.level
    logger.setLevel(level)
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


async def test_the_life_of_a_host_a_session_and_a_cell_is_told_with_its_ids(host_command: list[str]) -> None:
    recorder = Recorder()
    with listening() as records:
        async with CodeModeProvider(host_command) as provider:
            async with provider.session(recorder, "mine") as session:
                cell = await session.execute(ExecuteRequest("call-7", [define_tool("echo")], "await tools.echo()"))
                await cell.initial_response()
                await recorder.until(lambda: recorder.closed)
            pid = require_host_pid(provider)
    assert [(record.levelname, record.name, record.getMessage()) for record in records.all] == [
        ("INFO", "codemode_client.host", f"host {pid} started: {host_command[0]}"),
        ("INFO", "codemode_client.host", f"host {pid} is ready"),
        ("DEBUG", "codemode_client.session", "session mine is open"),
        ("DEBUG", "codemode_client.cell", "session mine: cell 1 started"),
        ("DEBUG", "codemode_client.tool", "session mine: cell 1: tool echo was called"),
        ("DEBUG", "codemode_client.tool", "session mine: cell 1: tool echo has answered"),
        ("DEBUG", "codemode_client.cell", "session mine: cell 1 is over: completed"),
        ("DEBUG", "codemode_client.session", "session mine is closed"),
        ("INFO", "codemode_client.host", f"host {pid} ended, as it was asked to"),
    ]
    fields = [{name: getattr(record, name) for name in FIELDS} for record in records.all]
    none = dict.fromkeys(FIELDS)
    of_session = none | {"session": "mine", "generation": 1, "host_pid": pid}
    of_cell = of_session | {"cell": "1"}
    of_call = of_cell | {"tool": "echo", "call": "tool-1"}
    assert fields[0] == fields[1] == fields[8] == none | {"host_pid": pid}
    assert fields[2] == fields[7] == of_session
    assert fields[3] == of_cell | {"request": "call-7"}
    assert fields[4] == fields[5] == of_call
    assert fields[6] == of_cell


async def test_a_tools_own_exception_is_logged_with_its_traceback(host_command: list[str]) -> None:
    async def crash(_: ToolInvocation) -> Raw:
        raise ValueError("the reason")

    async def refuse(_: ToolInvocation) -> Raw:
        raise ToolError(f"not {SECRET}")

    recorder = Recorder(crash=crash, refuse=refuse)
    source = "await tools.crash().catch(() => {}); await tools.refuse().catch(() => {})"
    with listening(logging.INFO) as records:
        async with CodeModeProvider(host_command) as provider, provider.session(recorder, "mine") as session:
            await session.run(source, [define_tool("crash"), define_tool("refuse")])
    record = records.find("tool crash failed")
    assert (record.levelname, record.tool, record.call) == ("WARNING", "crash", "tool-1")  # type: ignore[attr-defined]
    assert record.exc_info is not None
    text = records.text()
    assert "raise ValueError" in text
    assert "the reason" in text
    # What a tool says to the script's author is no failure of the tool.
    assert "refuse" not in text


async def test_a_lost_host_and_the_next_generation_are_told(host_command: list[str]) -> None:
    recorder = Recorder()
    forever = ExecuteRequest("call", [], "await new Promise(() => {})", 60_000)
    with listening(logging.INFO) as records:
        async with CodeModeProvider(host_command) as provider, provider.session(recorder, "mine") as session:
            cell = await session.execute(forever)
            first = kill_host(provider)
            with pytest.raises(HostLostError):
                await cell.initial_response()
            await session.run("")
            with pytest.raises(StaleCellError):
                await session.wait(WaitRequest(cell.cell_id, 0))
            second = require_host_pid(provider)
    lost = records.find(f"host {first} was lost")
    assert (lost.levelname, lost.host_pid) == ("ERROR", first)  # type: ignore[attr-defined]
    assert "killed by SIGKILL" in lost.getMessage()
    bound = records.find("goes on as generation 2")
    assert (bound.session, bound.generation, bound.host_pid) == ("mine", 2, second)  # type: ignore[attr-defined]
    stale = records.find("cell 1 was asked for")
    assert (stale.levelname, stale.cell, stale.generation) == ("INFO", "1", 2)  # type: ignore[attr-defined]


async def test_what_a_host_says_on_standard_error_is_passed_on(misbehaving: Callable[[str], list[str]]) -> None:
    with listening(logging.WARNING) as records:
        async with CodeModeProvider(misbehaving("dies-at-start"), start_attempts=2, first_backoff=0) as provider:
            for _ in range(2):
                with pytest.raises(HostStartError):
                    await provider.open_session(Recorder())
            with pytest.raises(HostUnavailableError):
                await provider.open_session(Recorder())
    said = [record for record in records.all if record.name == "codemode_client.host.stderr"]
    assert len(said) == 202
    assert said[0].getMessage() == f"host {said[0].host_pid}: line 0"  # type: ignore[attr-defined]
    assert said[100].getMessage().endswith(": the engine cannot be loaded")
    [lost, *_] = [record for record in records.all if record.levelno == logging.ERROR]
    assert lost.getMessage().endswith("(exit status 3); its last line on standard error: the engine cannot be loaded")
    assert "1 of 2 attempts to start a host have failed; the next one waits for 0.0 s" in records.text()
    assert "2 attempts in a row to start a host have failed; there is no other" in records.text()


def _raise(error: Exception) -> Callable[[ToolInvocation], Awaitable[Raw]]:
    async def tool(_: ToolInvocation) -> Raw:
        raise error

    return tool


async def test_control_characters_of_others_are_written_out(host_command: list[str]) -> None:
    said, shown = "a\x1b]0;title\x07b\x9b2J", r"a\x1b]0;title\x07b\x9b2J"
    script = f"import sys; sys.stderr.write({said!r} + chr(10)); sys.exit(3)"
    with listening() as records:
        async with CodeModeProvider([sys.executable, "-I", "-S", "-c", script]) as provider:
            with pytest.raises(HostStartError):
                await provider.open_session(Recorder())
        async with CodeModeProvider(host_command) as provider, provider.session(Recorder(), said) as session:
            await session.run("")
        failing = Recorder(tool=_raise(ValueError(said)))
        async with CodeModeProvider(host_command) as provider, provider.session(failing, said) as session:
            await session.run("await tools.tool({})", [define_tool("tool")])
    messages = [record.getMessage() for record in records.all]
    assert f"session {shown}: cell 1 started" in messages
    assert {record.session for record in records.all if record.name.endswith("session")} == {shown}  # type: ignore[attr-defined]
    [failed] = [logging.Formatter().format(record) for record in records.all if record.exc_info]
    assert failed.splitlines()[1] == "Traceback (most recent call last):"
    assert failed.endswith(f"ValueError: {shown}")
    assert len([message for message in messages if message.endswith(f": {shown}")]) == 2  # the line, and the loss
    assert not {"\x1b", "\x07", "\x9b"} & set("".join(messages) + failed)


async def test_a_line_that_the_host_marks_keeps_its_level(host_command: list[str]) -> None:
    with listening() as records:
        command = [*host_command, "--confinement", "off"]
        async with CodeModeProvider(command) as provider, provider.session(Recorder()):
            pass
    record = records.find("cells run without a system call filter")
    assert (record.levelname, record.name) == ("WARNING", "codemode_client.host.stderr")


async def test_long_and_unfinished_lines_are_passed_on() -> None:
    script = "import sys; sys.stderr.write('x' * 200_000 + '\\n\\n' + 'the end'); sys.exit(3)"
    with listening() as records:
        async with CodeModeProvider([sys.executable, "-I", "-S", "-c", script]) as provider:
            with pytest.raises(HostStartError):
                await provider.open_session(Recorder())
    said = [record.getMessage() for record in records.all if record.name == "codemode_client.host.stderr"]
    assert sum(line.count("x") for line in said) == 200_000
    assert said[-1].endswith(": the end")


async def test_a_refusal_an_abandoned_cell_and_a_limit_are_told(host_command: list[str]) -> None:
    recorder = Recorder()
    flags = ("--cells-per-session", "1", "--stored-values", "1")
    with listening(logging.INFO) as records:
        async with (
            CodeModeProvider([*host_command, *flags]) as provider,
            provider.session(recorder, "mine") as session,
        ):
            await session.run("store('a', 1); store('b', 2)")
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(session.run, "notify('here'); await new Promise(() => {})")
                await recorder.until(lambda: recorder.notifications)
                with pytest.raises(RequestFailedError):
                    await session.execute(ExecuteRequest("call-3", [], ""))
                nursery.cancel_scope.cancel()
    assert records.find("session mine: cell 1 met the limit stored_values").levelname == "INFO"
    refused = records.find("session mine: the host refused to start a cell: session mine has 1 cells already")
    assert refused.request == "call-3"  # type: ignore[attr-defined]
    assert records.find("session mine: cell 2 is terminated, for its caller gave it up").levelname == "INFO"


async def test_sources_arguments_results_and_output_are_not_logged(host_command: list[str]) -> None:
    recorder = Recorder()
    source = f"const s = await tools.echo('{SECRET}'); text(s); store('k', s); notify(s); throw new Error(s)"
    with listening() as records:
        async with CodeModeProvider(host_command) as provider, provider.session(recorder) as session:
            await session.run(source, [define_tool("echo")])
            await recorder.until(lambda: recorder.closed)
    assert len(records.all) >= 7
    assert SECRET not in records.text()


async def test_a_handler_that_fails_disturbs_no_cell(
    host_command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(Records):
        def handle(self, record: logging.LogRecord) -> bool:
            raise OSError("the disk is full")

    logger, handler = logging.getLogger("codemode_client"), Broken()
    logger.addHandler(handler)
    try:
        with listening():
            async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
                await session.run("await tools.echo()", [define_tool("echo")])
                assert provider.counters.hosts_started == 1
    finally:
        logger.removeHandler(handler)
    assert "the disk is full" in capsys.readouterr().err


NOTHING = """
import logging, sys
import trio
from codemode_client import CodeModeProvider
from tests.client.recorder import Recorder, define_tool

made = []
logging.setLogRecordFactory(lambda *args, **kwargs: made.append(args) or logging.LogRecord(*args, **kwargs))

async def main():
    recorder = Recorder()
    async with CodeModeProvider(sys.argv[1:]) as provider, provider.session(recorder) as session:
        await session.run("text(await tools.echo())", [define_tool("echo")])
        await recorder.until(lambda: recorder.closed)

trio.run(main)
assert made == [], made
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""


def test_nothing_is_made_or_imported_when_nobody_looks(host_command: list[str]) -> None:
    command, root = [sys.executable, "-c", NOTHING, *host_command], Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
