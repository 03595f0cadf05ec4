"""`codemode-host`: the standalone program.

The zygote is started before anything slow is imported, because the engine takes longest to be ready.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
import sys
from collections.abc import Iterator, Sequence

from .runtimes.spawn import ZygoteOptions, ZygoteProcess, spawn_zygote

MIB = 1024 * 1024


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="codemode-host",
        description="Runs JavaScript cells for a client that speaks the code mode protocol on stdin and stdout.",
    )
    parser.add_argument(
        "--framing",
        choices=("length", "lines"),
        default="length",
        help="how messages are told apart: a length before each (default), or one JSON text a line, to type by hand",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error", "critical"),
        default="warning",
        help="what is worth a line on standard error (default: %(default)s)",
    )
    parser.add_argument(
        "--confinement",
        choices=("on", "off"),
        default="on",
        help="off runs cells without a system call filter: for machines that have none (default: %(default)s)",
    )
    parser.add_argument(
        "--memory-mib", type=int, default=512, metavar="N", help="memory of a cell (default: %(default)s)"
    )
    parser.add_argument(
        "--cpu-seconds",
        type=int,
        default=None,
        metavar="N",
        help="processor time of a cell (default: no limit)",
    )
    parser.add_argument("--spares", type=int, default=2, metavar="N", help="runtimes kept ready (default: %(default)s)")
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="write every byte of the conversation to FILE, for `codemode replay FILE` to show; it holds all that the "
        "scripts and the tools said, so only its owner may read it",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve one client; returns the exit status."""
    options = arguments(argv)
    zygote = spawn_zygote(
        ZygoteOptions(
            confined=options.confinement == "on",
            memory_limit=options.memory_mib * MIB or None,
            cpu_seconds=options.cpu_seconds,
        )
    )
    with protected_streams() as (read_fd, write_fd):
        return serve(options, zygote, read_fd, write_fd)


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
    try:
        yield read_fd, write_fd
    finally:
        if waits:
            os.set_blocking(write_fd, was_blocking)


def serve(options: argparse.Namespace, zygote: ZygoteProcess, read_fd: int, write_fd: int) -> int:
    import logging

    import trio

    from codemode_protocol.connection import HostConnection
    from codemode_protocol.errors import RemoteProtocolError

    from .host import Host, HostStopped
    from .limits import Limits
    from .recorder import Recorder
    from .supervision import ExitStatus, Failure

    logging.basicConfig(
        level=options.log_level.upper(), stream=sys.stderr, format="codemode-host: %(levelname)s: %(message)s"
    )
    if options.confinement == "off":
        logging.getLogger("codemode_host").warning("cells run without a system call filter (--confinement off)")
    limits = Limits(
        memory_bytes=options.memory_mib * MIB or None,
        cpu_seconds=options.cpu_seconds,
        spare_runtimes=options.spares,
    )
    try:
        recorder = Recorder(options.record, options.framing) if options.record is not None else None
    except OSError as error:
        sys.stderr.write(f"codemode-host: cannot record to {options.record}: {error.strerror}\n")
        return ExitStatus.USAGE
    connection = HostConnection(framing=options.framing)
    host = Host(connection, zygote, limits, read_fd=read_fd, write_fd=write_fd, recorder=recorder)
    status = ExitStatus.OK
    try:
        trio.run(host.serve)
    except* RemoteProtocolError as group:
        status = ExitStatus.MALFORMED_INPUT
        sys.stderr.write(f"codemode-host: {first(group)}\n")
    except* HostStopped as group:
        stopped = first(group)
        assert isinstance(stopped, HostStopped)
        status = stopped.failure.status
        sys.stderr.write(stopped.failure.block() + "\n")
    except* KeyboardInterrupt:
        status = ExitStatus.INTERRUPTED
    except* Exception as group:  # noqa: BLE001 reported, with a status of its own
        sys.excepthook(type(group), group, group.__traceback__)
        status = ExitStatus.INTERNAL
        cause = first(group)
        sys.stderr.write(
            Failure(status, "a task of the host failed", f"{type(cause).__name__}: {cause}").block() + "\n"
        )
    return status


def first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first cause in a group of exceptions."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main())
