"""Every limit of the host is met on purpose: what happens to the one concerned, and that others go on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import resource
from pathlib import Path

import pytest
import trio
from msgspec import Raw

from codemode_host.flags import parse
from codemode_host.options import Options
from codemode_protocol.exit_status import HostExitStatus
from codemode_protocol.limits import FLAGS, Limits
from codemode_protocol.messages import (
    DelegateRequest,
    DelegateResponse,
    HostMessage,
    InvokeTool,
    NotificationDelivered,
    OperationRequest,
    SendNotification,
    Success,
    ToolResult,
    Wait,
)
from codemode_protocol.values import Result, Terminated, WaitRequest, Yielded
from tests.host.controlled import find_socket, wait_for_cell
from tests.host.program import Program, read_texts, run_program, wait_until

MIB = 1024 * 1024
DOCUMENT = Path(__file__).parents[2] / "docs" / "limits.md"


def is_call(message: HostMessage) -> bool:
    return isinstance(message, DelegateRequest)


async def answer(host: Program, message: HostMessage, text: bytes = b"1") -> None:
    assert isinstance(message, DelegateRequest)
    value = NotificationDelivered() if isinstance(message.request, SendNotification) else ToolResult(Raw(text))
    await host.stdin.send_all(host.connection.send(DelegateResponse(message.id, Success(value))))


def is_in_write(pid: int) -> bool:
    """Whether a process is in a write, which for a cell is one to its link."""
    return Path(f"/proc/{pid}/syscall").read_text().startswith("1 ")


def test_each_flag_is_documented_with_its_default() -> None:
    rows = {match[1]: match[0] for match in re.finditer(r"^\|.*`(--[a-z-]+) N`.*$", DOCUMENT.read_text(), re.MULTILINE)}
    assert set(rows) == {flag.flag for flag in FLAGS.values()}
    assert set(FLAGS) == set(Limits._fields)
    for field, flag in FLAGS.items():
        default = getattr(Limits(), field)
        said = "none" if default is None else f"{default // flag.unit:,}"
        assert f"| {said}" in rows[flag.flag], (flag, said)


def test_flags_without_arguments_are_the_defaults() -> None:
    assert parse([]) == Options()
    assert parse(["--memory-mib", "0"]).limits.memory_bytes is None
    with pytest.raises(SystemExit):
        parse(["--cells", "0"])


async def test_processor_time() -> None:
    async with run_program("--cpu-seconds", "1") as host:
        await host.open()
        result = await host.run("text('before'); while (true) {}")
        assert result.error_text == "cell exceeded its processor time limit of 1 s"
        assert read_texts(result) == ["before"]
        assert read_texts(await host.run("text(1)")) == ["1"]


async def test_cells_per_session_and_per_host() -> None:
    async with run_program("--cells-per-session", "2", "--cells", "3") as host:
        await host.open("a")
        await host.open("b")
        for session in ("a", "a", "b"):
            await host.start("await new Promise(() => {})", session)
        with pytest.raises(RuntimeError, match="session a has 2 cells already"):
            await host.start("1", "a")
        with pytest.raises(RuntimeError, match="the host has 3 cells already"):
            await host.start("1", "b")
        assert isinstance(await host.terminate("1", "a"), Terminated)
        _, cell = await host.start("1", "b")
        assert cell == "2"  # a refused cell takes no number


@pytest.mark.parametrize("flag", ["--cells", "--cells-per-session"])
async def test_a_cell_whose_result_has_not_been_taken_counts(folder: str, flag: str) -> None:
    async with run_program(flag, "1", "--control", folder) as host:
        await host.open()
        number, cell = await host.start("text('over')", yield_ms=0)
        await host.first(number)
        await wait_for_cell(await find_socket(folder, host.pid), cell, "finished")
        with pytest.raises(RuntimeError, match="has 1 cells already"):
            await host.start("1")
        assert read_texts(await host.wait(cell)) == ["over"]
        assert (await host.run("1")).error_text is None


async def test_source_size() -> None:
    async with run_program("--source-mib", "1") as host:
        await host.open()
        with pytest.raises(RuntimeError, match="more than 1 MiB"):
            await host.start("/*" + "x" * MIB + "*/")
        assert (await host.run("/*" + "x" * (MIB - 100) + "*/")).error_text is None


async def test_stored_values_by_number_and_size_are_all_kept_or_none() -> None:
    async with run_program("--stored-values", "3", "--stored-mib", "1") as host:
        await host.open()
        assert (await host.run("store('a', 1); store('b', 2)")).error_text is None
        result = await host.run("store('a', 9); store('c', 3); store('d', 4)")
        assert result.error_text == "nothing was stored: the session would have more than 3 stored values"
        result = await host.run("store('a', 9); store('c', 'x'.repeat(1e6)); throw 'mine'")
        assert result.error_text is None or result.error_text == "mine"
        result = await host.run("store('b', 'x'.repeat(1e6)); throw 'mine'")
        assert result.error_text == "mine\nnothing was stored: the session's values would take more than 1 MiB"
        assert read_texts(await host.run("text([load('a'), load('b'), load('d')].join())")) == ["9,2,"]


async def test_what_one_cell_stores_is_bounded_whatever_its_session_may_store() -> None:
    async with run_program("--stored-mib", "1024", "--memory-mib", "1024") as host:
        await host.open()
        result = await host.run("store('a', 1); for (let i = 0; i < 68; i++) store('k' + i, 'x'.repeat(1e6))")
        assert result.error_text == "nothing was stored: what the cell stores takes more than 64 MiB as JSON"
        assert read_texts(await host.run("text(typeof load('a'))")) == ["undefined"]
        for part in range(2):
            source = f"for (let i = 0; i < 34; i++) store('k' + {part} + i, 'x'.repeat(1e6))"
            assert (await host.run(source)).error_text is None


async def test_calls_in_flight_wait_for_each_other_and_none_is_lost() -> None:
    async with run_program("--calls", "4") as host:
        await host.open()
        number, _ = await host.start(
            "text((await Promise.all([...'0123456789'].map((i) => tools.f(+i)))).length); notify('n')", "s", "f"
        )
        for _ in range(11):
            message = await host.receive(is_call)
            assert len(host.connection.pending_calls("s", "1")) <= 4
            await answer(host, message)
        response = await host.first(number)
        assert isinstance(response, Result)
        assert (read_texts(response), response.error_text) == (["10"], None)


async def test_a_cell_at_its_limit_of_calls_can_be_observed_and_ended() -> None:
    async with run_program("--calls", "4") as host:
        await host.open()
        number, cell = await host.start("for (;;) tools.f()", "s", "f", yield_ms=50)
        assert isinstance(await host.first(number), Yielded)
        assert isinstance(await host.wait(cell, ms=10), Yielded)
        assert isinstance(await host.terminate(cell), Terminated)


async def test_answers_that_a_cell_does_not_read() -> None:
    async with run_program("--answers-mib", "2") as host:
        await host.open()
        number, _ = await host.start("for (let i = 0; i < 8; i++) tools.f(); while (true) {}", "s", "f")
        calls = [await host.receive(is_call) for _ in range(8)]
        for call in calls[:3]:  # more than 2 MiB: the cell is ended at the third
            await answer(host, call, b'"%s"' % (b"x" * MIB))
        response = await host.first(number)
        assert isinstance(response, Result)
        assert response.error_text == "cell left more than 2 MiB of answers to its tool calls unread"


async def test_output_that_nobody_takes_makes_the_cell_wait_and_loses_nothing() -> None:
    async with run_program("--output-mib", "1") as host:
        await host.open()
        source = "for (let i = 0; i < 40; i++) text(String(i).padEnd(100_000))"
        number, cell = await host.start(source, yield_ms=0)
        assert isinstance(await host.first(number), Yielded)
        items: list[str] = []
        response = await host.wait(cell)
        items += read_texts(response)
        assert isinstance(response, Yielded)  # early: long before the minute is over
        while not isinstance(response, Result):
            response = await host.wait(cell, ms=100)
            items += read_texts(response)
        assert [item.strip() for item in items] == [str(i) for i in range(40)]


async def test_output_of_all_cells_together_leaves_each_its_share() -> None:
    async with run_program("--total-output-mib", "8") as host:
        await host.open()
        cells = []
        for _ in range(4):
            number, cell = await host.start("for (let i = 0; i < 12; i++) text('x'.repeat(1e6))", yield_ms=0)
            await host.first(number)
            cells.append(cell)
        assert read_texts(await host.run("text(1)")) == ["1"]
        for cell in cells:
            taken, response = 0, None
            while not isinstance(response, Result):
                response = await host.wait(cell)
                taken += sum(map(len, read_texts(response)))
            assert taken == 12_000_000


@pytest.mark.parametrize("text", [r"\u0001", "x", "é€", "😀"])
async def test_what_takes_more_than_a_frame_comes_in_several_answers(text: str) -> None:
    async with run_program() as host:
        await host.open()
        result = await host.run(f"for (let i = 0; i < 25; i++) text('{text}'.repeat(1e6)); text('end')")
        assert result.error_text is None
        assert len(result.content_items) == 26
        assert all(item == read_texts(result)[0] for item in read_texts(result)[:25])


async def test_a_tool_call_that_does_not_fit_in_a_frame_is_rejected_and_the_script_goes_on() -> None:
    async with run_program("--memory-mib", "1024") as host:
        await host.open()
        source = "const said = tools.f('x'.repeat(67_108_850)).catch(String); text(await said); text('goes on')"
        number, _ = await host.start(source, "s", "f")
        response = await host.first(number)
        said, goes_on = read_texts(response)
        assert "exceeds 67108864 bytes" in said
        assert goes_on == "goes on"
        assert not any(map(is_call, host.messages))


@pytest.mark.parametrize(
    ("mib", "text"), [("64", "cell exceeded its memory limit of 64 MiB"), ("0", "cell ran out of memory")]
)
async def test_a_script_that_throws_the_engines_words_for_it_has_run_out_of_memory(mib: str, text: str) -> None:
    async with run_program("--memory-mib", mib) as host:
        await host.open()
        assert (await host.run("throw 'out of memory'")).error_text == text


async def test_a_long_error_text_is_cut() -> None:
    async with run_program() as host:
        await host.open()
        result = await host.run("throw 'x'.repeat(5e6)")
        assert result.error_text is not None
        assert len(result.error_text) < 1.1e6
        assert result.error_text.endswith("x… (3951424 more characters)")


@pytest.mark.parametrize(
    "source", ["text('x'.repeat(1000) + i)", "text('')", "text('ab')", "text('é€'.repeat(500000))"]
)
@pytest.mark.parametrize("observed", [True, False])
async def test_a_host_stays_small_through_an_endless_flood(source: str, observed: bool) -> None:
    async with run_program() as host:
        await host.open()
        number, cell = await host.start(f"for (let i = 0; ; i++) {source}", yield_ms=0)
        await host.first(number)
        with trio.move_on_after(0.7):
            while observed:
                await host.wait(cell, ms=100)
            await trio.sleep_forever()
        assert host.peak_resident_mib() < 150


async def test_a_client_that_reads_nothing_makes_cells_wait() -> None:
    async with run_program("--queue-kib", "1024") as host:
        await host.open()
        await host.start("for (;;) notify('x'.repeat(100_000))")
        await wait_until(lambda: any(map(is_in_write, host.runtimes())))
        rounds = 0
        while rounds < 10:  # it comes to rest there
            await trio.sleep(0.01)
            rounds = rounds + 1 if any(map(is_in_write, host.runtimes())) else 0
        assert host.process.poll() is None
        assert host.peak_resident_mib() < 60


async def test_a_client_that_reads_nothing_and_asks_for_ever_more_counts_as_lost() -> None:
    async with run_program("--unread-mib", "1") as host:
        await host.open()
        # The first answer is read, and has none of it.
        source = "yield_control(); text('x'.repeat(3e6)); yield_control(); await new Promise(() => {})"
        number, cell = await host.start(source, yield_ms=60_000)
        await host.first(number)
        request = OperationRequest(host.connection.next_request_id(), Wait("s", WaitRequest(cell, 60_000)))
        await host.stdin.send_all(host.connection.send(request))
        assert await host.ended() == HostExitStatus.CLIENT_LOST
    assert b"it leaves 300" in host.stderr


async def test_spare_runtimes() -> None:
    async with run_program("--spares", "5") as host:
        await wait_until(lambda: len(host.runtimes()) == 5)
    async with run_program("--spares", "0") as host:
        await host.open()
        assert read_texts(await host.run("text(1)")) == ["1"]
        await wait_until(lambda: host.runtimes() == [])


# Descriptors and pipes


def list_descriptors(pid: int) -> list[str]:
    """What the descriptors of a process are."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


