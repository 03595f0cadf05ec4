"""What is counted, shared and told: panics, turns, memory given back, the facts of a failure, stored values."""

from __future__ import annotations

import argparse

import msgspec
import pytest
import trio
import trio.testing

from codemode_host import memory, supervision
from codemode_host.cells import owner as owner_module
from codemode_host.cells.owner import GIVE_BACK_SECONDS, LEAST_SLICE_SECONDS, TURN_SECONDS, BusyCells
from codemode_host.cells.stored_values import StoredValues
from codemode_host.flags import parse
from codemode_host.options import MAX_PANICS, PANIC_SECONDS, Options, zygote_options
from codemode_host.runtimes.host_side.runtimes import RuntimeExit
from codemode_host.runtimes.host_side.spawn import ZygoteOptions, engine_directory
from codemode_host.supervision import HostFailure, Panics, count_oom_kills, limit_met, watch_kernel
from codemode_protocol.default_memory import DEFAULT_MEMORY_BYTES
from codemode_protocol.exit_status import HostExitStatus
from codemode_protocol.limits import MIB, Limits
from tests.host.stage import stage


def test_panics_are_too_many_when_the_last_of_them_come_within_a_time() -> None:
    panics = Panics()
    assert [panics.are_too_many(float(number)) for number in range(MAX_PANICS - 1)] == [False] * (MAX_PANICS - 1)
    assert panics.are_too_many(PANIC_SECONDS)
    assert not panics.are_too_many(PANIC_SECONDS + 1.001)
    failure = HostFailure(HostExitStatus.ENGINE_PANIC, "engine panic", "mine", "s", "1")
    counted = Panics.count_in(failure)
    assert counted.cause == f"mine (the last of {MAX_PANICS} panics within {PANIC_SECONDS:.0f} s)"
    assert (counted.session_id, counted.cell_id, counted.status) == ("s", "1", failure.status)


def test_a_failure_is_reported_with_what_is_known_of_it_and_no_more() -> None:
    bare = HostFailure(HostExitStatus.HOST_FAULT, "a task failed", "mine")
    assert bare.report() == "codemode-host: a task failed\n  cause: mine"
    full = HostFailure(HostExitStatus.ENGINE_PANIC, "engine panic", "mine", "s", "1", ("one", "two"))
    assert full.report().splitlines()[2:] == ["  session: s", "  cell: 1", "  evidence: one", "  evidence: two"]
    assert full.block().endswith("the host stops with status 70 and takes every runtime with it")


def test_a_kill_is_the_machines_when_it_has_killed_for_memory_since(monkeypatch: pytest.MonkeyPatch) -> None:
    kills = count_oom_kills()
    assert kills >= 0
    monkeypatch.setattr(supervision, "count_oom_kills", lambda: kills)
    watch_kernel()
    killed = RuntimeExit(-9)
    assert limit_met(killed, Limits()) is None
    kills += 1
    assert limit_met(RuntimeExit(-9, asked=True), Limits()) is None
    text = limit_met(killed, Limits())
    assert text is not None
    assert "the machine ran out of memory" in text
    assert limit_met(killed, Limits()) is None
    kills += 1
    assert limit_met(RuntimeExit(-11), Limits()) is None
    watch_kernel()
    assert limit_met(killed, Limits()) is None


def test_busy_cells_share_a_turn_and_none_gets_less_than_is_worth_it() -> None:
    busy = BusyCells()
    assert busy.slice_seconds == TURN_SECONDS
    with busy:
        assert busy.slice_seconds == TURN_SECONDS / 2
        with busy:
            assert busy.slice_seconds == TURN_SECONDS / 3
    assert busy.slice_seconds == TURN_SECONDS
    for _ in range(10_000):
        busy.__enter__()
    assert busy.slice_seconds == LEAST_SLICE_SECONDS


async def test_memory_is_given_back_once_some_time_after_the_last_cell(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    monkeypatch.setattr(owner_module, "give_back_memory", lambda: given.append(trio.current_time()))
    async with stage() as on_stage:
        owner = on_stage.owner
        begun = trio.current_time()
        owner.cells = 2
        owner.cell_closed()
        await trio.sleep(2 * GIVE_BACK_SECONDS)
        assert given == []
        for _ in range(3):
            owner.cells = 1
            owner.cell_closed()
            await trio.sleep(GIVE_BACK_SECONDS / 4)
        await trio.sleep(GIVE_BACK_SECONDS)
        assert given == [pytest.approx(begun + 3 * GIVE_BACK_SECONDS)]
        owner.cells = 1
        owner.cell_closed()
        await trio.sleep(2 * GIVE_BACK_SECONDS)
        assert len(given) == 2


def test_a_c_library_without_such_calls_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    memory.keep_freed_memory()
    memory.give_back_memory()
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())  # type: ignore[attr-defined]
    memory.keep_freed_memory()
    memory.give_back_memory()


def test_stored_values_are_kept_up_to_their_number_and_size_and_no_further() -> None:
    stored = StoredValues(Limits(stored_values=2, stored_bytes=MIB))
    assert stored.as_json == b"{}"
    assert stored.commit({"a": "1", "b": "2"}) is None
    refusal = stored.commit({"a": "9", "c": "3"})
    assert refusal == "nothing was stored: the session would have more than 2 stored values"
    assert msgspec.json.decode(stored.as_json) == {"a": "1", "b": "2"}
    fits = "x" * (MIB - len(b'{"a":"1","b":""}'))
    assert stored.commit({"b": fits}) is None
    assert len(stored.as_json) == MIB
    refusal = stored.commit({"b": fits + "x"})
    assert refusal == "nothing was stored: the session's values would take more than 1 MiB"
    assert len(stored.as_json) == MIB


def test_runtimes_are_confined_and_made_the_fast_way_unless_it_is_said_otherwise() -> None:
    usual = ZygoteOptions()
    assert (usual.confined, usual.single_threaded, usual.native_jobs) == (True, True, True)
    assert (usual.memory_limit, usual.cpu_seconds) == (DEFAULT_MEMORY_BYTES, None)
    said = zygote_options(Options(Limits(memory_bytes=7, cpu_seconds=8), confinement="off"))
    assert (said.confined, said.memory_limit, said.cpu_seconds) == (False, 7, 8)
    assert zygote_options(Options()).confined


def test_an_engine_that_is_not_installed_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_directory().endswith("site-packages")
    for path in (["/nonexistent"], []):
        monkeypatch.setattr("sys.path", path)
        with pytest.raises(ModuleNotFoundError, match="install codemode-host anew"):
            engine_directory()


@pytest.mark.parametrize(("flag", "least"), [("--cells", 1), ("--spares", 0), ("--memory-mib", 0)])
def test_a_limit_is_a_number_from_its_least_on(flag: str, least: int, capsys: pytest.CaptureFixture[str]) -> None:
    parse([flag, str(least)])
    for wrong in (str(least - 1), "many", "1.5"):
        with pytest.raises(SystemExit) as raised:
            parse([flag, wrong])
        assert raised.value.code == argparse.ArgumentParser().exit_on_error + 1
        assert f"argument {flag}: invalid" in capsys.readouterr().err
