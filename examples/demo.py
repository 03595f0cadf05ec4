"""The main job on real input: scripts as a model would write them, over tools that read this repository.

Two cells run in one session. The first reads the repository's files through tools, in parallel, stores what it found,
shows a part of it early and catches a tool's error; the second loads what was stored and queries an SQLite database
that was built from the same files. What is printed can be checked against the files.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import sys
import time
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from codemode_client import CodeModeProvider, Session, Toolbox
from codemode_protocol.errors import ToolError
from codemode_protocol.source import parse_source
from codemode_protocol.values import (
    ContentItem,
    InputText,
    LiveCell,
    Result,
    WaitRequest,
    Yielded,
)

ROOT = Path(__file__).resolve().parent.parent
HIDDEN = {"build", "dist", "htmlcov", "node_modules", "site", "__pycache__"}

toolbox = Toolbox()


def repository_files() -> list[Path]:
    """The repository's own files: nothing hidden, nothing that was installed or built."""
    found: list[Path] = []
    for folder, folders, files in os.walk(ROOT):
        # Environments have tens of thousands of files: they are not even looked into.
        folders[:] = [name for name in folders if not name.startswith(".") and name not in HIDDEN]
        found += [Path(folder, name) for name in files if not name.startswith(".")]
    return sorted(found)


@toolbox.tool
def list_files(pattern: str) -> list[dict[str, Any]]:
    """List the repository's files whose paths match a pattern like `docs/*.md`, with their sizes in bytes."""
    return [
        {"path": name, "bytes": path.stat().st_size}
        for path in repository_files()
        if fnmatchcase(name := str(path.relative_to(ROOT)), pattern)
    ]


@toolbox.tool
def read_file(path: str) -> str:
    """Read one of the repository's text files."""
    file = (ROOT / path).resolve()
    if not file.is_relative_to(ROOT):
        raise ToolError(f"{path} is outside the repository")
    if not file.is_file():
        raise ToolError(f"{path} is not there; list_files tells what is")
    return file.read_text(encoding="utf-8")


def build_database() -> sqlite3.Connection:
    """A database of the repository's files and of the words of its documentation."""
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute("CREATE TABLE files (path TEXT PRIMARY KEY, bytes INTEGER, lines INTEGER)")
    database.execute("CREATE TABLE words (word TEXT PRIMARY KEY, count INTEGER)")
    words: Counter[str] = Counter()
    for path in repository_files():
        data = path.read_bytes()
        name = str(path.relative_to(ROOT))
        database.execute("INSERT INTO files VALUES (?, ?, ?)", (name, len(data), data.count(b"\n")))
        if path.suffix == ".md":
            words.update(re.findall(r"[a-z]{6,}", data.decode("utf-8").lower()))
    database.executemany("INSERT INTO words VALUES (?, ?)", words.items())
    database.commit()
    database.execute("PRAGMA query_only = ON")
    return database


database = build_database()


@toolbox.tool
async def query(sql: str) -> list[dict[str, Any]]:
    """Run one SQL query over the tables files(path, bytes, lines) and words(word, count)."""
    try:
        cursor = database.execute(sql)
    except sqlite3.Error as error:
        raise ToolError(str(error)) from error
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def show(items: list[ContentItem]) -> None:
    for item in items:
        print(item.text if isinstance(item, InputText) else f"[{type(item).__name__}]")


async def run_cell(session: Session, file: str) -> bool:
    """Run one script as a cell and follow it to its end; True when it succeeded."""
    source = parse_source((ROOT / "examples" / file).read_text(encoding="utf-8"))
    print(f"--- {file} ---")
    cell = await session.execute(source.source, yield_time_ms=source.yield_time_ms)
    response = await cell.initial_response()
    show(response.content_items)
    while isinstance(response, Yielded):
        print(f"... cell {cell.cell_id} yielded; waiting for more ...")
        outcome = await session.wait(WaitRequest(cell.cell_id, 10_000))
        assert isinstance(outcome, LiveCell)
        response = outcome.response
        show(response.content_items)
    if isinstance(response, Result) and response.error_text is not None:
        print(f"the script failed: {response.error_text}")
        return False
    return True


async def main() -> int:
    toolbox.on_notify = lambda text: print(f"[notification] {text}")
    started = time.perf_counter()
    async with CodeModeProvider() as provider, provider.session(toolbox) as session:
        for file in ("demo_survey.js", "demo_query.js"):
            if not await run_cell(session, file):
                return 1
    print(f"--- two cells, one host process, {time.perf_counter() - started:.2f} s ---")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
