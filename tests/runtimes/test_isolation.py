"""What a zygote takes from itself, proved by attempting it afterwards; a layer that is refused is not said to be on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PREAMBLE = """
import ctypes, errno, os, socket
from codemode_host.runtimes import link
from codemode_host.runtimes.zygote import isolation
def works(attempt):
    try:
        attempt()
    except OSError:
        return False
    return True
def read(): open("/etc/passwd").close()
def look(): os.listdir("/")
def write(): open({file!r}, "w").close()
def make(): os.mkdir({file!r} + ".folder")
def remove(): os.unlink({file!r})
"""


def isolated(tmp_path: Path, source: str) -> str:
    """Run Python source in a process of its own, and return what it printed."""
    file = tmp_path / "file"
    file.touch()
    tmp_path.chmod(0o777)
    file.chmod(0o666)
    script = PREAMBLE.format(file=str(file)) + source
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def has_landlock(tmp_path: Path) -> bool:
    return isolated(tmp_path, "print(isolation.forbid_files())") == "True"


def test_files_can_be_read_and_not_written_and_later_not_even_read(tmp_path: Path) -> None:
    if not has_landlock(tmp_path):
        pytest.skip("this kernel has no Landlock")
    done = isolated(
        tmp_path,
        "print(*(works(one) for one in (read, look, write)))\n"
        "print(isolation.forbid_files(isolation._READ_FILE | isolation._READ_DIRECTORY))\n"
        "print(*(works(one) for one in (read, look, write, make, remove)))\n"
        "print(isolation.forbid_files())\n"
        "print(*(works(one) for one in (read, look, write, make, remove)))\n",
    )
    assert done.splitlines() == [
        "True True True",
        "True",
        "True True False False False",
        "True",
        "False False False False False",
    ]


def test_forbidding_files_leaves_no_descriptor(tmp_path: Path) -> None:
    done = isolated(
        tmp_path,
        "before = sorted(os.listdir('/proc/self/fd'))\n"
        "isolation.forbid_files(isolation._READ_FILE | isolation._READ_DIRECTORY)\n"
        "print(sorted(os.listdir('/proc/self/fd')) == before)",
    )
    assert done == "True"


@pytest.mark.parametrize("number", ["_LANDLOCK_CREATE_RULESET", "_LANDLOCK_ADD_RULE", "_LANDLOCK_RESTRICT_SELF"])
def test_a_kernel_without_landlock_is_said_to_have_none(tmp_path: Path, number: str) -> None:
    assert isolated(tmp_path, f"isolation.{number} = 9999\nprint(isolation.forbid_files(4))") == "False"


@pytest.mark.parametrize("namespaces", ["_NAMESPACES", "_CLONE_NEWUSER"])
def test_what_is_said_to_be_on_is_on(tmp_path: Path, namespaces: str) -> None:
    # A namespace that there is not: then none is entered, or only one that needs no root.
    change = "" if namespaces == "_NAMESPACES" else "isolation._CLONE_NEWUSER = isolation._NAMESPACES = 0x2000\n"
    done = isolated(
        tmp_path,
        f"{change}net = os.readlink('/proc/self/ns/net')\n"
        "flags = isolation.isolate()\n"
        "print(flags & link.READY_NAMESPACES > 0, os.readlink('/proc/self/ns/net') != net)\n"
        "print(flags & link.READY_LANDLOCK > 0, not works(write))\n"
        "status = open('/proc/self/status').read()\n"
        "print(flags & link.READY_UNPRIVILEGED > 0, 'CapEff:\\t' + '0' * 16 in status)\n"
        "print(os.geteuid(), *os.getgroups())",
    )
    *layers, user = done.splitlines()
    for layer in layers:
        said, _, is_so = layer.partition(" ")
        assert said == is_so, layer
    assert user.split()[0] != "0"


def test_a_process_without_capabilities_that_cannot_be_dropped_is_not_said_to_be_without(tmp_path: Path) -> None:
    done = isolated(tmp_path, "isolation._CAPSET = {}\nprint(isolation.isolate() & link.READY_UNPRIVILEGED)")
    assert done == "0"


def test_a_namespace_without_the_user_that_is_nobody_has_a_zygote_without_capabilities(tmp_path: Path) -> None:
    done = isolated(
        tmp_path,
        "user, group = os.geteuid(), os.getegid()\n"
        "if ctypes.CDLL(None).unshare(isolation._CLONE_NEWUSER) != 0:\n"
        "    raise SystemExit(print('no namespace'))\n"
        "for name, line in (('setgroups', 'deny'), ('uid_map', f'0 {user} 1'), ('gid_map', f'0 {group} 1')):\n"
        "    with open(f'/proc/self/{name}', 'w') as file:\n"
        "        file.write(line)\n"
        "flags = isolation.isolate()\n"
        "print(os.geteuid(), flags & link.READY_UNPRIVILEGED > 0)\n"
        "print('CapEff:\\t' + '0' * 16 in open('/proc/self/status').read())",
    )
    if done == "no namespace":
        pytest.skip("this kernel gives no user namespaces")
    assert done.split() == ["0", "True", "True"]
