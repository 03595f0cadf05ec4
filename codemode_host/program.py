"""The program `codemode-host`, which starts the zygote before it imports anything slow."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import stat
import sys
from collections.abc import Iterator, Sequence

from codemode_host.options import Options, zygote_options
from codemode_host.runtimes.host_side.spawn import (
    ZygoteProcess,
    adopt_orphans,
    reap_orphans,
    spawn_zygote,
)

PIPE_BYTES = 1024 * 1024
"""The capacity of the pipes to and from the client, so that a large answer takes few writes."""


def run(argv: Sequence[str], zygote: ZygoteProcess | None = None) -> int:
    """Serve one client and return the exit status. `zygote` has the default options, if it was already started."""
    options = Options()
    if argv:
        from codemode_host.flags import parse

        options = parse(argv)
    if options.check:
        from codemode_host.check import check

        return check(confined=options.confinement == "on")
    group = None
    try:
        if options.limits.total_memory_bytes is not None:
            from codemode_host.runtimes.host_side.memory_group import MemoryGroup

            group = MemoryGroup.create(options.limits.total_memory_bytes)
        zygote = zygote or spawn_zygote(zygote_options(options, group))
    except (OSError, ModuleNotFoundError) as error:
        if group is not None:
            group.remove()
        from codemode_host.serving.stderr import report

        report(f"codemode-host: refused to start\n  cause: {error}")
        return 78  # HostExitStatus.REFUSED, without its slow import
    adopt_orphans()
    heed_sigterm()
    with protected_streams() as (read_fd, write_fd):
        return serve(options, zygote, read_fd, write_fd)


def heed_sigterm() -> None:
    """Handle SIGTERM as process 1 of a container, which receives only signals with a handler."""
    if os.getpid() == 1:
        import signal

        # As the default action in any other process: the host ends, and its runtimes with it.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))


@contextlib.contextmanager
def protected_streams() -> Iterator[tuple[int, int]]:
    """Yield duplicates of standard input and output that only this program's frames use.

    The output of libraries goes to standard error instead. Blocking mode is restored at the end, because a terminal
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
        with contextlib.suppress(OSError):  # no pipe, or the user's quota of pipe memory is used up
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    try:
        yield read_fd, write_fd
    finally:
        if waits:
            os.set_blocking(write_fd, was_blocking)


def serve(options: Options, zygote: ZygoteProcess, read_fd: int, write_fd: int) -> int:
    """Serve one client over two descriptors and return the exit status."""
    gc.disable()  # during imports, where collections find nothing and take a tenth of the time
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
    host = Host(HostConnection(framing=options.framing), zygote, channel, options)
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
    except* Exception as group:  # noqa: BLE001 - reported, with its own status
        if options.log_level == "debug":
            sys.excepthook(type(group), group, group.__traceback__)
        cause = first_cause(group)
        text = f"{type(cause).__name__}: {cause}"
        fault = HostFailure(HostExitStatus.HOST_FAULT, "a task of the host failed", text)
        failure = host.failure or fault  # the first is the one that others may follow from
    reap_orphans()
    if zygote.group is not None:
        zygote.group.remove()
    if failure is not None:
        report(failure.block())
        status = failure.status
    host.leave()
    return status
