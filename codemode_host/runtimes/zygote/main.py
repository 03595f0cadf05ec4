"""The process that every runtime is forked from, and the only one that reaps them.

Started by the host with an empty environment and three descriptors: the control socket and standard error. It loads the
engine, evaluates the prelude, and then does nothing but fork, kill and reap on request. It has one thread, always: a
forked child would miss the others. It ends when the control socket does, and takes every runtime with it.

Do not touch lightly: what is in this process's memory is in every cell's.
"""

from __future__ import annotations

# Each module that is imported here costs start-up time, and memory that every fork has to copy: no `socket`, `signal`
# or `contextlib`, which bring `enum`, `re` and `collections` along.
import ctypes
import gc
import os
import select
import sys
from _socket import CMSG_SPACE, MSG_DONTWAIT, socket

from codemode_host.runtimes import link
from codemode_host.runtimes.cell import main as cell_main
from codemode_host.runtimes.cell.confinement import Confinement, ConfinementError
from codemode_host.runtimes.engine.loading import Engine, EngineError, EngineOptions, load, preload, self_check
from codemode_host.runtimes.engine.realm import Realm
from codemode_host.runtimes.zygote.huge_pages import use_huge_pages

CONTROL_FD = 3
READING_FD, WRITING_FD = 3, 4
"""A runtime's ends of its link; it has no control socket."""

BUSY_FORKS = 10
"""After so many forks without a moment between them there will be more, and what makes them faster is worth a wait."""

FORKS_AT_ONCE = 16
"""So many runtimes are forked before anything else is seen to."""

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
    """What the host tells the zygote on its command line, as `key=value` words."""

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
    """A mebibyte at a fixed address: private in the zygote, the shared memory of its own in each runtime.

    JavaScript gets its view of the address before the fork, so that the code that writes it is warm; mapping another
    memory over the same address afterwards goes unnoticed by the engine.
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
        """Map the memory behind `fd` over the address. Closes nothing."""
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
            os.environ["TZ"] = (
                settings.time_zone
            )  # the engine asks for it; the kernel's copy of the environment stays empty
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
            # Forking an engine that has threads would lose them: every child initialises one of its own instead.
            preload()
            flags = link.READY_NATIVE_JOBS if settings.native_jobs else 0
        self._options = options
        self._confinement = Confinement(
            seccomp=settings.confined, memory_limit=settings.memory_limit, cpu_seconds=settings.cpu_seconds
        )
        if self._realm is not None:
            self._confinement.apply_inherited()
        _die_of_crashes()
        self._settle()
        if self._realm is None:
            self._filled = 0  # a child that loads an engine of its own holds more
        self._send(link.READY, flags, os.getpid())

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
        """Nobody waits: do, one at a time, what makes all the runtimes to come faster.

        That is right after the start, as a rule, while the host is still importing its libraries.
        """
        if not self._has_huge_pages:
            self._use_huge_pages()
        else:
            self._improving = False
            assert self._realm is not None
            self._realm.warm_up_locales()
            self._settle()

    def _use_huge_pages(self) -> None:
        self._has_huge_pages = True
        use_huge_pages("libmozjs")
        self._settle()

    def _settle(self) -> None:
        """What there is now is what every runtime begins with."""
        gc.collect()
        gc.freeze()
        gc.disable()
        self._filled = link.filled_bytes("self")

    def _serve(self) -> bool:
        """Do what the host has asked for; False when it is gone."""
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
                self._fork(forks)  # it may be one of them
                forks = []
                self._kill(serial)
        self._fork(forks)
        return True

    def _fork(self, requests: list[_Fork]) -> None:
        """Fork a runtime for each request.

        After a fork each page that is written to is copied, by the child and by the zygote. So the forks follow each
        other with as little as possible between them, and the rest is done when there are no more of them.
        """
        parent = os.getpid()
        forked: list[tuple[int, int]] = []
        for serial, descriptors in requests:
            try:
                pid = os.fork()
            except OSError as error:  # no process is left, or no memory: that is this one's failure alone
                self._send(link.FORK_FAILED, serial, error.errno or 0)
                continue
            if pid == 0:
                status = link.EXIT_BROKEN
                try:
                    self._become_runtime(parent, descriptors)
                    status = 0
                except BaseException:  # noqa: BLE001 a forked child must never get back into the zygote's loop
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
        # The kernel gave them the lowest numbers that were free, in their order: none is in the way of another.
        os.dup2(reading, READING_FD)
        os.dup2(writing, WRITING_FD)
        os.closerange(WRITING_FD + 1, 1 << 20)
        realm = self._realm
        if realm is None:
            engine = load(self._options)
            realm = Realm(engine, cell_main.emit, self._memory.view)
            self._confinement.apply_inherited()
        _schedule(os.SCHED_OTHER)
        self._confinement.apply_own(parent)
        cell_main.run(realm, READING_FD, WRITING_FD, self._memory.view)

    def _kill(self, serial: int) -> None:
        pidfd = self._pidfds.get(serial)
        if pidfd is not None:  # else it has ended by itself, and the host is about to learn
            self._asked_to_kill.add(serial)
            os.kill(self._pids[pidfd][1], _SIGKILL)  # not reaped yet, so the number is still its own

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
    """Take back the handlers that the engine has set for WebAssembly's sake.

    For any other fault they restore what was there before and return, so that it happens again and kills. A confined
    process cannot do that: it would fault for ever.
    """
    libc = ctypes.CDLL(None)
    for number in _CRASHES:
        libc.signal(number, ctypes.c_void_p(_SIG_DFL))


def _volunteer_for_the_kernel() -> None:
    """When the machine runs out of memory a cell should go, which is one answer, and not the host or its caller."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        pass


def _schedule(policy: int) -> None:
    """Forking ahead of need, and preparing what was forked, is not to interrupt those who answer somebody right now."""
    try:  # noqa: SIM105 see the imports
        os.sched_setscheduler(0, policy, _ORDINARY)
    except OSError:
        pass  # where that is not allowed, things are merely slower


def main() -> None:
    """Entry point of the zygote's process."""
    settings = Settings(sys.argv[1:])
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != settings.parent:
        os._exit(0)
    _volunteer_for_the_kernel()
    _schedule(os.SCHED_BATCH)
    # Nothing that was open in the host's parent belongs here, nor in a cell.
    os.closerange(CONTROL_FD + 1, 1 << 20)
    libc.signal(_SIGINT, ctypes.c_void_p(_SIG_IGN))
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
    except BaseException:  # noqa: BLE001 reported to the host, by way of standard error and the status
        sys.excepthook(*sys.exc_info())
    finally:
        # Without the interpreter's shutdown, which PythonMonkey does not survive.
        os._exit(status)
