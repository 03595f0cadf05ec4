"""Loads the scripts and tools that the command line names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from codemode_client._cli.commands import UsageError
from codemode_client._tools.toolbox import Toolbox


def read_source(file: str) -> tuple[str, str]:
    """Return a script's name for messages, and its text; `-` is standard input. Raises UsageError."""
    try:
        if file != "-":
            return file, Path(file).read_text(encoding="utf-8")
        if sys.stdin is None:
            raise UsageError("cannot read standard input: it is closed")
        return "<stdin>", sys.stdin.buffer.read().decode()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text: {error}") from error


def load_tools(spec: str | None) -> Toolbox:
    """Return the toolbox for MODULE:OBJECT; an empty one for None. Raises UsageError."""
    if spec is None:
        return Toolbox()
    module_name, colon, path = spec.partition(":")
    if not (module_name and colon and path):
        raise UsageError(f"--tools {spec}: write it as MODULE:OBJECT, as in mytools:toolbox")
    sys.path.insert(0, str(Path.cwd()))
    try:
        target: Any = importlib.import_module(module_name)
    except Exception as error:  # the user's module may raise anything
        raise UsageError(f"--tools {spec}: cannot import {module_name}: {_in_one_line(error)}") from error
    for attribute in path.split("."):
        try:
            target = getattr(target, attribute)
        except AttributeError as error:
            raise UsageError(f"--tools {spec}: {module_name} has no {path}") from error
    return _as_toolbox(spec, target)


@asynccontextmanager
async def connected(toolbox: Toolbox, servers: str | None) -> AsyncIterator[None]:
    """Connect the MCP servers of a file, if given, and add their tools to the toolbox for the block.

    Raises:
        UsageError: The file or one of its servers cannot be used.
    """
    if servers is None:
        yield
        return
    try:
        from codemode_client.mcp import McpServerError, connect
    except ImportError as error:
        raise UsageError(str(error)) from error
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(connect(servers, toolbox))
        except McpServerError as error:
            raise UsageError("\n".join([str(error), *getattr(error, "__notes__", [])])) from error
        yield


def _as_toolbox(spec: str, target: object) -> Toolbox:
    """Return a Toolbox, or functions in a new one."""
    if isinstance(target, Toolbox):
        return target
    functions: list[Callable[..., object]] = []
    for candidate in target if isinstance(target, (list, tuple)) else [target]:
        if not callable(candidate):
            raise UsageError(f"--tools {spec}: {candidate!r} is no function; give a Toolbox or functions")
        functions.append(candidate)
    try:
        return Toolbox(functions)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--tools {spec}: {error}") from error


def _in_one_line(error: Exception) -> str:
    """Format an exception and, unless it is an ImportError, the line of the user's code that raised it."""
    if isinstance(error, ImportError):
        return str(error)
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    where = "" if traceback is None else f" ({traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno})"
    return f"{type(error).__name__}: {error}".replace("\n", " ") + where
