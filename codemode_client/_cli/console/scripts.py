"""A script as its author wrote it, and as it is sent: what the places in an error stand for."""

from __future__ import annotations

from dataclasses import dataclass

from codemode_client._model.source_positions import point_out, position, relocate
from codemode_protocol.source import ExecSource, parse_source


@dataclass(frozen=True)
class Inserted:
    """What was put into the source for the prompt's own purposes: `lines` whole lines before everything, and `width`
    columns at `column` of `line`, both counted from one without those lines.
    """

    lines: int
    line: int
    column: int
    width: int


@dataclass(frozen=True)
class Script:
    """`text` is what the author wrote and calls `name`, `source` is what is sent of it."""

    name: str
    text: str
    source: ExecSource
    inserted: Inserted | None = None

    @classmethod
    def parse(cls, name: str, text: str) -> Script:
        """Raises `SourceError`."""
        return cls(name, text, parse_source(text))

    def locate(self, line: int, column: int) -> tuple[int, int]:
        """A place that a cell names, in the author's text."""
        if self.inserted is not None:
            line -= self.inserted.lines
            if line == self.inserted.line and column >= self.inserted.column:
                column = max(column - self.inserted.width, self.inserted.column)
        return line + self.source.stripped_lines, column

    def located(self, error_text: str) -> str:
        """A cell's error with the author's name and numbers in its places."""
        return relocate(error_text, self.name, self.locate)

    def excerpt(self, error_text: str) -> str:
        """The line that a cell's error is about, with a mark below the place; empty when the error names none."""
        place = position(error_text)
        if place is None:
            return ""
        line, column = self.locate(*place)
        lines = self.text.split("\n")
        return point_out(lines[line - 1], line, column) if 1 <= line <= len(lines) else ""
