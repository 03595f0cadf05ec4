"""A script as its author wrote it and as it is sent, and the mapping of positions in errors."""

from __future__ import annotations

from dataclasses import dataclass

from codemode_client._model.source_positions import point_out, position, relocate
from codemode_protocol.source import ExecSource, parse_source


@dataclass(frozen=True)
class Inserted:
    """Text inserted by the prompt: `lines` whole lines at the top, and `width` columns at `column` of `line`.

    `line` and `column` count from 1 without the inserted lines.
    """

    lines: int
    line: int
    column: int
    width: int


@dataclass(frozen=True)
class Script:
    """A script: `text` as written under `name`, and `source` as sent to the host."""

    name: str
    text: str
    source: ExecSource
    inserted: Inserted | None = None

    @classmethod
    def parse(cls, name: str, text: str) -> Script:
        """Parse a script. Raises `SourceError`."""
        return cls(name, text, parse_source(text))

    def locate(self, line: int, column: int) -> tuple[int, int]:
        """Map a position from a cell's error to the author's text."""
        if self.inserted is not None:
            line -= self.inserted.lines
            if line == self.inserted.line and column >= self.inserted.column:
                column = max(column - self.inserted.width, self.inserted.column)
        return line + self.source.stripped_lines, column

    def located(self, error_text: str) -> str:
        """Return a cell's error with its positions mapped to the author's text."""
        return relocate(error_text, self.name, self.locate)

    def marked_line(self, error_text: str) -> str:
        """Return the line of a cell's error, with a mark below the place; empty if the error names none."""
        place = position(error_text)
        if place is None:
            return ""
        line, column = self.locate(*place)
        lines = self.text.split("\n")
        return point_out(lines[line - 1], line, column) if 1 <= line <= len(lines) else ""