async def test_a_cell_takes_three_descriptors_in_the_host_and_one_in_the_zygote() -> None:
    async with run_program("--spares", "0", "--control", "off") as host:
        await host.open()
        assert read_texts(await host.run("text(1)")) == ["1"]  # which imports what is imported late
        counts = []
        for cells in (10, 20):
            for _ in range(10):
                number, _ = await host.start("yield_control(); await new Promise(() => {})")
                await host.first(number)
            # Beside them it has its standard streams and its control socket.
            await wait_until(lambda: len(list_descriptors(host.zygote)) == 4 + cells)  # noqa: B023
            assert list_descriptors(host.zygote).count("anon_inode:[pidfd]") == cells
            counts.append(len(list_descriptors(host.pid)))
        assert counts[1] - counts[0] == 30


async def test_a_host_raises_its_limit_of_descriptors_as_far_as_it_may() -> None:
    lower = ["sh", "-c", 'ulimit -S -n 64; ulimit -H -n 200; exec "$@"', "sh"]
    async with run_program(prefix=lower) as host:
        limits = await trio.Path(f"/proc/{host.pid}/limits").read_text()
        (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
        assert line.split()[3:5] == ["200", "200"]


async def test_large_values_move_through_the_smallest_pipes_as_well() -> None:
    async with run_program("--spares", "0") as host:
        await host.open()
        source = "yield_control(); await tools.f(); const v = 'x'.repeat(1e6); text(await tools.f(v) === v)"
        number, cell = await host.start(source, "s", "f")
        assert isinstance(await host.first(number), Yielded)
        first = await host.receive(is_call)
        (pid,) = host.runtimes()
        for fd, mode in ((3, os.O_RDONLY), (4, os.O_WRONLY)):
            link = os.open(f"/proc/{pid}/fd/{fd}", mode | os.O_NONBLOCK)
            try:
                assert fcntl.fcntl(link, fcntl.F_SETPIPE_SZ, 1) == resource.getpagesize()
            finally:
                os.close(link)
        await answer(host, first)
        call = await host.receive(is_call)
        assert isinstance(call, DelegateRequest)
        assert isinstance(call.request, InvokeTool)
        await answer(host, call, bytes(call.request.invocation.input))
        assert read_texts(await host.wait(cell)) == ["true"]
