"""Connects the servers of a configuration and keeps their tools in a Toolbox."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import TaskGroup
from mcp.types import CallToolResult
from mcp.types import Tool as ServerTool

from codemode_client._observability.foreign import ForeignLog
from codemode_client._tools.toolbox import Toolbox
from codemode_client.mcp._client.connection import Connection, SessionExpiredError
from codemode_client.mcp._client.tools import McpTool
from codemode_client.mcp._config import Config, Server, load_config
from codemode_client.mcp._errors import McpServerError
from codemode_protocol.errors import ToolError
from codemode_protocol.values import ToolDefinition

logger: ForeignLog = ForeignLog("codemode_client.mcp")

START_SECONDS = 30.0
"""How long a server may take to start, answer and list its tools."""


class ConnectedServer:
    """One server of the configuration, over any number of successive connections."""

    def __init__(
        self,
        name: str,
        server: Server,
        group: TaskGroup,
        start_timeout: float,
        call_timeout: float | None,
        on_tools: Callable[[ConnectedServer, list[ServerTool]], None],
    ) -> None:
        self.name = name
        self._server = server
        self._group = group
        self._start_timeout = start_timeout
        self._call_timeout = call_timeout
        self._on_tools = on_tools
        self.connection = self._connect(None)

    def _connect(self, previous: Connection | None) -> Connection:
        connection = Connection(
            self.name, self._server, self._start_timeout, lambda tools: self._on_tools(self, tools), previous
        )
        self._group.start_soon(connection.run)
        return connection

    async def call(self, tool: str, arguments: dict[str, object] | None) -> CallToolResult:
        """Call a tool, over a new connection if the last one was lost. Raises ToolError."""
        try:
            return await (await self._connected()).call(tool, arguments, self._call_timeout)
        except SessionExpiredError:
            # The server ignored the call, so it can be retried.
            return await (await self._connected()).call(tool, arguments, self._call_timeout)

    async def _connected(self) -> Connection:
        for _ in range(2):
            if self.connection.over:
                self.connection = self._connect(self.connection)
            connection = self.connection
            await connection.settled.wait()
            if connection.error is not None:
                raise ToolError(str(connection.error)) from connection.error
            if not connection.over:
                return connection
        raise ToolError(f"MCP server {self.name} closes its connection as soon as it has been started")


class Servers:
    """The connected servers, as returned by `connect`.

    Attributes:
        toolbox: Has the tools of all servers, updated as they change.
        failures: The errors of servers that could not be started, by name, with `go_on_without`.
        on_changed: Called after tools have changed.
    """

    def __init__(self, toolbox: Toolbox) -> None:
        self.toolbox = toolbox
        self.failures: dict[str, McpServerError] = {}
        self.on_changed: Callable[[], object] | None = None
        self._servers: list[ConnectedServer] = []
        self._listed: dict[str, list[ServerTool]] = {}
        self._added: list[ToolDefinition] = []
        """The servers' tools in the toolbox."""
        self._complete = False

    @property
    def names(self) -> list[str]:
        """The names of the servers in use, in the order of the configuration."""
        return [server.name for server in self._servers if server.name not in self.failures]

    @property
    def instructions(self) -> dict[str, str]:
        """The instructions of the servers that give some, by name."""
        said = {server.name: server.connection.instructions for server in self._servers}
        return {name: text for name, text in said.items() if text}

    def _start(self, config: Config, group: TaskGroup, start_timeout: float, call_timeout: float | None) -> None:
        for name, server in config.servers.items():
            self._servers.append(ConnectedServer(name, server, group, start_timeout, call_timeout, self._tools_listed))

    async def _started(self) -> list[McpServerError]:
        """Wait until each server works or has failed; return the errors."""
        connections = [server.connection for server in self._servers]
        for connection in connections:
            await connection.settled.wait()
        # A server may be lost right after its start; the next call will notice.
        return [connection.error for connection in connections if connection.error is not None]

    def _tools_listed(self, server: ConnectedServer, listed: list[ServerTool]) -> None:
        self._listed[server.name] = listed
        if self._complete:
            self._fill()

    def _fill(self) -> None:
        """Replace the servers' tools in the toolbox by the current ones, in the order of the configuration."""
        before, self._added = self._added, []
        for definition in before:
            with suppress(KeyError):  # the toolbox's owner may have removed it
                self.toolbox.remove_tool(definition.tool_name)
        for server in self._servers:
            for listed in self._listed.get(server.name, ()):
                tool = McpTool(server.name, listed, server.call)
                try:
                    self.toolbox.add_tool(tool)
                except ValueError as error:
                    logger.warning("the tool %s of MCP server %s is left out: %s", listed.name, server.name, error)
                else:
                    self._added.append(tool.definition)
        if self._complete and self._added != before and self.on_changed is not None:
            self.on_changed()
        self._complete = True


@asynccontextmanager
async def connect(
    config: Config | str | os.PathLike[str] | Mapping[str, object],
    toolbox: Toolbox | None = None,
    *,
    start_timeout: float = START_SECONDS,
    call_timeout: float | None = None,
    go_on_without: bool = False,
) -> AsyncIterator[Servers]:
    """Connect the servers of a configuration concurrently, for the block, and add their tools to a toolbox.

    Works on trio and asyncio. Any task of the event loop can call the tools. At the end of the block connections are
    closed and all servers that were started have ended.

    Args:
        config: A file, its decoded content, or a `Config`.
        toolbox: The toolbox; by default a new one.
        start_timeout: Seconds for a server to start, answer and list its tools.
        call_timeout: Seconds for a call to answer or report progress; None for no limit.
        go_on_without: Continue without servers that cannot be started; see `Servers.failures`.

    Raises:
        ConfigError: The configuration is invalid.
        McpServerError: A server cannot be started; the errors of others are its notes.
    """
    if not isinstance(config, Config):
        config = load_config(config)
    servers = Servers(toolbox if toolbox is not None else Toolbox())
    raised: BaseException | None = None
    async with anyio.create_task_group() as group:
        try:
            servers._start(config, group, start_timeout, call_timeout)
            errors = await servers._started()
            if errors and not go_on_without:
                for other in errors[1:]:
                    errors[0].add_note(str(other))
                raise errors[0]
            for error in errors:
                servers.failures[error.server] = error
                logger.error("%s; going on without it", error)
            servers._fill()
            yield servers
        except BaseException as error:
            stopping = (anyio.get_cancelled_exc_class(), GeneratorExit)
            if isinstance(error, stopping) or (isinstance(error, BaseExceptionGroup) and error.subgroup(stopping)):
                raise
            raised = error  # raised below, outside the group, which would wrap it
        for server in servers._servers:
            server.connection.close()
    if raised is not None:
        raise raised
