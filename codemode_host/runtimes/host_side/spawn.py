"""Starts the zygote. Imported before anything slow, because the engine takes longest to be ready.

So it does not use `socket`, `pathlib`, `typing` or `contextlib`, which take longer to import than Python to start.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from _socket import AF_UNIX, SOCK_SEQPACKET, socketpair
from importlib.machinery import PathFinder

from codemode_protocol.default_memory import DEFAULT_MEMORY_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from codemode_host.runtimes.host_side.memory_group import MemoryGroup

_PR_SET_CHILD_SUBREAPER = 36
_SIGKILL = 9


class ZygoteProcess:
    """A starting zygote: its pid, the host's ends of its control socket and its standard error, its control group."""

    def __init__(self, pid: int, control: int, stderr: int, group: MemoryGroup | None = None) -> None:
        self.pid = pid
        self.control = control
        self.stderr = stderr
        self.group = group


class ZygoteOptions:
    """The options of runtimes. `memory_limit` is in bytes, `cpu_seconds` in seconds; None is no limit.

    `group` is a control group that bounds the memory of all of them.
    """

    def __init__(
        self,
        *,
        confined: bool = True,
        single_threaded: bool = True,
        native_jobs: bool = True,
        memory_limit: int | None = DEFAULT_MEMORY_BYTES,
        cpu_seconds: int | None = None,
        group: MemoryGroup | None = None,
    ) -> None:
        self.confined = confined
        self.single_threaded = single_threaded
        self.native_jobs = native_jobs
        self.memory_limit = memory_limit
        self.cpu_seconds = cpu_seconds
        self.group = group

    def words(self) -> list[str]:
        """Return the options as arguments for the zygote."""
        return [
            f"confined={int(self.confined)}",
            f"single_threaded={int(self.single_threaded)}",
            f"native_jobs={int(self.native_jobs)}",
            f"memory={self.memory_limit or ''}",
            f"cpu={self.cpu_seconds or ''}",
            f"parent={os.getpid()}",
        ]


def use_all_descriptors() -> None:
    """Raise the limit of descriptors to the maximum: a cell takes three in the host and one in the zygote."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:  # noqa: SIM105 see the imports
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass


def engine_directory() -> str:
    """Return where PythonMonkey is installed, without importing it. Raises ModuleNotFoundError if it is not."""
    spec = PathFinder.find_spec("pythonmonkey")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("pythonmonkey is not installed in this environment: install codemode-host anew")
    return os.path.dirname(os.path.abspath(spec.submodule_search_locations[0]))


def adopt_orphans() -> None:
    """Become the parent of the runtimes of an ended zygote, so that they can be reaped."""
    import ctypes  # late: only after the zygote was started

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans(seconds: float = 0.2) -> None:
    """Wait at most `seconds` until every child has ended; runtimes end with their zygote."""
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.002)
    except ChildProcessError:
        pass


def spawn_zygote(options: ZygoteOptions) -> ZygoteProcess:
    """Start a zygote. It ends with the thread that calls this, which must outlive it.

    The child gets an empty environment, an isolated interpreter without site-packages, /dev/null as its standard
    input, and a pipe to the host as its standard output and error. The time zone is passed as an argument.

    Raises:
        OSError: The process cannot be started.
        ModuleNotFoundError: PythonMonkey is not installed.
    """
    package_root = os.path.realpath(__file__)
    for _ in range(4):
        package_root = os.path.dirname(package_root)
    control, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
    read_stderr, write_stderr = os.pipe()
    try:
        boot = (
            f"import sys; sys.path += {[package_root, engine_directory()]!r}; "
            "from codemode_host.runtimes.zygote.main import main; main()"
        )
        time_zone = os.environ.get("TZ", "")
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-X", "frozen_modules=on", "-c", boot, *options.words(), f"tz={time_zone}"],
            {},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, write_stderr, 1),
                (os.POSIX_SPAWN_DUP2, write_stderr, 2),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), 3),
            ],
        )
        if options.group is not None:
            try:
                options.group.add(pid)
            except BaseException:
                os.kill(pid, _SIGKILL)
                os.waitpid(pid, 0)
                raise
    except BaseException:
        control.close()
        os.close(read_stderr)
        raise
    finally:
        theirs.close()
        os.close(write_stderr)
    return ZygoteProcess(pid, control.detach(), read_stderr, options.group)
