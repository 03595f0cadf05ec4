"""One connection to one server, from start to end. Using a lost server again makes another connection."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import anyio
from anyio.abc import TaskStatus
from mcp import Client, MCPError
from mcp.client import IncomingMessage
from mcp.client.subscriptions import SubscriptionLost
from mcp.types import (
    CONNECTION_CLOSED,
    CallToolResult,
    Implementation,
    LoggingMessageNotificationParams,
    Tool,
    ToolListChangedNotification,
)
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from codemode_client._observability.foreign import ForeignLog
from codemode_client.mcp._client.process import ServerProcess
from codemode_client.mcp._client.transports import Opened, http_streams, watched
from codemode_client.mcp._config import HttpServer, Server, StdioServer
from codemode_client.mcp._errors import McpServerError
from codemode_client.mcp._wire import RELEASE
from codemode_protocol.errors import ToolError, first_cause

logger: ForeignLog = ForeignLog("codemode_client.mcp")

MAX_TOOL_PAGES = 1_000
"""A server that lists its tools on more pages is taken to repeat itself."""

GOODBYE_SECONDS = 5.0
"""How long closing a connection by HTTP may take."""

_EXPLANATION_SECONDS = 3.0

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class ConnectionLostError(ToolError):
    """The server was lost during a call, which may or may not have been carried out."""


class SessionExpiredError(ToolError):
    """The server has forgotten this client and ignored the call, which may be retried."""


class Connection:
    """One connection. `run` lasts as long as it does; other tasks of the event loop call the rest.

    Args:
        name: The server's name.
        server: How to reach it.
        start_timeout: Seconds for the server to start and list its tools.
        on_tools: Called with the server's tools when they are known and after each change.
        previous: The connection before this one; a process is started only after it has ended.
    """

    def __init__(
        self,
        name: str,
        server: Server,
        start_timeout: float,
        on_tools: Callable[[list[Tool]], None],
        previous: Connection | None,
    ) -> None:
        self.name = name
        self._server = server
        self._start_timeout = start_timeout
        self._on_tools = on_tools
        self._previous = previous
        self._process: ServerProcess | None = None
        self._client: Client | None = None
        self._scope = anyio.CancelScope()
        self._calls = 0
        self._idle = anyio.Event()
        self._lost = anyio.Event()
        self._silent = False
        self._changed = anyio.Event()
        self.over = False
        """It accepts no new calls."""
        self.settled = anyio.Event()
        """It works, or has failed with `error`."""
        self.ended = anyio.Event()
        self.error: McpServerError | None = None
        self.instructions: str | None = None

    async def run(self) -> None:
        """Connect, and stay connected until the server is lost or `close` is called. Failures are in `error`."""
        try:
            problem = await self._live()
            if problem is not None:
                stderr = self._process.stderr if self._process is not None else ""
                self.error = McpServerError(self.name, self._server.described, problem, stderr=stderr)
        finally:
            self._previous = None
            self.over = True
            self.settled.set()
            self.ended.set()

    async def _live(self) -> str | None:
        """Run the connection and return what went wrong, or None."""
        # The SDK's tasks raise groups, sometimes together with a cancellation, which must be passed on.
        try:
            with self._scope as scope:
                if self._previous is not None and isinstance(self._server, StdioServer):
                    await self._previous.ended.wait()
                scope.deadline = anyio.current_time() + self._start_timeout
                async with Client(
                    watched(self._streams(), self._said_no_more),
                    client_info=Implementation(name="codemode", version=RELEASE),
                    logging_callback=self._log,
                    message_handler=self._received,
                    cache=None,
                ) as client:
                    self._client = client
                    self.instructions = client.instructions
                    await self._stay(scope)
                    scope.deadline = anyio.current_time() + GOODBYE_SECONDS
        except BaseExceptionGroup as group:
            _, other = group.split(Exception)
            if other is not None:
                raise other from None
            return self._problem(first_cause(group))
        except Exception as error:  # noqa: BLE001 - the SDK's errors end this connection alone
            return self._problem(error)
        if scope.cancelled_caught and not self.settled.is_set():
            if self._lost.is_set():
                return "was still starting when all was closed"
            return f"did not answer within {self._start_timeout:g} s"
        return self._ending() if self._silent else None

    def _streams(self) -> Opened:
        if isinstance(self._server, HttpServer):
            return http_streams(self._server)
        self._process = ServerProcess(self.name, self._server)
        return self._process.streams()

    async def _stay(self, scope: anyio.CancelScope) -> None:
        """List the tools and keep the list fresh until the connection is over, then let running calls end."""
        async with anyio.create_task_group() as group:
            await group.start(self._listen)  # before the tools are listed, so that no change is missed
            self._on_tools(await self._list_tools())
            group.start_soon(self._refresh)
            scope.deadline = math.inf
            self.settled.set()
            await self._lost.wait()
            if self._calls:
                await self._idle.wait()
            group.cancel_scope.cancel()

    def _said_no_more(self) -> None:
        self._silent = True
        self._expire()

    def _expire(self) -> None:
        """Refuse new calls, and end after the last running one."""
        self.over = True
        self._lost.set()

    def close(self) -> None:
        """End now. Running calls fail."""
        self._expire()
        self._idle.set()
        if not self.settled.is_set():
            self._scope.cancel()
        if self._previous is not None:
            self._previous.close()

    def _problem(self, cause: BaseException) -> str:
        """Describe an exception of the connection."""
        if isinstance(cause, OSError) and self._process is not None and self._client is None:
            what = f" ({cause.filename})" if cause.filename else ""
            return f"cannot be started: {cause.strerror or cause}{what}"
        if isinstance(cause, MCPError) and cause.code == CONNECTION_CLOSED:
            return self._ending()
        text = str(cause) or type(cause).__name__
        return f"failed: {text}" if self.settled.is_set() else f"cannot be connected to: {text}"

    def _ending(self) -> str:
        if self._process is None:
            return "closed the connection"
        if self._process.offence is not None:
            return self._process.offence
        ending = self._process.ending
        return "closed its output" if ending is None else f"ended ({ending})"

    # the list of tools

    async def _list_tools(self) -> list[Tool]:
        assert self._client is not None
        tools: list[Tool] = []
        cursor: str | None = None
        for _ in range(MAX_TOOL_PAGES):
            page = await self._client.list_tools(cursor=cursor)
            tools += page.tools
            cursor = page.next_cursor
            if cursor is None:
                return tools
        raise RuntimeError(f"its list of tools has more than {MAX_TOOL_PAGES} pages")

    async def _refresh(self) -> None:
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            try:
                self._on_tools(await self._list_tools())
            except (MCPError, RuntimeError, ValueError) as error:
                if not self.over:
                    text = "the tools of MCP server %s have changed, but cannot be listed: %s"
                    logger.warning(text, self.name, error)

    async def _listen(self, *, task_status: TaskStatus[None]) -> None:
        """Subscribe to changes of the tools, in versions of the protocol that require it."""
        assert self._client is not None
        tools = self._client.server_capabilities.tools
        if self._client.protocol_version not in MODERN_PROTOCOL_VERSIONS or tools is None or not tools.list_changed:
            task_status.started()
            return
        listening = False
        try:
            async with self._client.listen(tools_list_changed=True) as changes:
                listening = True
                task_status.started()
                async for _ in changes:
                    self._changed.set()
        except (MCPError, SubscriptionLost) as error:
            logger.info("MCP server %s does not tell of changes: %s", self.name, error)
        if not listening:
            task_status.started()
        elif isinstance(self._server, HttpServer):
            # The tools may have changed after this was cut off, so the next call makes a new connection.
            self._expire()

    async def _received(self, message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._changed.set()

    async def _log(self, params: LoggingMessageNotificationParams) -> None:
        level = _LEVELS.get(params.level, logging.ERROR)
        logger.log(level, "%s: %s", self.name, params.data)

    # calls

    async def call(self, tool: str, arguments: dict[str, object] | None, timeout: float | None) -> CallToolResult:
        """Call a tool. If the caller is cancelled, the request is cancelled at the server.

        Args:
            tool: The tool's name on the server.
            arguments: Its arguments.
            timeout: Seconds without progress; None for no limit.

        Raises:
            ToolError: The server refused the call, or its answer cannot be used.
            ConnectionLostError: The connection was lost during the call.
            SessionExpiredError: Another connection is needed.
        """
        assert self._client is not None
        where = f"MCP server {self.name}"
        scope = anyio.CancelScope()
        self._calls += 1
        try:
            with scope:

                async def progressed(progress: float, total: float | None, message: str | None) -> None:
                    logger.debug("%s: %s: progress %s of %s %s", self.name, tool, progress, total, message or "")
                    if timeout is not None:
                        scope.deadline = anyio.current_time() + timeout

                if timeout is not None:
                    scope.deadline = anyio.current_time() + timeout
                return await self._client.call_tool(tool, arguments, progress_callback=progressed)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                self._expire()
            elif error.message == "Session terminated":  # the SDK's message if the server does not know the session
                self._expire()
                raise SessionExpiredError(f"{where} has forgotten this client") from error
            else:
                raise ToolError(f"{where} refused to call {tool}: {error.message}") from error
        except Exception as error:
            # The SDK raises several types for an invalid result.
            raise ToolError(f"the answer of {tool} of {where} cannot be used: {error}") from error
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()
                self._idle = anyio.Event()
        if scope.cancelled_caught:
            assert timeout is not None
            raise ToolError(f"{tool} of {where} did not answer within {timeout:g} s: the call was cancelled")
        with anyio.move_on_after(_EXPLANATION_SECONDS):
            await self.ended.wait()
        cause = "the connection was closed" if self.error is None else f"it {self.error.problem}"
        raise ConnectionLostError(
            f"{where} was lost during the call of {tool}, which may or may not have been carried out: {cause}. "
            "The next call connects again."
        )
