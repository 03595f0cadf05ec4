"""The source of a script as the caller of `exec` writes it, with an optional first line of settings.

A first line `// @exec: {"yield_time_ms": 10000, "max_output_tokens": 1000}` is a pragma: the caller strips it and
applies it to the request. A host knows nothing of it. The rules and the texts are those of the reference program.
"""

from __future__ import annotations

from typing import Any

import msgspec

from codemode_protocol.errors import CodeModeError
from codemode_protocol.values import MAX_OUTPUT_TOKENS

PRAGMA_PREFIX = "// @exec:"

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that a pragma may name: up to here every reader of JSON takes integers exactly."""

_FIELDS = ("yield_time_ms", "max_output_tokens")
_SUPPORTED = "supported fields `yield_time_ms` and `max_output_tokens`"


class SourceError(CodeModeError):
    """A source cannot be executed as it is written. Nothing was sent."""


class EmptySourceError(SourceError):
    """There is no source, or none after its pragma."""


class PragmaError(SourceError):
    """The first line is a pragma that says what a pragma cannot say."""


class ExecSource(msgspec.Struct, frozen=True):
    """A source without its pragma, and what the pragma set; None where it set nothing.

    `yield_time_ms` is in milliseconds. `stripped_lines` is how many lines were taken off the front: what to add to
    a line number of the host's to find the line that the author wrote.
    """

    source: str
    yield_time_ms: int | None = None
    max_output_tokens: int | None = None
    stripped_lines: int = 0


def parse_source(text: str) -> ExecSource:
    """Take the pragma off a source, if it has one. Raises `EmptySourceError` or `PragmaError`."""
    if not text.strip():
        raise EmptySourceError(
            "exec expects raw JavaScript source text (non-empty). Provide JS only, optionally with first-line "
            '`// @exec: {"yield_time_ms": 10000, "max_output_tokens": 1000}`.'
        )
    first_line, _, rest = text.partition("\n")
    pragma = first_line.lstrip()
    if not pragma.startswith(PRAGMA_PREFIX):
        return ExecSource(text)
    if not rest.strip():
        raise EmptySourceError("exec pragma must be followed by JavaScript source on subsequent lines")
    settings = _parse_pragma(pragma.removeprefix(PRAGMA_PREFIX).strip())
    tokens = settings.get("max_output_tokens")
    return ExecSource(
        rest,
        settings.get("yield_time_ms"),
        # The wire has 32 bits for it. A budget beyond them is no budget either way.
        None if tokens is None else min(tokens, MAX_OUTPUT_TOKENS),
        stripped_lines=1,
    )


def _parse_pragma(directive: str) -> dict[str, int | None]:
    if not directive:
        raise PragmaError(f"exec pragma must be a JSON object with {_SUPPORTED}")
    try:
        settings: Any = msgspec.json.decode(directive)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise PragmaError(f"exec pragma must be valid JSON with {_SUPPORTED}: {error}") from error
    if not isinstance(settings, dict):
        raise PragmaError(f"exec pragma must be a JSON object with {_SUPPORTED}")
    for field, value in settings.items():
        if field not in _FIELDS:
            raise PragmaError(f"exec pragma only supports `yield_time_ms` and `max_output_tokens`; got `{field}`")
        if value is not None and (type(value) is not int or not 0 <= value <= MAX_SAFE_INTEGER):
            raise PragmaError(f"exec pragma field `{field}` must be a non-negative safe integer")
    return settings
