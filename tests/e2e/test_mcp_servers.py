"""Tools of real MCP servers in a Toolbox: called, refreshed, cancelled, timed out, lost and found again."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest
import trio
import trio.testing
from msgspec import Raw

from codemode_client._tools.toolbox import Toolbox
from codemode_client.mcp import McpServerError, connect
from codemode_client.mcp._client import process as server_process
from codemode_protocol.errors import ToolError
from codemode_protocol.typescript import tool_signature
from codemode_protocol.values import ToolInvocation, ToolKind, ToolName
from tests.e2e.mcp_servers.started import bench, over_http, plain
from tests.processes import list_children


def configuration(**servers: dict[str, Any]) -> dict[str, Any]:
    return {"mcpServers": servers}


async def call(toolbox: Toolbox, server: str, tool: str, **arguments: object) -> Any:
    """What a script gets from `await tools.SERVER__TOOL(arguments)`."""
    invocation = ToolInvocation(
        "1", "tool-1", ToolName(tool, server), ToolKind.FUNCTION, Raw(json.dumps(arguments).encode())
    )
    return json.loads(bytes(await toolbox.invoke_tool(invocation)))


async def said(toolbox: Toolbox, server: str, tool: str, **arguments: object) -> str:
    """The text of what a script gets."""
    text = (await call(toolbox, server, tool, **arguments))["content"][0]["text"]
    assert isinstance(text, str)
    return text


def names(toolbox: Toolbox) -> list[str]:
    return [tool.name for tool in toolbox.definitions]


@asynccontextmanager
async def place(folder: Path) -> AsyncIterator[tuple[str, trio.SocketListener]]:
    """A unix socket on which servers tell what happens to them."""
    address = folder / "place"
    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(str(address))
        listener.listen()
        yield str(address), trio.SocketListener(listener)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def has_ended(pid: int) -> None:
    while is_running(pid):  # noqa: ASYNC110 - it is nobody's child who could tell
        await anyio.sleep(0.01)


# Tools


async def test_tools_keep_the_namespace_of_their_server_and_every_page_is_listed() -> None:
    async with connect(configuration(one=plain(), two=plain("chatty"))) as servers:
        assert servers.names == ["one", "two"]
        assert names(servers.toolbox) == [
            f"{server}__{tool}"
            for server in servers.names
            for tool in (
                "echo",
                "where",
                "variable",
                "die",
                "learn",
                "meet",
                "linger",
                "step",
                "raw",
                "flood",
                "page-1",
                "page-2",
            )
        ]
        definition = servers.toolbox.definitions[10]
        assert definition.tool_name == ToolName("page-1", "one")
        assert tool_signature(definition).startswith("one__page_1(")
        assert tool_signature(definition).endswith("): Promise<CallToolResult>;")
        assert await said(servers.toolbox, "two", "echo", a=1) == '{"a": 1}'
        assert await said(servers.toolbox, "one", "where") != await said(servers.toolbox, "two", "where")


async def test_a_script_gets_the_result_as_the_server_sent_it() -> None:
    async with connect(configuration(one=plain())) as servers:
        assert await call(servers.toolbox, "one", "page-2") == {
            "content": [{"type": "text", "text": "{}"}],
            "structuredContent": {"said": None, "by": "page-2"},
            "_meta": {"mine": 1},
            "isError": False,
        }


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        (rb"cut: \ud83d", "cut: \ufffd"),
        (rb"\uDE00 and \uD83D\uDE00 and \\ud83d", "\ufffd and \U0001f600 and \\ud83d"),
        (b"caf\xe9", "caf\ufffd"),
    ],
)
async def test_a_result_that_is_no_unicode_is_given_all_the_same(sent: bytes, got: str) -> None:
    async with connect(configuration(one=plain())) as servers:
        assert await said(servers.toolbox, "one", "raw", text=base64.b64encode(sent).decode()) == got


async def test_a_result_that_is_an_error_rejects_with_its_text() -> None:
    async with connect(configuration(one=plain())) as servers:
        with pytest.raises(ToolError, match=r"\Aone__page-1 failed: the disk is full\Z"):
            await call(servers.toolbox, "one", "page-1")


async def test_arguments_that_are_no_object_are_refused() -> None:
    async with connect(configuration(one=plain())) as servers:
        invocation = ToolInvocation("1", "tool-1", ToolName("echo", "one"), ToolKind.FUNCTION, Raw(b'"text"'))
        with pytest.raises(ToolError, match="one__echo takes one object with its arguments"):
            await servers.toolbox.invoke_tool(invocation)


async def test_tools_with_one_name_in_javascript_are_left_out_but_for_the_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connect({"mcpServers": {"a-b": plain(), "a_b": plain()}}) as servers:
        assert len(servers.toolbox.definitions) == 12
        assert {tool.tool_name.namespace for tool in servers.toolbox.definitions} == {"a-b"}
    assert "the tool echo of MCP server a_b is left out: the tools a-b__echo and a_b__echo are both" in caplog.text


async def test_changed_tools_are_there_for_the_next_script() -> None:
    def own() -> None:
        """A function beside the servers' tools."""

    toolbox = Toolbox([own])
    changed = anyio.Event()
    async with connect(configuration(one=plain()), toolbox) as servers:
        servers.on_changed = changed.set
        await call(toolbox, "one", "learn", tools=["sing"])
        await changed.wait()
        assert names(toolbox) == ["own", "one__echo", "one__sing", "one__page-1", "one__page-2"]
        assert (await call(toolbox, "one", "sing"))["structuredContent"]["by"] == "sing"
        with pytest.raises(ToolError, match="there is no tool named one__where"):
            await call(toolbox, "one", "where")


