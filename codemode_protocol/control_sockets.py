"""Where the control sockets of running hosts are. Imported while a host starts, so it imports nothing."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_FOLDER = "codemode"
_SUFFIX = ".sock"


def socket_directories(environment: Mapping[str, str], uid: int) -> list[str]:
    """Where the hosts of a user may have their sockets, best first, by what the environment says.

    A host takes the first that it can use. The last two are where hosts are found that were started with another
    environment, by a service manager say.
    """
    found = []
    runtime, temporary = environment.get("XDG_RUNTIME_DIR", ""), environment.get("TMPDIR", "")
    if runtime.startswith("/"):
        found.append(f"{runtime.rstrip('/')}/{_FOLDER}")
    if temporary.startswith("/"):
        found.append(f"{temporary.rstrip('/')}/{_FOLDER}-{uid}")
    found += [f"/tmp/{_FOLDER}-{uid}", f"/run/user/{uid}/{_FOLDER}"]
    return list(dict.fromkeys(found))


def socket_name(pid: int, started: int) -> str:
    """Return the name of a host's socket. No two processes of a machine have the same, not even one after the other."""
    return f"{pid}-{started}{_SUFFIX}"


def parse_socket_name(name: str) -> tuple[int, int] | None:
    """Return the process that a socket's name is about, and when it started; None for any other file."""
    pid, _, started = name.removesuffix(_SUFFIX).partition("-")
    if name.endswith(_SUFFIX) and name.isascii() and len(name) <= 64 and pid.isdigit() and started.isdigit():
        return int(pid), int(started)
    return None


def stat_fields(stat: bytes) -> list[bytes]:
    """Return the fields of `/proc/PID/stat` from the third on, the state; the second may hold anything."""
    return stat.rpartition(b")")[2].split()


def start_time(stat: bytes) -> int:
    """When a process started, in clock ticks since the machine did, from its `/proc/PID/stat`."""
    return int(stat_fields(stat)[19])
