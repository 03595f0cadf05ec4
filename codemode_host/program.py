"""`codemode-host`: the standalone program.

The zygote is started before anything slow is imported, because the engine takes longest to be ready.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import stat
import sys
from collections.abc import Iterator, Sequence

from codemode_host.options import Options
from codemode_host.runtimes.host_side.spawn import (
    ZygoteOptions,
    ZygoteProcess,
    adopt_orphans,
    reap_orphans,
    spawn_zygote,
)

PIPE_BYTES = 1024 * 1024
"""What a pipe to or from the client should hold: a large answer then takes few turns."""


def run(argv: Sequence[str], zygote: ZygoteProcess | None = None) -> int:
    """Serve one client; returns the exit status. `zygote` is one for the default flags, if it is on its way already."""
    options = Options()
    if argv:
        from codemode_host.flags import parse

        options = parse(argv)
    limits = options.limits
    zygote_options = ZygoteOptions(
        confined=options.confinement == "on", memory_limit=limits.memory_bytes, cpu_seconds=limits.cpu_seconds
    )
    if options.check:
        from codemode_host.check import check

        return check(confined=zygote_options.confined)
    try:
        zygote = zygote or spawn_zygote(zygote_options)
    except (OSError, ModuleNotFoundError) as error:
        from codemode_host.serving.stderr import report

        report(f"codemode-host: refused to start\n  cause: {error}")
        return 78  # HostExitStatus.REFUSED, which is not worth its imports here
    adopt_orphans()
    heed_sigterm()
    with protected_streams() as (read_fd, write_fd):
        return serve(options, zygote, read_fd, write_fd)


def heed_sigterm() -> None:
    """As process 1, of a container, a program hears only the signals that it has a handler for."""
    if os.getpid() == 1:
        import signal

        # What the signal does to any other host: it is gone, and its runtimes with it.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))


@contextlib.contextmanager
def protected_streams() -> Iterator[tuple[int, int]]:
    """The client's two descriptors, where nothing but this program's frames can reach them.

    Whatever a library prints goes to standard error instead. Blocking mode is restored at the end, because a terminal
    shares it with the shell.
    """
    read_fd, write_fd = os.dup(0), os.dup(1)
    devnull = os.open(os.devnull, os.O_RDONLY)
    os.dup2(devnull, 0)
    os.close(devnull)
    os.dup2(2, 1)
    waits = not stat.S_ISREG(os.fstat(write_fd).st_mode)
    was_blocking = os.get_blocking(write_fd)
    if waits:
        os.set_blocking(write_fd, False)
    for fd in (read_fd, write_fd):
        with contextlib.suppress(OSError):  # no pipe, or the user has too many of this size
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    try:
        yield read_fd, write_fd
    finally:
        if waits:
            os.set_blocking(write_fd, was_blocking)


def serve(options: Options, zygote: ZygoteProcess, read_fd: int, write_fd: int) -> int:
    gc.disable()  # what is imported stays: looking for garbage in it takes a tenth of the time
    import logging

    import trio

    from codemode_host.memory import keep_freed_memory
    from codemode_host.serving.client import Channel
    from codemode_host.serving.host import Host
    from codemode_host.serving.recorder import Recorder
    from codemode_host.serving.stderr import StderrHandler, report
    from codemode_host.supervision import HostFailure, HostStopped, watch_kernel
    from codemode_protocol.connection import HostConnection
    from codemode_protocol.errors import RemoteProtocolError, first_cause
    from codemode_protocol.exit_status import HostExitStatus

    gc.freeze()
    gc.enable()
    logging.basicConfig(
        level=options.log_level.upper(), handlers=[StderrHandler()], format="codemode-host: %(levelname)s: %(message)s"
    )
    if options.confinement == "off":
        logging.getLogger("codemode_host").warning("cells run without a system call filter (--confinement off)")
    try:
        recorder = Recorder(options.record, options.framing) if options.record is not None else None
    except OSError as error:
        report(f"codemode-host: cannot record to {options.record}: {error.strerror}")
        return HostExitStatus.USAGE
    watch_kernel()
    keep_freed_memory()
    channel = Channel(read_fd, write_fd, options.limits, recorder)
    host = Host(HostConnection(framing=options.framing), zygote, options.limits, channel, control=options.control)
    status, failure = HostExitStatus.OK, None
    try:
        trio.run(host.serve)
    except* RemoteProtocolError as group:
        status = HostExitStatus.MALFORMED_INPUT
        report(f"codemode-host: {first_cause(group)}")
    except* HostStopped as group:
        stopped = first_cause(group)
        assert isinstance(stopped, HostStopped)
        failure = host.failure or stopped.failure
    except* KeyboardInterrupt:
        status = HostExitStatus.INTERRUPTED
    except* Exception as group:  # noqa: BLE001 reported, with a status of its own
        if options.log_level == "debug":
            sys.excepthook(type(group), group, group.__traceback__)
        cause = first_cause(group)
        failure = HostFailure(
            HostExitStatus.HOST_FAULT, "a task of the host failed", f"{type(cause).__name__}: {cause}"
        )
    reap_orphans()
    if failure is not None:
        report(failure.block())
        status = failure.status
    host.leave()
    return status