async def test_changes_are_told_over_the_newer_protocol_too() -> None:
    changed = anyio.Event()
    async with connect(configuration(one=bench())) as servers:
        servers.on_changed = changed.set
        assert "one__learn" in names(servers.toolbox)
        await call(servers.toolbox, "one", "learn", word="sing")
        await changed.wait()
        assert "one__learn" not in names(servers.toolbox)
        assert await said(servers.toolbox, "one", "sing") == "sing"


async def test_a_server_gets_the_safe_environment_and_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "x")
    server = {**plain(), "env": {"OF_THE_FILE": "${SECRET_OF_THE_CALLER}y"}, "cwd": str(tmp_path)}
    async with connect(configuration(one=server)) as servers:
        assert await said(servers.toolbox, "one", "variable", key="SECRET_OF_THE_CALLER") == "(unset)"
        assert await said(servers.toolbox, "one", "variable", key="OF_THE_FILE") == "xy"
        assert await said(servers.toolbox, "one", "variable", key="PATH") == os.environ["PATH"]
        assert (await said(servers.toolbox, "one", "where")).split()[1] == str(tmp_path)


# HTTP


async def test_servers_are_reached_by_http_in_both_of_its_forms() -> None:
    with over_http() as origin:
        headers = {"X-Team": "blue"}
        both = configuration(
            new={"url": f"{origin}/mcp", "headers": headers},
            old={"type": "sse", "url": f"{origin}/sse", "headers": headers},
        )
        async with connect(both) as servers:
            for name in servers.names:
                assert await said(servers.toolbox, name, "header", key="X-Team") == "blue"
                assert (await call(servers.toolbox, name, "add", a=1, b=2))["structuredContent"] == {"total": 3}


async def test_a_server_that_comes_back_by_http_is_found_again() -> None:
    with over_http() as origin:
        manager = connect(configuration(far={"url": f"{origin}/mcp"}))
        servers = await manager.__aenter__()
        assert await said(servers.toolbox, "far", "say-it", word="a") == "bench says a"
    try:
        with pytest.raises(ToolError, match="MCP server far"):
            await call(servers.toolbox, "far", "say-it", word="b")
        with over_http(origin.rpartition(":")[2]):
            assert await said(servers.toolbox, "far", "say-it", word="c") == "bench says c"
    finally:
        await manager.__aexit__(None, None, None)


@pytest.fixture
def clock() -> trio.testing.MockClock:
    """A clock that goes as usual, until the test has it jump."""
    return trio.testing.MockClock(rate=1.0)


async def test_a_server_that_works_is_kept_when_its_time_to_start_is_long_over(clock: trio.testing.MockClock) -> None:
    async with connect(configuration(one=plain(), two=bench()), start_timeout=30) as servers:
        before = await said(servers.toolbox, "one", "where")
        clock.jump(3600)
        await trio.testing.wait_all_tasks_blocked()
        assert await said(servers.toolbox, "one", "where") == before
        assert await said(servers.toolbox, "two", "say-it", word="a") == "bench says a"


