"""`codemode mcp` as a program: the SDK's own client drives it, over real MCP servers and Python functions."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult, ImageContent, TextContent, ToolListChangedNotification

from codemode_client.mcp._wire import MAX_MESSAGE_BYTES
from tests.e2e.commands import CTRL_C_IGNORED
from tests.e2e.mcp_servers.started import bench, over_http, plain

ROOT = Path(__file__).resolve().parents[2]

TOOLS = '''
import os, sys

print("printed while it is imported")
os.write(1, b"written past Python\\n")

def add(a: int, b: int) -> int:
    """Add two numbers."""
    print("printed in a call")
    return a + b
'''


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """A server that is reached by HTTP."""
    with over_http("far") as place:
        yield place


def command(folder: Path, servers: Mapping[str, object] | None, *options: str) -> list[str]:
    arguments = [sys.executable, "-m", "codemode_client.cli", "mcp", *options]
    if servers is None:
        return arguments
    file = folder / "servers.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    return [*arguments, "--config", str(file)]


@asynccontextmanager
async def codemode(folder: Path, servers: Mapping[str, object] | None, *options: str) -> AsyncIterator[Client]:
    program, *arguments = command(folder, servers, *options)
    parameters = StdioServerParameters(command=program, args=arguments, cwd=folder, env={"PYTHONPATH": str(ROOT)})
    async with Client(parameters) as client:
        yield client


async def script(client: Client, source: str, **options: Any) -> CallToolResult:
    return await client.call_tool("exec", {"source": source}, **options)


def texts(result: CallToolResult) -> list[str]:
    return [block.text for block in result.content if isinstance(block, TextContent)]


class Meeting:
    """A unix socket where each caller waits until as many as expected are there."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "meeting")

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[trio.SocketListener]:
        with trio.socket.socket(trio.socket.AF_UNIX) as listener:
            await listener.bind(self.address)
            listener.listen()
            yield trio.SocketListener(listener)

    async def of(self, count: int, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Started once there is somewhere to meet."""
        async with self.opened() as listener:
            task_status.started()
            there = [await listener.accept() for _ in range(count)]
            names = sorted([(await stream.receive_some()).decode().strip() for stream in there])
            for stream in there:
                await stream.send_all(" and ".join(names).encode())
                await stream.aclose()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_one_script_calls_two_servers_at_the_same_time(tmp_path: Path, origin: str) -> None:
    meeting = Meeting(tmp_path)
    async with (
        codemode(tmp_path, {"near": bench("near"), "far": {"url": f"{origin}/mcp"}}) as client,
        trio.open_nursery() as nursery,
    ):
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools) == ["exec", "wait"]
        assert "near__say_it(args: { word: string; }): Promise<CallToolResult<" in (tools["exec"].description or "")
        assert client.instructions is not None
        assert "Use near with care." in client.instructions
        # Neither server answers before both have been called.
        await nursery.start(meeting.of, 2)
        result = await script(
            client,
            f"const where = {{ address: {json.dumps(meeting.address)} }};\n"
            "const met = await Promise.all([tools.near__meet(where), tools.far__meet(where)]);\n"
            "for (const one of met) text(one.content[0].text);\n"
            "content((await tools.far__picture()).content);\n"
            "store('met', met.length);\n"
            "text((await tools.near__say_it({ word: 'hello' })).structuredContent.result);",
        )
        assert not result.is_error
        assert texts(result)[1:] == ["far and near", "far and near", "near says hello"]
        (image,) = [block for block in result.content if isinstance(block, ImageContent)]
        assert image.mime_type == "image/png"
        assert texts(await script(client, "text(load('met'))"))[1:] == ["2"]
        failed = await script(client, "text('before');\nawait tools.far__fail();")
        assert failed.is_error
        assert texts(failed)[0].startswith("Status: failed")
        assert texts(failed)[1] == "before"
        assert "far__fail failed: Error executing tool fail" in texts(failed)[2]
        refused = await client.call_tool("near__add", {"a": 1, "b": 2})
        assert refused.is_error
        assert "Call the tool from a script" in texts(refused)[1]


async def test_scripts_of_one_client_run_at_the_same_time_and_a_cancelled_one_is_stopped(tmp_path: Path) -> None:
    meeting = Meeting(tmp_path)
    async with codemode(tmp_path, {"near": plain()}) as client:
        async with trio.open_nursery() as nursery:
            await nursery.start(meeting.of, 2)
            source = f"text((await tools.near__meet({{ address: {json.dumps(meeting.address)} }})).content[0].text);"
            for _ in range(2):

                async def meet() -> None:
                    assert texts(await script(client, source))[1:] == ["plain and plain"]

                nursery.start_soon(meet)
        os.unlink(meeting.address)
        async with meeting.opened() as listener:
            async with trio.open_nursery() as nursery:
                where = json.dumps(meeting.address)
                nursery.start_soon(script, client, f"await tools.near__linger({{ address: {where} }})")
                stream = await listener.accept()
                assert await stream.receive_some() == b"started\n"
                nursery.cancel_scope.cancel()
            # The cell is stopped, so its call is cancelled at the server.
            assert await stream.receive_some() == b"cancelled\n"
            await stream.aclose()


async def test_the_client_is_told_when_the_tools_of_a_server_change(tmp_path: Path) -> None:
    async with (
        codemode(tmp_path, {"plain": plain()}) as client,
        client.listen(tools_list_changed=True) as changes,
    ):
        before = (await client.list_tools(cache_mode="refresh")).tools[0].description
        await script(client, "await tools.plain__learn({ tools: ['sing'] })")
        await anext(changes)
        after = (await client.list_tools(cache_mode="refresh")).tools[0].description
        assert "plain__sing" not in (before or "")
        assert "plain__sing" in (after or "")
        assert texts(await script(client, "text((await tools.plain__sing()).structuredContent.by)"))[1:] == ["sing"]


async def test_a_client_of_the_older_protocol_can_wait_and_hears_of_notifications_and_changes(tmp_path: Path) -> None:
    changed = anyio.Event()
    progress: list[tuple[float, str | None]] = []

    async def received(message: object) -> None:
        if isinstance(message, ToolListChangedNotification):
            changed.set()

    async def note(number: float, total: float | None, message: str | None) -> None:
        progress.append((number, message))

    program, *arguments = command(tmp_path, {"plain": plain()})
    parameters = StdioServerParameters(command=program, args=arguments)
    async with Client(parameters, mode="legacy", message_handler=received) as client:
        assert client.server_info is not None
        assert client.server_info.name == "codemode"
        source = '// @exec: {"yield_time_ms": 0}\nnotify("on my way"); await tools.plain__echo(); text("done");'
        running = await script(client, source)
        cell = re.search(r"as cell (\S+)\. Call `wait`", texts(running)[0])
        assert cell is not None
        ended = await client.call_tool("wait", {"cell_id": cell[1], "until": "end"})
        assert "done" in texts(ended)
        notes = [text for text in texts(running) + texts(ended) if text.startswith("Notification")]
        assert notes == ["Notification from the script: on my way"]
        await script(client, 'notify("here"); await tools.plain__echo();', progress_callback=note)
        assert progress == [(1, "here")]
        await client.list_tools()
        await script(client, "await tools.plain__learn({ tools: ['sing'] })")
        await changed.wait()
        assert texts(await script(client, "text((await tools.plain__sing()).structuredContent.by)"))[1:] == ["sing"]


# As a process


@contextmanager
def process(
    folder: Path, servers: Mapping[str, object] | None, *options: str, before: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run the program with pipes; `before` is a command that becomes it."""
    with subprocess.Popen(
        [*before, *command(folder, servers, *options)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def ask(asked: subprocess.Popen[str], number: int, method: str, **parameters: object) -> dict[str, Any]:
    """Send a request and read lines up to its answer; each of them must be a message."""
    assert asked.stdin is not None
    assert asked.stdout is not None
    request = {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
    asked.stdin.write(json.dumps(request) + "\n")
    asked.stdin.flush()
    while True:
        message = json.loads(asked.stdout.readline())
        assert message["jsonrpc"] == "2.0"
        if message.get("id") == number:
            return dict(message["result"])


def initialize(asked: subprocess.Popen[str]) -> None:
    assert asked.stdin is not None
    client = {"name": "test", "version": "1"}
    ask(asked, 1, "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client)
    asked.stdin.write('{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')


def all_ended(children: list[int]) -> bool:
    return not any(is_running(child) for child in children)


def children_of(parent: subprocess.Popen[str]) -> list[int]:
    threads = Path(f"/proc/{parent.pid}/task").iterdir()  # whichever of them started it
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def test_nothing_but_messages_reaches_standard_output_and_its_end_is_the_end(tmp_path: Path) -> None:
    (tmp_path / "mytools.py").write_text(TOOLS)
    with process(tmp_path, {"bad": plain("dies")}, "--tools", "mytools:add", "--go-on-without") as started:
        initialize(started)
        answer = ask(started, 2, "tools/call", name="exec", arguments={"source": "text(await tools.add({a: 1, b: 2}))"})
        assert answer["content"][1]["text"] == "3"
        children = children_of(started)
        assert len(children) == 1
        out, err = started.communicate(timeout=30)
        assert started.returncode == 0
        assert out == ""
        for line in ("printed while it is imported", "written past Python", "printed in a call"):
            assert line in err
        assert "MCP server bad" in err
        assert "going on without it" in err
        assert all_ended(children)


def test_half_a_character_in_a_request_does_not_leave_it_unanswered(tmp_path: Path) -> None:
    (tmp_path / "mytools.py").write_text(TOOLS)
    with process(tmp_path, None, "--tools", "mytools:add") as started:
        initialize(started)
        answer = ask(started, 2, "tools/call", name="exec", arguments={"source": "text('cut: \ud83d')"})
        assert answer["content"][1]["text"] == "cut: \ufffd"


def test_a_request_that_is_too_long_ends_it_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "mytools.py").write_text(TOOLS)
    with process(tmp_path, None, "--tools", "mytools:add") as started:
        initialize(started)
        _, err = started.communicate("x" * (MAX_MESSAGE_BYTES + 1), timeout=30)
        assert "Traceback" not in err
        assert f"the client sent a message of more than {MAX_MESSAGE_BYTES} bytes: this ends the connection" in err
        assert started.returncode == 0


def test_no_process_is_left_after_a_signal_and_the_status_says_which(tmp_path: Path) -> None:
    servers = {"plain": plain()}
    # Both at once, for that is faster.
    with process(tmp_path, servers) as terminated, process(tmp_path, servers) as interrupted:
        for started, number, status in ((terminated, signal.SIGTERM, 0), (interrupted, signal.SIGINT, 130)):
            initialize(started)
            source = '// @exec: {"yield_time_ms": 0}\nawait new Promise(() => {});'
            ask(started, 2, "tools/call", name="exec", arguments={"source": source})
            children = children_of(started)
            assert len(children) == 2  # the server and the host, which has a cell that runs
            started.send_signal(number)
            assert started.wait(timeout=30) == status
            assert all_ended(children)


def test_ctrl_c_that_was_ignored_when_it_was_started_stays_ignored(tmp_path: Path) -> None:
    (tmp_path / "mytools.py").write_text(TOOLS)
    with process(tmp_path, None, "--tools", "mytools:add", before=CTRL_C_IGNORED) as started:
        initialize(started)
        started.send_signal(signal.SIGINT)
        answer = ask(started, 2, "tools/call", name="exec", arguments={"source": "text('it goes on')"})
        assert answer["content"][1]["text"] == "it goes on"
        started.send_signal(signal.SIGTERM)
        assert started.wait(timeout=30) == 0


def run(folder: Path, servers: Mapping[str, object] | None, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, servers, *options),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_servers_that_cannot_be_started_are_all_named_with_their_last_words(tmp_path: Path) -> None:
    result = run(tmp_path, {"one": plain("dies"), "two": {"command": "/no/such"}})
    assert result.returncode == 2
    assert result.stdout == ""
    assert re.search(
        r"^codemode mcp: MCP server one \(.* dies\) ended \(exit status 5\); .*\n.*I give up$",
        result.stderr,
        re.MULTILINE | re.DOTALL,
    )
    assert "codemode mcp: MCP server two (/no/such) cannot be started: No such file or directory" in result.stderr


def test_without_anything_to_serve_it_says_what_to_give(tmp_path: Path) -> None:
    result = run(tmp_path, None)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        "codemode mcp: there is nothing to serve: give --config FILE, --tools MODULE:OBJECT, or both\n"
    )
