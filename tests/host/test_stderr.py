"""A host's own standard error, which may be full: what finds no room is counted, and nothing waits for long."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator

import pytest

from codemode_host.serving import stderr
from codemode_host.serving.stderr import REPORT_SECONDS, StderrHandler, report


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """What is written to standard error comes out here."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    monkeypatch.setattr(stderr, "FD", writing)
    yield reading
    os.close(reading)
    os.close(writing)


def fill() -> None:
    os.set_blocking(stderr.FD, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(stderr.FD, bytes(4096))
    os.set_blocking(stderr.FD, True)


def empty(pipe: int) -> bytes:
    data = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            data += os.read(pipe, 1 << 20)
    return data


def log(handler: StderrHandler, text: str) -> None:
    handler.emit(logging.LogRecord("host", logging.WARNING, "", 0, text, (), None))


def test_a_report_is_a_line_and_a_long_one_is_whole(pipe: int) -> None:
    report("the end \udc80")
    assert empty(pipe) == b"the end \\udc80\n"
    report("x" * 20_000)
    assert empty(pipe) == b"x" * 20_000 + b"\n"


def test_a_report_that_nobody_reads_waits_for_a_moment(pipe: int) -> None:
    fill()
    begun = time.monotonic()
    report("the end")
    assert REPORT_SECONDS - 0.05 < time.monotonic() - begun < REPORT_SECONDS + 10
    assert b"the end" not in empty(pipe)


def test_lines_that_find_no_room_are_counted_before_the_next_one_that_does(pipe: int) -> None:
    handler = StderrHandler()
    log(handler, "first")
    assert empty(pipe) == b"first\n"
    fill()
    begun = time.monotonic()
    for _ in range(3):
        log(handler, "left out")
    assert time.monotonic() - begun < REPORT_SECONDS
    empty(pipe)
    log(handler, "second")
    log(handler, "third")
    assert empty(pipe) == (b"codemode-host: WARNING: 3 log lines found no room here and are left out\nsecond\nthird\n")


def test_a_line_that_cannot_be_made_and_a_descriptor_that_is_closed_disturb_nobody(
    pipe: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = StderrHandler()
    wrong: list[logging.LogRecord] = []
    monkeypatch.setattr(handler, "handleError", wrong.append)
    handler.emit(logging.LogRecord("host", logging.WARNING, "", 0, "%d", ("none",), None))
    assert len(wrong) == 1
    assert empty(pipe) == b""
    monkeypatch.setattr(stderr, "FD", 999_999)
    report("nowhere")
    log(handler, "nowhere")