async def test_a_call_takes_as_long_as_it_takes_where_there_is_no_limit(
    clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with place(tmp_path) as (address, listener), connect(configuration(one=plain())) as servers:
        async with trio.open_nursery() as nursery:
            answers: list[str] = []

            async def meet() -> None:
                answers.append(await said(servers.toolbox, "one", "meet", address=address))

            nursery.start_soon(meet)
            stream = await listener.accept()
            clock.jump(3600)
            await trio.testing.wait_all_tasks_blocked()
            assert answers == []
            await stream.send_all(b"all are here")
        assert answers == ["all are here"]
        await stream.aclose()


async def test_after_the_stream_of_changes_is_cut_off_the_next_call_connects_again() -> None:
    with over_http() as origin:
        manager = connect(configuration(far={"url": f"{origin}/mcp"}))
        servers = await manager.__aenter__()
        assert await said(servers.toolbox, "far", "say-it", word="a") == "bench says a"
        first = servers._servers[0].connection
    try:
        with trio.fail_after(30):
            while not first.over:  # noqa: ASYNC110 - nobody is told before the next call
                await trio.sleep(0.01)
        with over_http(origin.rpartition(":")[2]):
            assert await said(servers.toolbox, "far", "say-it", word="b") == "bench says b"
            assert servers._servers[0].connection is not first
    finally:
        await manager.__aexit__(None, None, None)


class Forgetful(BaseHTTPRequestHandler):
    """A server of the older protocol, which gives each client a session; `wait` answers when the test lets it."""

    sessions: ClassVar[list[str]] = []
    waiting: ClassVar[threading.Event] = threading.Event()
    released: ClassVar[threading.Event] = threading.Event()

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method, session = message["method"], self.headers.get("Mcp-Session-Id")
        if method == "initialize":
            session = str(len(self.sessions))
            self.sessions.append(session)
        elif method != "server/discover" and session not in self.sessions:
            self.send_error(404)
            return
        if "id" not in message:
            self.answer(202)
            return
        answers: dict[str, dict[str, Any]] = {
            "initialize": {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "forgetful", "version": "1"},
            },
            "tools/list": {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in ("who", "wait")]},
            "tools/call": {"content": [{"type": "text", "text": f"session {session}"}]},
        }
        if method == "tools/call" and message["params"]["name"] == "wait":
            self.waiting.set()
            self.released.wait(30)
        unknown = {"error": {"code": -32601, "message": "unknown"}}
        result = {"result": answers[method]} if method in answers else unknown
        self.answer(200, session, {"jsonrpc": "2.0", "id": message["id"], **result})

    def do_GET(self) -> None:
        self.answer(405)

    def do_DELETE(self) -> None:
        self.answer(204)

    def answer(self, status: int, session: str | None = None, message: object = None) -> None:
        body = b"" if message is None else json.dumps(message).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if session is not None:
            self.send_header("Mcp-Session-Id", session)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def forgetful() -> Iterator[str]:
    """Such a server in a thread; its address."""
    Forgetful.sessions.clear()
    Forgetful.waiting.clear()
    Forgetful.released.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Forgetful) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            Forgetful.released.set()
            server.shutdown()
            thread.join()


async def test_a_call_that_a_server_did_not_look_at_is_made_again_over_a_fresh_session() -> None:
    with forgetful() as address:
        async with connect(configuration(far={"url": address})) as servers:
            assert await said(servers.toolbox, "far", "who") == "session 0"
            Forgetful.sessions[0] = "forgotten"
            assert await said(servers.toolbox, "far", "who") == "session 1"


async def test_calls_under_way_over_a_session_that_was_forgotten_are_still_answered() -> None:
    with forgetful() as address:
        async with connect(configuration(far={"url": address})) as servers:
            answers: list[str] = []

            async def wait() -> None:
                answers.append(await said(servers.toolbox, "far", "wait"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                assert await trio.to_thread.run_sync(Forgetful.waiting.wait, 30)
                Forgetful.sessions[0] = "forgotten"
                assert await said(servers.toolbox, "far", "who") == "session 1"
                assert answers == []
                Forgetful.released.set()
            assert answers == ["session 0"]


# What cannot be started


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        (plain("dies"), r"ended \(exit status 5\); its last lines on standard error:\nno such database\nI give up\Z"),
        ({"command": "/no/such/server"}, r"\(/no/such/server\) cannot be started: No such file or directory"),
        ({**plain(), "cwd": "/no/such/folder"}, r"cannot be started: No such file or directory \(/no/such/folder\)"),
        (plain("silent"), r"did not answer within 0\.5 s"),
        ({"url": "http://127.0.0.1:9/mcp"}, r"\(http://127.0.0.1:9/mcp\) cannot be connected to: "),
    ],
    ids=["dies", "missing", "nowhere", "silent", "unreachable"],
)
async def test_a_server_that_cannot_be_started_is_told_with_its_last_words(
    server: dict[str, Any], problem: str
) -> None:
    timeout = 0.5 if "silent" in problem or "did not" in problem else 30
    with pytest.raises(McpServerError, match=problem) as raised:
        async with connect(configuration(bad=server), start_timeout=timeout):
            pytest.fail("it started")
    assert raised.value.server == "bad"
    assert str(raised.value).startswith("MCP server bad (")


async def test_all_that_cannot_be_started_are_told() -> None:
    with pytest.raises(McpServerError, match="MCP server one") as raised:
        async with connect(configuration(one={"command": "/no/one"}, good=plain(), two={"command": "/no/two"})):
            pytest.fail("they started")
    assert [note.partition(" (")[0] for note in raised.value.__notes__] == ["MCP server two"]


