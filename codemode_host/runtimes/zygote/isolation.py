"""Takes from the zygote, and so from every cell, what its user could do on the machine: a wall behind the filter.

A cell's system call filter (`codemode_host.runtimes.cell.confinement`) is what confines it. These layers are for the
case that the filter has a hole, or the zygote itself a fault. A kernel or a container may refuse some of them: they are
applied where they can be had, and `codemode-host --check` says which are on.
"""

from __future__ import annotations

import ctypes
import os

from codemode_host.runtimes import link

_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = 0x2_0000, 0x800_0000, 0x1000_0000, 0x4000_0000
_NAMESPACES = _CLONE_NEWNS | _CLONE_NEWIPC | _CLONE_NEWNET
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_RIGHTS = (0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF)
"""The rights to files that Landlock knows, by its version less 1."""
_READ_FILE, _READ_DIRECTORY = 4, 8
_CAPABILITY_VERSION = 0x2008_0522
_CAPSET = {"x86_64": 126, "aarch64": 91}

NOBODY = 65534
"""The user and the group that a zygote of root becomes."""


def isolate() -> int:
    """Leave root, its capabilities, and the machine's network, and give up writing files.

    Returns:
        Which layers are on, as `link.READY_*` flags.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    flags = 0
    is_root = os.geteuid() == 0
    if _enter_namespaces(libc, is_root):
        flags |= link.READY_NAMESPACES
    if _drop_privileges(libc, is_root):
        flags |= link.READY_UNPRIVILEGED
    if forbid_files(_READ_FILE | _READ_DIRECTORY):
        flags |= link.READY_LANDLOCK
    return flags


def _enter_namespaces(libc: ctypes.CDLL, is_root: bool) -> bool:
    """Have a network of its own without any interface, and its own shared memory and mounts."""
    if is_root and libc.unshare(_NAMESPACES) == 0:
        return True
    if libc.unshare(_CLONE_NEWUSER | _NAMESPACES) != 0:
        return False
    # The kernel takes a process in a new user namespace for one with secrets, of which its user sees nothing in /proc.
    libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    return True


def _drop_privileges(libc: ctypes.CDLL, is_root: bool) -> bool:
    if is_root:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        except OSError:
            pass  # a namespace without such a user: the capabilities go all the same
    number = _CAPSET.get(os.uname().machine)
    if number is None:
        return False
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    return bool(libc.syscall(ctypes.c_long(number), header, (ctypes.c_uint32 * 6)()) == 0)


def forbid_files(allowed: int = 0) -> bool:
    """Forbid to this process all uses of files that open one, but for these Landlock rights, which hold everywhere.

    Returns:
        Whether the kernel has Landlock.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def call(number: int, *arguments: object) -> int:
        words = (ctypes.c_long(word) if isinstance(word, int) else word for word in arguments)
        return int(libc.syscall(ctypes.c_long(number), *words))

    version = call(_LANDLOCK_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    rights = ctypes.c_uint64(_RIGHTS[min(version, len(_RIGHTS)) - 1])
    ruleset = call(_LANDLOCK_CREATE_RULESET, ctypes.byref(rights), 8, 0)
    if ruleset < 0:
        return False
    try:
        if allowed:
            root = os.open("/", os.O_PATH)
            rule = allowed.to_bytes(8, "little") + root.to_bytes(4, "little")
            added = call(_LANDLOCK_ADD_RULE, ruleset, 1, ctypes.c_char_p(rule), 0)
            os.close(root)
            if added != 0:
                return False
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return call(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0
    finally:
        os.close(ruleset)
