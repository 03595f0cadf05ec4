"""The zygote, from which every runtime is forked, and which alone reaps them.

The host starts it with an empty environment, its control socket and its standard error. It loads the engine, evaluates
the prelude, and then only forks, kills and reaps on request. It always has one thread: a forked child would lose the
others. It ends when the control socket is closed, and takes every runtime with it.

Change with care: this process's memory is in every cell's.
"""

from __future__ import annotations

# Each import costs start-up time, and memory that every fork copies: no `socket`, `signal` or `contextlib`, which
# import `enum`, `re` and `collections`.
import ctypes
import gc
import os
import select
import sys
from _socket import CMSG_SPACE, MSG_DONTWAIT, socket

from codemode_host.runtimes import link
from codemode_host.runtimes.cell import main as cell_main
from codemode_host.runtimes.cell.confinement import READING_FD, WRITING_FD, Confinement, ConfinementError
from codemode_host.runtimes.cell.secrets import NewSecrets
from codemode_host.runtimes.engine.loading import Engine, EngineError, EngineOptions, load, preload, self_check
from codemode_host.runtimes.engine.realm import Realm
from codemode_host.runtimes.zygote.huge_pages import use_huge_pages
from codemode_host.runtimes.zygote.isolation import forbid_files, isolate

CONTROL_FD = 3
BUSY_FORKS = 10
"""After this many forks without idle time, move code to huge pages now: it makes all further forks faster."""

FORKS_AT_ONCE = 16
"""The most runtimes that are forked before other requests are handled."""

NICENESS = 1
"""Of the zygote and its cells: their host, which answers all of them, comes first."""

_PR_SET_PDEATHSIG = 1
_SIGINT, _SIGKILL, _SIG_DFL, _SIG_IGN = 2, 9, 0, 1
_CRASHES = 4, 5, 7, 8, 11  # SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV
_MAP_SHARED, _MAP_PRIVATE, _MAP_FIXED, _MAP_ANONYMOUS = 1, 2, 16, 32
_PROT_READ_WRITE = 3
_DESCRIPTORS_SPACE = CMSG_SPACE(link.FORK_DESCRIPTORS.size)
_ORDINARY = os.sched_param(0)

_Fork = tuple[int, tuple[int, int, int]]
"""A runtime's serial number, and its descriptors: the link's two, the output memory's."""


class Settings:
    """The zygote's options, from `key=value` arguments."""

    def __init__(self, words: list[str]) -> None:
        values = dict(word.split("=", 1) for word in words)
        self.confined: bool = values.get("confined", "1") == "1"
        self.single_threaded: bool = values.get("single_threaded", "1") == "1"
        self.native_jobs: bool = values.get("native_jobs", "1") == "1"
        self.memory_limit: int | None = int(values["memory"]) if values.get("memory") else None
        self.cpu_seconds: int | None = int(values["cpu"]) if values.get("cpu") else None
        self.parent: int = int(values["parent"])
        self.time_zone: str = values.get("tz", "")


class OutputMemory:
    """A mebibyte at a fixed address: private in the zygote, each runtime's own shared memory after the fork.

    JavaScript gets its view of the address before the fork, so that the code that writes to it is compiled; the engine
    does not notice when other memory is mapped over the same address.
    """

    def __init__(self) -> None:
        self._mmap = ctypes.CDLL(None, use_errno=True).mmap
        self._mmap.restype = ctypes.c_void_p
        self._mmap.argtypes = [
            ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
        ]  # fmt: skip
        self._address = self._map(None, _MAP_PRIVATE | _MAP_ANONYMOUS, -1)
        memory = (ctypes.c_ubyte * link.OUTPUT_BYTES).from_address(self._address)
        self.view: memoryview[int] = memoryview(memory).cast("B")

    def share(self, fd: int) -> None:
        """Map the memory of `fd` over the address. Does not close `fd`."""
        self._map(self._address, _MAP_SHARED | _MAP_FIXED, fd)

    def _map(self, address: int | None, flags: int, fd: int) -> int:
        result = self._mmap(address, link.OUTPUT_BYTES, _PROT_READ_WRITE, flags, fd, 0)
        if result == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "mmap of the output memory")
        return int(result)


