"""docs/security.md and docs/limits.md: each promise has its tests, and the numbers and texts are those of the code."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import pytest

from codemode_client import ModelTools, Toolbox
from codemode_client._model.output import MAX_ERROR_TOKENS, MAX_MEDIA, MAX_MEDIA_BYTES
from codemode_client._model.tools import MAX_GATHERED
from codemode_client._session.delegate_calls import MAX_DELEGATE_CALLS
from codemode_client._session.multiplexer import QUEUE_LIMIT_BYTES
from codemode_client._session.options import ProviderOptions
from codemode_host.cells.owner import TURN_SECONDS
from codemode_host.runtimes import link
from codemode_host.runtimes.cell.confinement import DATA_HEADROOM_BYTES
from codemode_host.runtimes.cell.priority import SHORT_SECONDS
from codemode_host.runtimes.host_side.memory_watch import CLOSE_WATCH_SECONDS, LOOKS_OVER_LIMIT, WATCH_SECONDS
from codemode_host.runtimes.host_side.output import ANSWER_BYTES, LEAST_OUTPUT_BYTES, MAX_ITEM_BYTES
from codemode_protocol import limits
from codemode_protocol.ids import MAX_NAMES
from codemode_protocol.limits import MAX_FRAME_BYTES, MAX_ITEM_JSON_BYTES, MAX_JSON_DEPTH, MIB, LimitText
from codemode_protocol.values import DEFAULT_YIELD_TIME_MS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
SECURITY, LIMITS = (DOCS / name for name in ("security.md", "limits.md"))


def default(function: object, name: str) -> str:
    """The default of a parameter, as the page writes it."""
    assert callable(function)
    value = inspect.signature(function).parameters[name].default
    return "none" if value is None else f"{value:,.0f}"


TIMES = "; ".join(default(ProviderOptions, f"{name}_timeout") for name in ("handshake", "shutdown", "close"))
NUMBERS = {
    "payload of a frame": f"{MAX_FRAME_BYTES // MIB} MiB",
    "one text or image": (
        f"{MAX_ITEM_BYTES // MIB} MiB in the output memory (one byte a character; two, if any is beyond Latin-1), "
        f"{MAX_ITEM_JSON_BYTES // MIB} MiB as JSON"
    ),
    "one notification": f"{MAX_ITEM_JSON_BYTES // MIB} MiB as JSON",
    "output in one answer": f"{ANSWER_BYTES // MIB} MiB of JSON, more or less",
    "nesting of a tool call's input, and of its answer": f"{MAX_JSON_DEPTH} levels",
    "what one cell stores, as JSON": f"{link.MAX_END_CHARACTERS // MIB} MiB",
    "texts and images before the output memory is emptied": f"{link.MAX_RECORDS:,}",
    "time of the host for busy cells, all together, before others are served": f"{TURN_SECONDS * 1000:g} ms",
    "error text of a cell": f"{link.MAX_ERROR_TEXT:,} characters",
    "output memory of a cell": f"{link.OUTPUT_BYTES // MIB} MiB",
    "session ids without an order that one connection opens": f"{MAX_NAMES:,}",
    "how long an execute or a wait observes, in milliseconds (from 10,000 on, a second longer)": (
        f"{DEFAULT_YIELD_TIME_MS:,}"
    ),
    "how long a model's `exec` or `wait` does, whatever the model says": default(ModelTools, "max_wait_ms"),
    "output that a model's `wait` for the end gathers, in MiB": str(MAX_GATHERED // MIB),
    "output shown to a model, in tokens": default(ModelTools, "max_output_tokens"),
    "images and sounds in one answer for a model": f"{MAX_MEDIA}, and {MAX_MEDIA_BYTES // MIB} MiB",
    "an error text shown to a model, in tokens": f"{MAX_ERROR_TOKENS:,}",
    "seconds for a call of a tool": default(Toolbox, "timeout"),
    "plain functions of a toolbox that run at once, on one event loop": default(Toolbox, "threads"),
    "tool calls in flight of one session": f"{MAX_DELEGATE_CALLS:,}",
    "what is queued for a host that has not read it, in MiB, before new work waits": str(QUEUE_LIMIT_BYTES // MIB),
    "seconds for a host to answer at all; to close a session; to end": TIMES,
    "seconds for a host to answer a request, beyond what the request observes": default(
        ProviderOptions, "stall_timeout"
    ),
    "failed starts of a host in a row": default(ProviderOptions, "start_attempts"),
}
"""The second column of each limit that is no option of the host; tests/host/test_limits.py has those that are."""


def read_rows(page: Path) -> list[list[str]]:
    """The cells of each row of each table of a page, without headings."""
    rows = [line.strip("|").split("|") for line in page.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if row[0].strip() not in ("promise", "limit", "---")]


def read_tests(page: Path) -> dict[str, list[str]]:
    """The tests that a page names, by the promise."""
    section = page.read_text().partition("\n## Tests\n")[2]
    found = re.findall(r"^- (.+):\n((?:  - `.+`\n)+)", section, re.MULTILINE)
    assert len(found) == section.count("\n- ")
    return {promise: re.findall("`(.+)`", tests) for promise, tests in found}


@cache
def define(path: Path) -> set[str]:
    """The functions and methods that a file has."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions)}


