"""Code mode as an MCP server: `exec` and `wait` over one session, for one MCP client."""

from __future__ import annotations

import base64
import itertools
from collections import deque
from collections.abc import Mapping, Sequence

import anyio
from mcp import ServerSession
from mcp.server import NotificationOptions, ServerRequestContext
from mcp.server import Server as SdkServer
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.types import (
    AudioContent,
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)
from msgspec import Raw

from codemode_client._model.forms import split_data_url
from codemode_client._model.output import ModelOutput
from codemode_client._model.tools import ModelTools
from codemode_client._observability.foreign import ForeignLog
from codemode_client.mcp._wire import RELEASE, TransportStreams
from codemode_protocol.errors import CodeModeError
from codemode_protocol.session import Delegate
from codemode_protocol.values import ContentItem, InputAudio, InputImage, InputText, ToolInvocation

logger: ForeignLog = ForeignLog("codemode_client.mcp")

MAX_NOTES = 1_000
"""The most texts of `notify()` that wait for the next answer. Beyond it the oldest are dropped."""

MAX_NOTE_CHARACTERS = 4_000
MAX_INSTRUCTION_CHARACTERS = 4_000

Context = ServerRequestContext[object, object]


class Notes:
    """A delegate that passes calls on to another delegate and keeps the texts of `notify()`, the notes.

    A note is sent at once as the progress of the `exec` that started the cell, if that still runs and the client asked
    for progress, and is returned to the model with the next answer about the cell.
    """

    def __init__(self, delegate: Delegate) -> None:
        self._delegate = delegate
        self._notes: deque[tuple[str, str]] = deque(maxlen=MAX_NOTES)
        self._calls: dict[str, tuple[ServerSession, itertools.count[int]]] = {}

    async def invoke_tool(self, invocation: ToolInvocation) -> Raw:
        return await self._delegate.invoke_tool(invocation)

    async def notify(self, call_id: str, cell_id: str, text: str) -> None:
        self._notes.append((cell_id, text[:MAX_NOTE_CHARACTERS]))
        await self._delegate.notify(call_id, cell_id, text)
        if (call := self._calls.get(call_id)) is not None:
            session, numbers = call
            await session.report_progress(next(numbers), message=text[:MAX_NOTE_CHARACTERS])

    def cell_closed(self, cell_id: str) -> None:
        self._delegate.cell_closed(cell_id)

    def started(self, call_id: str, session: ServerSession) -> None:
        """Register a client's call under our own id."""
        self._calls[call_id] = session, itertools.count(1)

    def ended(self, call_id: str) -> None:
        del self._calls[call_id]

    def take(self, cell_id: str | None) -> list[str]:
        """Take the notes of a cell."""
        taken = [text for cell, text in self._notes if cell == cell_id]
        if taken:
            kept = [note for note in self._notes if note[0] != cell_id]
            self._notes.clear()
            self._notes.extend(kept)
        return taken


class CodeModeServer:
    """`exec` and `wait` as the tools of an MCP server. `notes` is the delegate of the session of `tools`."""

    def __init__(self, tools: ModelTools, notes: Notes, *, instructions: Mapping[str, str] | None = None) -> None:
        self._tools = tools
        self._notes = notes
        self._numbers = itertools.count(1)
        self._changes = anyio.Event()
        self._bus = InMemorySubscriptionBus()
        self._listener: ServerSession | None = None
        """The session for telling a client of the older protocol about changes."""
        self._server: SdkServer[object] = SdkServer(
            "codemode",
            version=RELEASE,
            instructions=_instructions(instructions or {}),
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_subscriptions_listen=ListenHandler(self._bus),
        )

    def tools_changed(self) -> None:
        """Notify the client that the descriptions have changed. May be called at any time."""
        self._changes.set()

    async def run(self, streams: TransportStreams) -> None:
        """Serve one client until it closes the connection."""
        read, write = streams
        options = self._server.create_initialization_options(NotificationOptions(tools_changed=True))
        async with anyio.create_task_group() as group:
            group.start_soon(self._tell_of_changes)
            await self._server.run(read, write, options)
            group.cancel_scope.cancel()

    async def _tell_of_changes(self) -> None:
        while True:
            await self._changes.wait()
            self._changes = anyio.Event()
            await self._bus.publish(ToolsListChanged())
            if self._listener is not None:
                await self._listener.send_tool_list_changed()

    async def _list_tools(self, context: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        self._listener = context.session
        tools = self._tools.definitions
        return ListToolsResult(
            tools=[Tool(name=one.name, description=one.description, input_schema=one.input_schema) for one in tools]
        )

    async def _call_tool(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        call_id = f"call-{next(self._numbers)}"
        self._notes.started(call_id, context.session)
        try:
            output = await self._tools.call(params.name, params.arguments or {}, call_id=call_id)
        except CodeModeError as error:
            logger.error("%s: %s", params.name, error)
            return CallToolResult(content=[TextContent(text=str(error))], is_error=True)
        finally:
            self._notes.ended(call_id)
        return call_result(output, self._notes.take(output.cell_id))


def call_result(output: ModelOutput, notes: Sequence[str] = ()) -> CallToolResult:
    """Convert an output to MCP. Notes come last, each as a separate text."""
    content = [_block(item) for item in output.items]
    content += [TextContent(text=f"Notification from the script: {note}") for note in notes]
    return CallToolResult(content=content, is_error=output.is_error)


def _block(item: ContentItem) -> ContentBlock:
    match item:
        case InputText(text):
            return TextContent(text=text)
        case InputImage(url) | InputAudio(url):
            kind = "image" if isinstance(item, InputImage) else "sound"
            try:
                mime_type, data = split_data_url(url)
            except ValueError as error:
                return TextContent(text=f"[a {kind} that cannot be shown: {error}]")
            encoded = base64.b64encode(data).decode()
            if isinstance(item, InputImage):
                return ImageContent(data=encoded, mime_type=mime_type)
            return AudioContent(data=encoded, mime_type=mime_type)


def _instructions(said: Mapping[str, str]) -> str | None:
    """Return the instructions of the servers behind the tools, for the model of the client."""
    if not said:
        return None
    parts = ["The servers whose tools scripts can call say about themselves:"]
    for name, text in said.items():
        cut = text if len(text) <= MAX_INSTRUCTION_CHARACTERS else text[:MAX_INSTRUCTION_CHARACTERS] + "…"
        parts.append(f"# {name}\n\n{cut}")
    return "\n\n".join(parts)
