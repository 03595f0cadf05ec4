"""The program of `codemode mcp`: an MCP server on standard input and output, over the tools of other servers."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack

import anyio
from msgspec import Struct

from codemode_client._model.tools import ModelTools
from codemode_client._session.provider import CodeModeProvider
from codemode_client._tools.toolbox import Toolbox
from codemode_client.mcp._client.servers import START_SECONDS, connect
from codemode_client.mcp._config import Config
from codemode_client.mcp._server.server import CodeModeServer, Notes
from codemode_client.mcp._server.stdio import stdio_streams


class Program(Struct, frozen=True):
    """The options of the program. Times are seconds; `host` is the host's command, None for the default."""

    config: Config
    toolbox: Toolbox
    host: Sequence[str] | None = None
    start_timeout: float = START_SECONDS
    call_timeout: float | None = None
    go_on_without: bool = False

    async def run(
        self, read_descriptor: int, write_descriptor: int, *, stopped_by: Sequence[signal.Signals] = ()
    ) -> signal.Signals | None:
        """Serve one client until it closes the connection, or until one of the signals, which is returned.

        When this returns, all cells, hosts and started servers have ended.

        Raises:
            McpServerError: A server cannot be started.
            HostStartError: No host could be started.
            ToolNameConflictError: Two tools have the same name in JavaScript.
        """
        stopped: signal.Signals | None = None
        with anyio.open_signal_receiver(*stopped_by) as signals:
            async with anyio.create_task_group() as group:

                async def watch() -> None:
                    nonlocal stopped
                    async for number in signals:
                        stopped = number
                        group.cancel_scope.cancel()

                group.start_soon(watch)
                await self._serve(read_descriptor, write_descriptor)
                group.cancel_scope.cancel()
        return stopped

    async def _serve(self, read_descriptor: int, write_descriptor: int) -> None:
        async with AsyncExitStack() as stack:
            servers = await stack.enter_async_context(
                connect(
                    self.config,
                    self.toolbox,
                    start_timeout=self.start_timeout,
                    call_timeout=self.call_timeout,
                    go_on_without=self.go_on_without,
                )
            )
            notes = Notes(self.toolbox)
            provider = await stack.enter_async_context(CodeModeProvider(self.host))
            session = await stack.enter_async_context(provider.session(notes))
            server = CodeModeServer(ModelTools(session, self.toolbox), notes, instructions=servers.instructions)
            servers.on_changed = server.tools_changed
            await server.run(await stack.enter_async_context(stdio_streams(read_descriptor, write_descriptor)))