def test_each_test_that_a_page_names_is_there() -> None:
    missing = []
    for page in (*DOCS.rglob("*.md"), ROOT / "SECURITY.md"):
        for path, name in re.findall(r"\b(tests/[\w/]+\.py)::(\w+)", page.read_text()):
            if not (ROOT / path).is_file() or name not in define(ROOT / path):
                missing.append(f"{page.name}: {path}::{name}")
    assert missing == []


@pytest.mark.parametrize("page", [SECURITY, LIMITS], ids=lambda page: page.stem)
def test_each_promise_has_its_tests(page: Path) -> None:
    promises = [row[0] for row in read_rows(page)]
    promises += [f"Layer {number}" for number in re.findall(r"^(\d+)\. ", page.read_text(), re.MULTILINE)]
    tests = read_tests(page)
    assert [promise for promise in promises if promise not in tests] == []
    assert [
        test for named in tests.values() for test in named if not re.fullmatch(r"tests/[\w/]+\.py::\w+", test)
    ] == []


def test_the_numbers_of_the_limits_are_those_of_the_code() -> None:
    rows = {row[0]: row[1] for row in read_rows(LIMITS) if not (len(row) > 3 and "`--" in row[2])}
    assert rows == NUMBERS


def test_other_numbers_of_the_pages_are_those_of_the_code() -> None:
    assert f"{SHORT_SECONDS * 1000:g} ms of it" in SECURITY.read_text()
    page = " ".join(LIMITS.read_text().split())
    assert f"cells that hold more than {LEAST_OUTPUT_BYTES // MIB} MiB" in page
    assert f"the kernel refuses it more than {DATA_HEADROOM_BYTES >> 30} GiB beyond the limit" in page
    assert f"is bounded, {2 * DATA_HEADROOM_BYTES >> 30} GiB beyond the limit" in page
    assert "is given less than a second to get below again" in page
    assert WATCH_SECONDS + (LOOKS_OVER_LIMIT - 1) * CLOSE_WATCH_SECONDS < 1


@pytest.mark.parametrize(
    "text", [one for one in vars(limits).values() if isinstance(one, LimitText)], ids=lambda text: text.template[:30]
)
def test_what_is_said_at_a_limit_stands_on_the_page(text: LimitText) -> None:
    remedy = "terminate some, or take the results of those that ended"
    said = text(limit="N", size="N", session="ID", reason="WHY", remedy=remedy)
    assert f"`{said}`" in LIMITS.read_text()
