"""Each way in which a host can break its promises, and what the caller gets."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from codemode_client import CodeModeProvider, Session
from codemode_client._session import delegate_calls, multiplexer
from codemode_protocol.errors import HostLostError, HostStartError, HostUnavailableError
from codemode_protocol.values import ExecuteRequest
from tests.client.host_process import require_host_pid
from tests.client.recorder import Recorder

Misbehaving = Callable[[str], list[str]]
CELL = ExecuteRequest("call", [], "")


@pytest.mark.parametrize(
    ("mode", "complaint", "status"),
    [
        ("dies-at-start", "the engine cannot be loaded", 3),
        ("dies-in-handshake", "the host ended|closed its standard output", -9),
        ("garbage", "broke the protocol", None),
        ("rejects-version", "speaks protocol version 7, 8", None),
        ("selects-unknown-version", "broke the protocol", None),
    ],
)
async def test_a_host_that_cannot_start_is_a_start_error(
    misbehaving: Misbehaving, mode: str, complaint: str, status: int | None
) -> None:
    async with CodeModeProvider(misbehaving(mode)) as provider:
        with pytest.raises(HostStartError, match=complaint) as caught:
            await provider.open_session(Recorder())
    if status is not None:
        assert caught.value.exit_status == status


async def test_the_error_carries_the_last_lines_of_standard_error_and_no_more(misbehaving: Misbehaving) -> None:
    async with CodeModeProvider(misbehaving("dies-at-start")) as provider:
        with pytest.raises(HostStartError) as caught:
            await provider.open_session(Recorder())
    assert caught.value.stderr.splitlines()[-2:] == ["line 99", "the engine cannot be loaded"]
    assert "line 50" not in str(caught.value)


async def test_a_silent_host_is_given_up_after_the_handshake_limit(misbehaving: Misbehaving) -> None:
    started = time.monotonic()
    async with CodeModeProvider(misbehaving("silent"), handshake_timeout=0.2) as provider:
        with pytest.raises(HostStartError, match=r"did not answer the handshake within 0\.2 s"):
            await provider.open_session(Recorder())
    assert time.monotonic() - started < 5


async def test_a_slow_host_within_the_limit_is_fine(misbehaving: Misbehaving) -> None:
    async with CodeModeProvider(misbehaving("slow")) as provider, provider.session(Recorder()) as session:
        assert session.generation == 1
    assert provider.counters.hosts_ended == {"closed": 1}


async def test_a_missing_program_is_a_start_error_that_names_it() -> None:
    async with CodeModeProvider(["/nowhere/codemode-host", "--verbose"]) as provider:
        with pytest.raises(HostStartError, match=r"'/nowhere/codemode-host' cannot be run: .*No such file"):
            await provider.open_session(Recorder())


async def _lose(provider: CodeModeProvider, session: Session) -> HostLostError:
    with pytest.raises(HostLostError) as caught:
        cell = await session.execute(CELL)
        await cell.initial_response()
    return caught.value


@pytest.mark.parametrize(
    ("mode", "complaint", "status"),
    [
        ("closes-output", "the host closed its standard output", None),
        ("dies-leaving-a-child", "the host ended|closed its standard output", 5),
        ("frame-over-the-limit", "broke the protocol: .*exceeds 67108864 bytes", None),
        ("ends-inside-a-frame", "broke the protocol: .*inside a frame", 0),
        ("answers-nothing-asked", "broke the protocol: .*request 1002 is not open", None),
        ("answers-twice", "broke the protocol", None),
        ("repeats-call-ids", "broke the protocol: .*duplicate delegate call id 1", None),
        ("calls-for-a-dead-cell", "broke the protocol: .*not live", None),
        ("floods-standard-error", "x\nthe end$", 6),
    ],
)
async def test_a_rule_that_is_broken_ends_the_connection_with_the_first_cause(
    misbehaving: Misbehaving, mode: str, complaint: str, status: int | None
) -> None:
    async with CodeModeProvider(misbehaving(mode)) as provider:
        session = await provider.open_session(Recorder())
        error = await _lose(provider, session)
        # The process is gone, and the next call starts another.
        assert session.generation == 2
        await _lose(provider, session)
        assert session.generation == 3
    assert re.search(complaint, str(error))
    if status is not None:
        assert error.exit_status == status


def _has_input(pid: int) -> bool:
    return os.path.lexists(f"/proc/{pid}/fd/0")


async def test_a_host_that_stops_reading_is_lost(misbehaving: Misbehaving) -> None:
    async with CodeModeProvider(misbehaving("closes-input")) as provider:
        session = await provider.open_session(Recorder())
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(_lose, provider, session)
            # Only what is written after the closing can show it.
            while _has_input(require_host_pid(provider)):  # noqa: ASYNC110 - nothing tells of its closing
                await anyio.sleep(0.005)
            error = await _lose(provider, session)
    assert "closed its standard input" in str(error)


async def test_a_second_ready_ends_the_connection(misbehaving: Misbehaving) -> None:
    async with CodeModeProvider(misbehaving("second-ready")) as provider:
        with pytest.raises((HostLostError, HostStartError), match="connection/ready is not allowed here"):
            await provider.open_session(Recorder())


async def test_a_host_that_never_shuts_a_session_down_is_given_up(misbehaving: Misbehaving) -> None:
    async with CodeModeProvider(misbehaving("never-shuts-down"), shutdown_timeout=0.2) as provider:
        session = await provider.open_session(Recorder())
        await session.shutdown()
        other = await provider.open_session(Recorder())
        assert other.generation == 1


@pytest.mark.parametrize("mode", ["ignores-end-of-input", "ends-at-sigterm-only", "never-opens"])
async def test_leaving_the_provider_ends_a_host_that_does_not_want_to(misbehaving: Misbehaving, mode: str) -> None:
    async with CodeModeProvider(misbehaving(mode), close_timeout=0.2) as provider:
        if mode == "never-opens":
            with anyio.move_on_after(0.3):
                await provider.open_session(Recorder())
        else:
            await provider.open_session(Recorder())
        started = time.monotonic()
    assert time.monotonic() - started < 4


async def test_a_child_that_a_dying_host_leaves_behind_goes_with_it(misbehaving: Misbehaving) -> None:
    async with CodeModeProvider(misbehaving("dies-leaving-a-child")) as provider:
        session = await provider.open_session(Recorder())
        group = require_host_pid(provider)
        assert "exit status 5" in str(await _lose(provider, session))
        while _alive_in_group(group):  # noqa: ASYNC110 - nothing tells of the end of a process that is not ours
            await anyio.sleep(0.005)


def _alive_in_group(group: int) -> list[int]:
    """The processes of a group that run; those that wait to be reaped by their parent do not count."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                state, _, their_group = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[:3]
                if state != "Z" and int(their_group) == group:
                    found.append(int(name))
    return found


