"""The prompt in a terminal: history, several lines, highlighting, completion. Needs the extra `repl`."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from codemode_client._cli.commands import UsageError
from codemode_client._cli.console.javascript import is_complete
from codemode_protocol.helpers import NAMES

try:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.lexers import PygmentsLexer
    from prompt_toolkit.output.defaults import create_output
    from pygments.lexers.javascript import JavascriptLexer
except ImportError as error:
    raise UsageError(
        "a prompt needs the extra `repl`: pip install 'codemode-host[repl]'; without it, cells can be piped in"
    ) from error

_LANGUAGE = (
    "Array BigInt Boolean Date Error Infinity Intl JSON Map Math NaN Number Object Promise Proxy RangeError Reflect "
    "RegExp Set String Symbol SyntaxError TypeError Uint8Array WeakMap async await const false for function globalThis "
    "null return throw true typeof undefined while"
)
_GLOBALS = sorted([*_LANGUAGE.split(), *NAMES])

_WORD = re.compile(r"[\w$]*$")
_TOOL = re.compile(r"\btools\s*\.\s*([\w$]*)$")


class Prompt:
    """The prompt. `tools` are the tools' names in JavaScript with a line about each, `commands` the dot commands."""

    def __init__(self, tools: Mapping[str, str], commands: Iterable[str]) -> None:
        self._session: PromptSession[str] = PromptSession(
            "> ",
            history=_history(),
            multiline=True,
            prompt_continuation=lambda width, number, wraps: "  " if wraps else "… ",
            lexer=PygmentsLexer(JavascriptLexer),
            completer=_Words(tools, commands),
            complete_while_typing=False,
            key_bindings=_bindings(),
            output=create_output(always_prefer_tty=True),
        )

    def read(self) -> str | None:
        """Read the next input; return None for Ctrl-C, which discards it. Raises EOFError for Ctrl-D."""
        try:
            return self._session.prompt()
        except KeyboardInterrupt:
            return None


class _Words(Completer):
    def __init__(self, tools: Mapping[str, str], commands: Iterable[str]) -> None:
        self._tools = tools
        self._commands = sorted(commands)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield tools after `tools.`, commands after a leading dot, else globals."""
        before = document.text_before_cursor
        if tool := _TOOL.search(before):
            for name, about in self._tools.items():
                if name.startswith(tool[1]):
                    yield Completion(name, -len(tool[1]), display_meta=about)
            return
        if before.startswith(".") and "\n" not in before:
            yield from (Completion(word, -len(before)) for word in self._commands if word.startswith(before))
            return
        match = _WORD.search(before)
        word = match[0] if match is not None else ""
        if word and before[: -len(word)].rstrip()[-1:] != ".":
            yield from (Completion(name, -len(word)) for name in _GLOBALS if name.startswith(word))


def _bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if "\n" not in buffer.document.text_after_cursor and is_complete(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.newline()

    def _at_margin() -> bool:
        from prompt_toolkit.application import get_app

        return not get_app().current_buffer.document.current_line_before_cursor.strip()

    @bindings.add("tab", filter=Condition(_at_margin))
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("  ")

    return bindings


def _history() -> History:
    """Return a history in a file that only its owner can read, or in memory if that is not possible."""
    home = os.environ.get("XDG_STATE_HOME", "")
    folder = (Path(home) if os.path.isabs(home) else Path.home() / ".local" / "state") / "codemode"
    path = folder / "repl-history"
    with contextlib.suppress(OSError, RuntimeError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
        path.chmod(0o600)
        return FileHistory(path)
    return InMemoryHistory()