async def test_one_can_go_on_without_what_cannot_be_started() -> None:
    async with connect(configuration(bad=plain("dies"), good=plain()), go_on_without=True) as servers:
        assert servers.names == ["good"]
        assert servers.failures["bad"].stderr == "no such database\nI give up"
        assert await said(servers.toolbox, "good", "echo") == "{}"


async def test_an_exception_in_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(LookupError, match="mine"):
        async with connect(configuration(one=plain())):
            raise LookupError("mine")


# What goes wrong later


async def test_a_server_that_dies_in_a_call_is_told_and_started_again_for_the_next() -> None:
    async with connect(configuration(one=plain())) as servers:
        before = await said(servers.toolbox, "one", "where")
        with pytest.raises(ToolError) as raised:
            await call(servers.toolbox, "one", "die")
        assert str(raised.value) == (
            "MCP server one was lost during the call of die, which may or may not have been carried out: "
            "it ended (exit status 7). The next call connects again."
        )
        assert await said(servers.toolbox, "one", "where") != before


async def test_a_message_that_is_too_long_ends_the_connection_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process, "EXIT_SECONDS", 0.1)
    async with connect(configuration(one=plain())) as servers:
        with pytest.raises(ToolError, match=r"carried out: it sent a message of more than 67108864 bytes\. The next"):
            await call(servers.toolbox, "one", "flood")
        assert await said(servers.toolbox, "one", "echo") == "{}"


async def test_a_server_that_dies_between_calls_is_started_again() -> None:
    async with connect(configuration(one=plain())) as servers:
        pid = int((await said(servers.toolbox, "one", "where")).split()[0])
        os.kill(pid, signal.SIGKILL)
        await has_ended(pid)
        await trio.testing.wait_all_tasks_blocked(0.01)  # its pipes are closed, and that is seen
        assert int((await said(servers.toolbox, "one", "where")).split()[0]) != pid


async def test_a_cancelled_call_is_cancelled_at_the_server(tmp_path: Path) -> None:
    async with connect(configuration(one=plain())) as servers, place(tmp_path) as (address, listener):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: call(servers.toolbox, "one", "linger", address=address))
            stream = await listener.accept()
            assert await stream.receive_some() == b"started\n"
            nursery.cancel_scope.cancel()
        assert await stream.receive_some() == b"cancelled\n"
        await stream.aclose()
        assert await said(servers.toolbox, "one", "echo") == "{}"


async def test_a_call_without_progress_is_given_up_in_time_and_one_with_progress_is_not(tmp_path: Path) -> None:
    async with (
        connect(configuration(one=plain()), call_timeout=0.8) as servers,
        place(tmp_path) as (address, listener),
    ):
        assert await said(servers.toolbox, "one", "step", steps=5, seconds=0.2) == "done"
        with pytest.raises(ToolError, match=r"linger of MCP server one did not answer within 0\.8 s"):
            await call(servers.toolbox, "one", "linger", address=address)
        stream = await listener.accept()
        told = b""
        while not told.endswith(b"cancelled\n"):
            told += await stream.receive_some()
        await stream.aclose()


# Nothing is left


async def test_children_that_a_server_leaves_behind_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever inherits them may take long to reap them, and until then they count as being there.
    monkeypatch.setattr(server_process, "TERMINATION_SECONDS", 0.2)
    async with connect(configuration(one=plain("fertile"))) as servers:
        (child,) = list_children(int((await said(servers.toolbox, "one", "where")).split()[0]))
        assert is_running(child)
    await has_ended(child)


async def test_a_server_that_will_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process, "EXIT_SECONDS", 0.1)
    monkeypatch.setattr(server_process, "TERMINATION_SECONDS", 0.1)
    async with connect(configuration(one=plain("stubborn"))) as servers:
        pid = int((await said(servers.toolbox, "one", "where")).split()[0])
    assert not is_running(pid)


async def test_cancellation_ends_the_servers() -> None:
    pid = 0
    with trio.CancelScope() as scope:
        async with connect(configuration(one=plain())) as servers:
            pid = int((await said(servers.toolbox, "one", "where")).split()[0])
            scope.cancel()
            await trio.sleep_forever()
    assert not is_running(pid)


def test_all_of_it_works_under_asyncio() -> None:
    async def main() -> None:
        changed = anyio.Event()
        async with connect(configuration(one=plain())) as servers:
            servers.on_changed = changed.set
            await call(servers.toolbox, "one", "learn", tools=["die", "sing"])
            await changed.wait()
            assert await said(servers.toolbox, "one", "sing") == "{}"
            with pytest.raises(ToolError, match=r"ended \(exit status 7\)"):
                await call(servers.toolbox, "one", "die")
            assert await said(servers.toolbox, "one", "echo") == "{}"

    anyio.run(main, backend="asyncio")
