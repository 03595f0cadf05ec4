"""`codemode run`: one script, one cell, its output as it comes."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TextIO

import msgspec
import trio

from codemode_protocol.errors import CodeModeError, HostError, RequestFailedError, first_cause
from codemode_protocol.source import ExecSource, parse_source
from codemode_protocol.values import (
    ContentItem,
    ExecuteRequest,
    InputAudio,
    InputImage,
    InputText,
    LiveCell,
    Result,
    RuntimeResponse,
    WaitRequest,
    Yielded,
)

from .cli import ExitStatus
from .provider import CodeModeProvider
from .toolbox import Toolbox

DEFAULT_YIELD_MS = 200

_POSITION = re.compile(r"exec_main\.mjs:(\d+):(\d+)")


class UsageError(Exception):
    """What the user asked for cannot be done; the message says why and what would do."""


class Display(Protocol):
    """Where a run's events go."""

    def output(self, items: list[ContentItem]) -> None: ...

    def notification(self, text: str) -> None: ...

    def ended(self, result: RuntimeResponse) -> None: ...


class TextDisplay:
    """Output on standard output, everything about it on standard error."""

    def __init__(self, name: str, source: ExecSource, out: TextIO, err: TextIO) -> None:
        self._name = name
        self._lines = source.source.split("\n")
        self._first_line = source.stripped_lines
        self._out = out
        self._err = err

    def output(self, items: list[ContentItem]) -> None:
        for item in items:
            match item:
                case InputText(text):
                    self._out.write(text + "\n")
                case InputImage(url) | InputAudio(url):
                    kind = url.partition(";")[0].removeprefix("data:")
                    self._out.write(f"[{kind}, {len(url)} characters]\n")
        self._out.flush()

    def notification(self, text: str) -> None:
        self._err.write(f"[notification] {text}\n")
        self._err.flush()

    def ended(self, result: RuntimeResponse) -> None:
        if isinstance(result, Result):
            if result.error_text is not None:
                self._err.write(self._explain(result.error_text))
        else:
            self._err.write("the cell was terminated\n")

    def _explain(self, error_text: str) -> str:
        """The error with the user's own file name, and the line that it is about."""
        text = _POSITION.sub(lambda match: f"{self._name}:{int(match[1]) + self._first_line}:{match[2]}", error_text)
        match = _POSITION.search(error_text)
        if match is not None:
            line, column = int(match[1]), int(match[2])
            if 1 <= line <= len(self._lines):
                source = self._lines[line - 1].replace("\t", " ")
                text += f"\n\n{line + self._first_line:>5} | {source}\n      | {' ' * (column - 1)}^"
        return text + "\n"


class JsonDisplay:
    """One JSON object a line: `output`, `notification`, and last `result` or `terminated`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def output(self, items: list[ContentItem]) -> None:
        for item in items:
            self._write({"type": "output", "item": item})

    def notification(self, text: str) -> None:
        self._write({"type": "notification", "text": text})

    def ended(self, result: RuntimeResponse) -> None:
        if isinstance(result, Result):
            self._write({"type": "result", "cell_id": result.cell_id, "error_text": result.error_text})
        else:
            self._write({"type": "terminated", "cell_id": result.cell_id})

    def _write(self, event: dict[str, object]) -> None:
        self._out.write(msgspec.json.encode(event).decode() + "\n")
        self._out.flush()


def run_command(options: argparse.Namespace) -> int:
    """Run what the command line asks for; returns the exit status."""
    try:
        name, text = read_source(options.file)
        source = parse_source(text)
        toolbox = load_tools(options.tools)
    except (UsageError, CodeModeError) as error:
        sys.stderr.write(f"codemode run: {error}\n")
        return ExitStatus.USAGE
    display: Display = JsonDisplay(sys.stdout) if options.json else TextDisplay(name, source, sys.stdout, sys.stderr)
    command = shlex.split(options.host) if options.host else None
    yield_ms = options.yield_ms
    if yield_ms is None:
        yield_ms = source.yield_time_ms if source.yield_time_ms is not None else DEFAULT_YIELD_MS
    status = ExitStatus.HOST_FAILURE
    try:
        status = trio.run(run_source, source, toolbox, display, yield_ms, command)
    except* HostError as group:
        sys.stderr.write(f"codemode run: {first_cause(group)}\n")
    except* RequestFailedError as group:
        sys.stderr.write(f"codemode run: {first_cause(group)}\n")
        status = ExitStatus.SCRIPT_ERROR
    except* KeyboardInterrupt:
        sys.stderr.write("interrupted: the cell was stopped\n")
        status = ExitStatus.INTERRUPTED
    except* BrokenPipeError:
        status = ExitStatus.OK  # whoever read our output has had enough
    return status


async def run_source(
    source: ExecSource, toolbox: Toolbox, display: Display, yield_ms: int, command: list[str] | None
) -> ExitStatus:
    """Run one cell to its end."""
    toolbox.on_notify = display.notification
    request = ExecuteRequest("run", toolbox.definitions, source.source, yield_ms, source.max_output_tokens)
    async with CodeModeProvider(command) as provider, provider.session(toolbox) as session:
        cell = await session.execute(request)
        response = await cell.initial_response()
        while True:
            display.output(response.content_items)
            if not isinstance(response, Yielded):
                break
            outcome = await session.wait(WaitRequest(cell.cell_id, yield_ms))
            assert isinstance(outcome, LiveCell), "nobody else takes this cell's result"
            response = outcome.response
        display.ended(response)
    succeeded = isinstance(response, Result) and response.error_text is None
    return ExitStatus.OK if succeeded else ExitStatus.SCRIPT_ERROR


def read_source(file: str) -> tuple[str, str]:
    """A script's name for people, and its text."""
    try:
        if file == "-":
            return "<stdin>", sys.stdin.read()
        return file, Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text: {error}") from error


def load_tools(spec: str | None) -> Toolbox:
    """The toolbox that MODULE:OBJECT stands for."""
    if spec is None:
        return Toolbox()
    module_name, colon, path = spec.partition(":")
    if not (module_name and colon and path):
        raise UsageError(f"--tools {spec}: write it as MODULE:OBJECT, as in mytools:toolbox")
    sys.path.insert(0, str(Path.cwd()))
    try:
        target: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(f"--tools {spec}: cannot import {module_name}: {error}") from error
    for attribute in path.split("."):
        try:
            target = getattr(target, attribute)
        except AttributeError as error:
            raise UsageError(f"--tools {spec}: {module_name} has no {path}") from error
    return as_toolbox(spec, target)


def as_toolbox(spec: str, target: object) -> Toolbox:
    """A Toolbox as it is, functions put into one."""
    if isinstance(target, Toolbox):
        return target
    functions: list[Callable[..., object]] = []
    for candidate in target if isinstance(target, (list, tuple)) else [target]:
        if not callable(candidate):
            raise UsageError(f"--tools {spec}: {candidate!r} is no function; give a Toolbox or functions")
        functions.append(candidate)
    return Toolbox(functions)
