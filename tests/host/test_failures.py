"""What stops a host first is what it reports, and nothing that is slow or lost keeps it from its end."""

from __future__ import annotations

import os
import signal

import pytest
import trio
import trio.testing

from codemode_host.options import Options
from codemode_host.runtimes.host_side.runtimes import STOP_SECONDS, RuntimeExit
from codemode_host.serving.client import Channel
from codemode_host.serving.host import Host
from codemode_host.supervision import HostFailure, HostStopped, describe_ending, limit_met
from codemode_protocol.connection import HostConnection
from codemode_protocol.errors import first_cause
from codemode_protocol.exit_status import HostExitStatus
from codemode_protocol.limits import Limits
from codemode_protocol.messages import DelegateRequest
from codemode_protocol.values import Terminated
from tests.host.program import read_texts, run_program, wait_until
from tests.runtimes.lying import LyingZygote

PANIC = HostFailure(HostExitStatus.ENGINE_PANIC, "engine panic", "mine")
LOOP = "text('before'); notify('on'); while (true) {}"


class Staged:
    """A host in this process whose zygote and client the test plays."""

    def __init__(self) -> None:
        self.zygote = LyingZygote()
        self.host_reads, self.to_host = os.pipe()
        self.from_host, self.host_writes = os.pipe()
        for fd in (self.host_reads, self.host_writes):
            os.set_blocking(fd, False)
        self.channel = Channel(self.host_reads, self.host_writes, Limits())
        self.host = Host(HostConnection(), self.zygote.handed_over, self.channel, Options(control="off"))

    async def run(self) -> HostStopped:
        """Run the host until it stops, and return why it said that it did."""
        with pytest.raises(BaseExceptionGroup) as raised:
            await self.host.serve()
        cause = first_cause(raised.value)
        assert isinstance(cause, HostStopped)
        return cause

    def close(self) -> None:
        self.zygote.close()
        for fd in (self.host_reads, self.to_host, self.from_host, self.host_writes):
            if fd >= 0:
                os.close(fd)


async def fail_once_it_runs(staged: Staged, failures: list[HostFailure]) -> None:
    await trio.testing.wait_all_tasks_blocked()

    async def fail() -> None:
        # Before the host sees either: the client is gone, and a cell has panicked.
        staged.channel.queue(b"what the client would have read")
        os.close(staged.from_host)
        staged.from_host = -1
        for failure in failures:
            staged.host.failed(failure)

    staged.host.nursery.start_soon(fail)


async def test_a_client_that_is_gone_does_not_hide_the_panic_before_it(autojump_clock: trio.testing.MockClock) -> None:
    staged = Staged()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_once_it_runs, staged, [PANIC])
            stopped = await staged.run()
        assert stopped.failure is PANIC
        assert staged.host.failure is PANIC
        assert staged.zygote.ended_by == signal.SIGKILL
    finally:
        staged.close()


async def test_the_first_of_two_failures_is_the_one_that_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    staged = Staged()
    try:
        for failure in (PANIC, HostFailure(HostExitStatus.HOST_FAULT, "another", "later")):
            with pytest.raises(HostStopped) as raised:
                staged.host.failed(failure)
            assert raised.value.failure is PANIC
        assert staged.host.failure is PANIC
    finally:
        staged.zygote.process.kill()
        staged.zygote.process.wait()
        os.close(staged.zygote.handed_over.control)
        os.close(staged.zygote.handed_over.stderr)
        staged.close()


async def test_a_zygote_that_does_not_answer_does_not_hold_the_end_up(autojump_clock: trio.testing.MockClock) -> None:
    staged = Staged()
    try:
        os.close(staged.to_host)
        staged.to_host = -1
        begun = trio.current_time()
        await staged.host.serve()
        assert trio.current_time() - begun == pytest.approx(STOP_SECONDS)
        assert staged.zygote.ended_by == signal.SIGKILL
        assert staged.host.failure is None
    finally:
        staged.close()


async def test_a_zygote_that_is_stopped_does_not_hold_the_hosts_end_up() -> None:
    async with run_program() as host:
        await host.open()
        await host.start(LOOP)
        await wait_until(lambda: len(host.runtimes()) >= 2)
        host.remember_family()
        os.kill(host.zygote, signal.SIGSTOP)
        await host.stdin.aclose()
        assert await host.ended(20) == HostExitStatus.OK
        await wait_until(lambda: not host.left())
    assert host.stderr == b""


async def test_a_stopped_runtime_can_be_ended() -> None:
    async with run_program("--spares", "0") as host:
        await host.open()
        _, cell = await host.start(LOOP, yield_ms=0)
        await host.receive(lambda message: isinstance(message, DelegateRequest))
        (runtime,) = host.runtimes()
        os.kill(runtime, signal.SIGSTOP)
        assert isinstance(await host.terminate(cell), Terminated)
        assert read_texts(await host.run("text(1)")) == ["1"]


def test_what_a_runtime_that_the_machine_did_not_start_met_is_told_with_the_reason() -> None:
    ending = RuntimeExit(0, not_started="Resource temporarily unavailable")
    text = limit_met(ending, Limits())
    assert text == "no process could be started for the cell: Resource temporarily unavailable"


@pytest.mark.parametrize("cpu_time", [1.999, 2.0])
def test_a_kill_counts_as_the_limit_of_processor_time_from_just_that_time_on(cpu_time: float) -> None:
    text = limit_met(RuntimeExit(-signal.SIGKILL, cpu_time=cpu_time), Limits(cpu_seconds=2))
    assert (text is not None) == (cpu_time >= 2)


def test_an_ending_is_described_with_what_it_had_used() -> None:
    described = describe_ending(RuntimeExit(-signal.SIGSEGV, 5 << 20, 1.25))
    assert described == "killed by SIGSEGV, peak resident size 5 MiB, processor time 1.25 s"