class Zygote:
    """Forks, kills and reaps runtimes, known to the host by serial number."""

    def __init__(self, control: socket, settings: Settings) -> None:
        self._control = control
        self._settings = settings
        self._memory = OutputMemory()
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._pids: dict[int, tuple[int, int]] = {}  # pidfd → (serial, pid)
        self._pidfds: dict[int, int] = {}  # serial → pidfd
        self._asked_to_kill: set[int] = set()
        self._improving = False
        self._forks = 0
        self._filled = 0
        self._has_huge_pages = False
        self._engine: Engine | None = None
        self._realm: Realm | None = None
        if settings.time_zone:
            # For the engine; the kernel's copy of the environment stays empty.
            os.environ["TZ"] = settings.time_zone
        options = EngineOptions(single_threaded=settings.single_threaded, native_jobs=settings.native_jobs)
        if settings.single_threaded:
            self._engine = load(options)
            self_check(self._engine)
        if self._engine is not None and self._engine.single_threaded:
            self._realm = Realm(self._engine, cell_main.emit, self._memory.view)
            self._realm.rehearse()
            self._improving = True
            flags = link.READY_SINGLE_THREADED | (link.READY_NATIVE_JOBS if self._engine.native_jobs else 0)
        else:
            # A fork would lose the engine's threads, so every child initialises its own engine.
            preload()
            flags = link.READY_NATIVE_JOBS if settings.native_jobs else 0
        self._options = options
        self._confinement = Confinement(
            seccomp=settings.confined, memory_limit=settings.memory_limit, cpu_seconds=settings.cpu_seconds
        )
        self._secrets = NewSecrets()
        if self._realm is not None:
            flags |= isolate()
            self._confinement.apply_inherited()
            _die_with_host(settings.parent)  # becoming another user has taken that away
        _die_of_crashes()
        self._settle()
        if self._realm is None:
            self._filled = 0  # unknown: a child that loads its own engine fills more
        self._send(link.READY, flags, os.getpid())
        os.nice(NICENESS)

    def run(self) -> None:
        """Serve until the host closes the control socket."""
        control = self._control.fileno()
        while True:
            ready = self._poll.poll(0 if self._improving else None)
            if not ready:
                self._improve()
            for fd, _ in ready:
                if fd != control:
                    self._reap(fd)
                elif not self._serve():
                    return

    def _improve(self) -> None:
        """Do one step that makes all later runtimes faster. Called while idle.

        That is usually right after the start, while the host is still importing its libraries.
        """
        if not self._has_huge_pages:
            self._use_huge_pages()
        else:
            self._improving = False
            assert self._realm is not None
            self._realm.warm_up_locales()
            self._settle()
            forbid_files()

    def _use_huge_pages(self) -> None:
        self._has_huge_pages = True
        use_huge_pages("libmozjs")
        self._settle()

    def _settle(self) -> None:
        """Freeze the present heap, with which every runtime begins."""
        gc.collect()
        gc.freeze()
        gc.disable()
        self._filled = link.filled_bytes("self")

    def _serve(self) -> bool:
        """Handle the host's requests; return False if it is gone."""
        forks: list[_Fork] = []
        flags = 0
        while len(forks) < FORKS_AT_ONCE:
            try:
                packet, ancillary, _, _ = self._control.recvmsg(link.CONTROL.size, _DESCRIPTORS_SPACE, flags)
            except BlockingIOError:
                break
            if not packet:
                return False
            flags = MSG_DONTWAIT
            kind, serial, _, _, _, _ = link.CONTROL.unpack(packet)
            if kind == link.FORK:
                forks.append((serial, link.FORK_DESCRIPTORS.unpack(ancillary[0][2])))
            elif kind == link.KILL:
                self._fork(forks)  # the runtime to kill may be one of them
                forks = []
                self._kill(serial)
        self._fork(forks)
        return True

    def _fork(self, requests: list[_Fork]) -> None:
        """Fork a runtime for each request.

        After a fork, the child and the zygote copy each page that they write to. So as little as possible is done
        between forks, and the rest after the last one.
        """
        parent = os.getpid()
        forked: list[tuple[int, int]] = []
        for serial, descriptors in requests:
            try:
                pid = os.fork()
            except OSError as error:  # out of processes or memory: only this fork fails
                self._send(link.FORK_FAILED, serial, error.errno or 0)
                continue
            if pid == 0:
                status = link.EXIT_BROKEN
                try:
                    self._become_runtime(parent, descriptors)
                    status = 0
                except BaseException:  # noqa: BLE001 - a forked child must never return to the zygote's loop
                    cell_main.complain()
                finally:
                    os._exit(status)
            forked.append((pid, serial))
        for _, descriptors in requests:
            for fd in descriptors:
                os.close(fd)
        for pid, serial in forked:
            pidfd = os.pidfd_open(pid)
            self._pids[pidfd] = (serial, pid)
            self._pidfds[serial] = pidfd
            self._poll.register(pidfd, select.POLLIN)
            self._send(link.FORKED, serial, pid, self._filled)
        self._forks += len(forked)
        if self._forks >= BUSY_FORKS and self._realm is not None and not self._has_huge_pages:
            self._use_huge_pages()

    def _become_runtime(self, parent: int, descriptors: tuple[int, int, int]) -> None:
        reading, writing, memory = descriptors
        self._memory.share(memory)
        # The kernel assigned the lowest free numbers in ascending order, so no dup2 overwrites a needed descriptor.
        os.dup2(reading, READING_FD)
        os.dup2(writing, WRITING_FD)
        os.closerange(WRITING_FD + 1, 1 << 20)
        realm = self._realm
        if realm is None:
            engine = load(self._options)
            realm = Realm(engine, cell_main.emit, self._memory.view)
            isolate()
            self._confinement.apply_inherited()
        _schedule(os.SCHED_OTHER)
        self._confinement.apply_own(parent)
        self._secrets.go_on(lambda: cell_main.run(realm, READING_FD, WRITING_FD, self._memory.view))

    def _kill(self, serial: int) -> None:
        pidfd = self._pidfds.get(serial)
        if pidfd is not None:  # else it has ended by itself, and the host will be told
            self._asked_to_kill.add(serial)
            os.kill(self._pids[pidfd][1], _SIGKILL)  # not reaped yet, so the pid is still its own

    def _reap(self, pidfd: int) -> None:
        serial, pid = self._pids.pop(pidfd)
        del self._pidfds[serial]
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status, usage = os.wait4(pid, 0)
        asked = serial in self._asked_to_kill
        self._asked_to_kill.discard(serial)
        cpu = int((usage.ru_utime + usage.ru_stime) * 1e6)
        self._send(link.EXITED, serial, status, usage.ru_maxrss * 1024, cpu, int(asked))

    def _send(self, kind: int, *values: int) -> None:
        self._control.sendall(link.CONTROL.pack(kind, *values, *(0,) * (5 - len(values))))


