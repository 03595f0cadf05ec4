"""The evaluation loop of `codemode repl`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from codemode_client._cli.console.cells import follow, interval, start, succeeded
from codemode_client._cli.console.display import Display
from codemode_client._cli.console.scripts import Script
from codemode_client._cli.console.signals import heeded
from codemode_client._cli.console.values import Shown, showing
from codemode_client._session.cell_ids import parse_cell_id
from codemode_client._session.cells import StartedCell
from codemode_client._session.session import Session
from codemode_client._tools.toolbox import Toolbox
from codemode_protocol.errors import CodeModeError, HostError, HostUnavailableError, StaleCellError
from codemode_protocol.values import ContentItem, Result, Terminated


class Repl:
    """Runs cells in one session, one after the other, and survives their failures."""

    def __init__(self, session: Session, toolbox: Toolbox, display: Display) -> None:
        self._session = session
        self._toolbox = toolbox
        self._display = display
        self._generation = session.generation
        self._running: asyncio.Task[Result | Terminated] | None = None
        self.failures = 0
        """The number of failed cells."""

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Make Ctrl-C end only the running cell in the block."""
        if not heeded(signal.SIGINT):
            yield
            return
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    def _interrupt(self) -> None:
        if self._running is not None:
            sys.stderr.write("\n")  # the terminal has written ^C
            self._running.cancel()

    async def run(self, text: str) -> None:
        """Run one cell and show its events. Raises `HostUnavailableError` if hosts repeatedly fail to start."""
        try:
            good = await self._run(Script.parse("<cell>", text))
        except HostUnavailableError:
            raise
        except (HostError, StaleCellError) as error:
            good = False
            self._display.lost(f"the host is lost, and with it what was stored: {error}")
            self._generation = self._session.generation
        except CodeModeError as error:
            good = False
            self._display.refused(str(error))
        self.failures += not good

    def _notice_loss(self, cell: StartedCell) -> None:
        """Report the loss of a host between cells, known by where the cell was started.

        Not before: until then the host may end at any moment.
        """
        generation, _ = parse_cell_id(cell.cell_id)
        if generation != self._generation:
            self._generation = generation
            self._display.lost("the host was lost, and with it what was stored; this cell runs on a fresh one")

    async def _run(self, script: Script) -> bool:
        shown = showing(script)
        if shown is not None:
            response = await self._cell(shown.script, shown)
            if shown.began or succeeded(response) or isinstance(response, Terminated):
                self._display.ended(response, shown.script)
                return succeeded(response)
        response = await self._cell(script, None)
        self._display.ended(response, script)
        return succeeded(response)

    async def _cell(self, script: Script, shown: Shown | None) -> Result | Terminated:
        """Run a cell to its end, or until Ctrl-C terminates it."""

        def show(item: ContentItem) -> None:
            value = shown.value(item) if shown is not None else None
            if value is None:
                self._display.output(item)
            elif value:
                self._display.value(value)

        every = interval(script.source, None)
        cell: StartedCell | None = None

        async def execute() -> Result | Terminated:
            nonlocal cell
            cell = await start(self._session, script, self._toolbox.definitions, every)
            self._notice_loss(cell)
            return await follow(self._session, cell, show, every)

        self._running = asyncio.create_task(execute())
        try:
            await asyncio.wait([self._running])
            if not self._running.cancelled():
                return self._running.result()
        finally:
            self._running.cancel()
            self._running = None
        if cell is None:
            return Terminated("", [])
        response = (await self._session.terminate(cell.cell_id)).response
        for item in response.content_items:
            show(item)
        return response if isinstance(response, Result) else Terminated(cell.cell_id, [])