async def test_a_flood_of_calls_that_does_not_read_the_answers_is_cut_off(
    misbehaving: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delegate_calls, "MAX_DELEGATE_CALLS", 100)
    monkeypatch.setattr(multiplexer, "QUEUE_LIMIT_BYTES", 100_000)
    async with CodeModeProvider(misbehaving("floods-with-calls")) as provider:
        session = await provider.open_session(Recorder())
        error = await _lose(provider, session)
    assert "does not read" in str(error)


async def test_a_host_that_keeps_dying_at_start_is_given_up_with_the_last_cause(misbehaving: Misbehaving) -> None:
    command = misbehaving("dies-at-start")
    async with CodeModeProvider(command, start_attempts=3, first_backoff=0.05) as provider:
        started = time.monotonic()
        for _ in range(3):
            with pytest.raises(HostStartError) as caught:
                await provider.open_session(Recorder())
            assert not isinstance(caught.value, HostUnavailableError)
        # The second start was put off by 0.05 s, the third by 0.1 s.
        assert time.monotonic() - started > 0.15
        for _ in range(2):
            with pytest.raises(HostUnavailableError, match=r"3 times in a row.*exit status 3"):
                await provider.open_session(Recorder())


async def test_dying_right_after_the_handshake_counts_as_not_starting(misbehaving: Misbehaving) -> None:
    command = misbehaving("dies-after-handshake")
    async with CodeModeProvider(command, start_attempts=2, first_backoff=0.01) as provider:
        for _ in range(2):
            with pytest.raises((HostLostError, HostStartError)):
                await provider.open_session(Recorder())
        with pytest.raises(HostUnavailableError):
            await provider.open_session(Recorder())