def _die_of_crashes() -> None:
    """Remove the signal handlers that the engine has installed for WebAssembly.

    For any other fault they restore the previous handler and return, so that the fault repeats and kills the process. A
    confined process may not do that and would fault forever.
    """
    libc = ctypes.CDLL(None)
    for number in _CRASHES:
        libc.signal(number, ctypes.c_void_p(_SIG_DFL))


def _volunteer_for_the_kernel() -> None:
    """Make the kernel prefer cells over the host and its caller when the machine runs out of memory."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        pass


def _schedule(policy: int) -> None:
    """Set the scheduling policy, so that forking and preparing spare runtimes does not preempt other processes."""
    try:  # noqa: SIM105 - see the imports
        os.sched_setscheduler(0, policy, _ORDINARY)
    except OSError:
        pass  # not permitted: only slower


def _die_with_host(host: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != host:
        os._exit(0)


def main() -> None:
    """Run the zygote. Does not return."""
    settings = Settings(sys.argv[1:])
    _die_with_host(settings.parent)
    _volunteer_for_the_kernel()
    _schedule(os.SCHED_BATCH)
    # Close descriptors inherited from the host's parent.
    os.closerange(CONTROL_FD + 1, 1 << 20)
    ctypes.CDLL(None).signal(_SIGINT, ctypes.c_void_p(_SIG_IGN))
    control = socket(fileno=CONTROL_FD)
    status = link.EXIT_BROKEN
    try:
        Zygote(control, settings).run()
        status = 0
    except (EngineError, ConfinementError) as error:
        sys.stderr.write(f"{error}\n")
        status = link.EXIT_REFUSED
    except (BrokenPipeError, ConnectionResetError):
        status = 0  # the host is gone; the runtimes go with us
    except BaseException:  # noqa: BLE001 - reported to the host by standard error and the exit status
        sys.excepthook(*sys.exc_info())
    finally:
        # Without the interpreter's shutdown, in which PythonMonkey crashes.
        os._exit(status)
