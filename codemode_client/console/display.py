"""What a cell does, shown as it happens: as text for a person, or as one JSON object a line."""

from __future__ import annotations

import re
import sys
from typing import Protocol

import msgspec

from codemode_protocol.source import ExecSource
from codemode_protocol.values import ContentItem, InputAudio, InputImage, InputText, Result, RuntimeResponse

_POSITION = re.compile(r"exec_main\.mjs:(\d+):(\d+)")


class Display(Protocol):
    """Where the events of a cell go."""

    def output(self, items: list[ContentItem]) -> None: ...

    def notification(self, text: str) -> None: ...

    def ended(self, result: RuntimeResponse, name: str, source: ExecSource) -> None:
        """The cell is over; `name` and `source` are what it ran, for the places in its error."""


class TextDisplay:
    """Output on standard output, everything about it on standard error."""

    def output(self, items: list[ContentItem]) -> None:
        for item in items:
            match item:
                case InputText(text):
                    sys.stdout.write(text + "\n")
                case InputImage(url) | InputAudio(url):
                    kind = url.partition(";")[0].removeprefix("data:")
                    sys.stdout.write(f"[{kind}, {len(url)} characters]\n")
        sys.stdout.flush()

    def notification(self, text: str) -> None:
        sys.stderr.write(f"[notification] {text}\n")
        sys.stderr.flush()

    def ended(self, result: RuntimeResponse, name: str, source: ExecSource) -> None:
        if not isinstance(result, Result):
            sys.stderr.write("the cell was terminated\n")
        elif result.error_text is not None:
            sys.stderr.write(explain(result.error_text, name, source) + "\n")
        sys.stderr.flush()


class JsonDisplay:
    """One JSON object a line: `output`, `notification`, and last `result` or `terminated`."""

    def output(self, items: list[ContentItem]) -> None:
        for item in items:
            write_json({"type": "output", "item": item})

    def notification(self, text: str) -> None:
        write_json({"type": "notification", "text": text})

    def ended(self, result: RuntimeResponse, name: str, source: ExecSource) -> None:
        if isinstance(result, Result):
            write_json({"type": "result", "cell_id": result.cell_id, "error_text": result.error_text})
        else:
            write_json({"type": "terminated", "cell_id": result.cell_id})


def write_json(value: object) -> None:
    """One line of JSON on standard output, in UTF-8 whatever the locale says."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def explain(error_text: str, name: str, source: ExecSource) -> str:
    """An error with the user's own name for the source in its places, and the line that it is about."""
    stripped = source.stripped_lines
    text = _POSITION.sub(lambda match: f"{name}:{int(match[1]) + stripped}:{match[2]}", error_text)
    match = _POSITION.search(error_text)
    lines = source.source.split("\n")
    if match is not None and 1 <= int(match[1]) <= len(lines):
        line = lines[int(match[1]) - 1].replace("\t", " ")
        text += f"\n\n{int(match[1]) + stripped:>5} | {line}\n      | {' ' * (int(match[2]) - 1)}^"
    return text
