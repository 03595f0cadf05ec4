"""Where memory runs out in the middle of PythonMonkey or of Python, the process ends with the status that says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from codemode_host.runtimes.link import EXIT_OUT_OF_MEMORY

ROOT = Path(__file__).resolve().parents[2]
GUARD = """
import ctypes
from codemode_host.runtimes.engine.exhaustion import guard
libc = ctypes.CDLL(None)
def guarded(name):
    function = ctypes.cast(libc[name], ctypes.c_void_p).value
    return ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)(guard(function, 71))
text = ctypes.c_char_p(b"found")
address = ctypes.cast(text, ctypes.c_void_p).value
assert guarded("strchr")(text, ord("u")) == address + 2
guarded("strchr")(text, ord("x"))
"""
LOADED = """
import mmap, resource
from codemode_host.runtimes.engine.loading import load
from codemode_host.runtimes.engine.realm import Realm
from codemode_host.runtimes.link import OUTPUT_BYTES
realm = Realm(load(), lambda kind, text: None, memoryview(mmap.mmap(-1, OUTPUT_BYTES)))
with open("/proc/self/statm") as file:
    data = int(file.read().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (data + (24 << 20),) * 2)
"""
# Calls leave small things behind until there is no room for a few characters, put together from several strings.
CALLS = """
realm.rehearse()
source = b"await { then(f) { for (let i = 0; i < 20000; i++) tools.t(i); f(); } }; for (;;) notify('x'.repeat(20000));"
realm.start(source, b'[{"name":"t","description":""}]', b"{}")
realm.run_jobs()
"""


def run(code: str) -> int:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode


@pytest.mark.parametrize(
    "code",
    [GUARD, LOADED + "bytes(1 << 30)", LOADED + "all = []\nwhile True: all.append([])", LOADED + CALLS],
    ids=["a function", "a large object of Python's", "small objects of Python's", "a string of JavaScript's"],
)
def test_what_finds_no_memory_exits_with_the_status_for_it(code: str) -> None:
    assert run(code) == EXIT_OUT_OF_MEMORY
