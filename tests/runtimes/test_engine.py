"""The engine loads as it should, knows when it did not, and survives a fork in every mode."""

# ruff: noqa: E501 - scripts and what they say stand on one line

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codemode_host.runtimes.engine.elf import ElfError, Library
from codemode_host.runtimes.host_side.spawn import engine_directory

ROOT = Path(__file__).resolve().parents[2]
LOOP_WORKS = sys.version_info < (3, 13)
MODES = ["own", "late", pytest.param("loop", marks=pytest.mark.skipif(not LOOP_WORKS, reason="no loop to be found"))]

WORK = {
    "an optimised loop": "let s = 0; for (let i = 0; i < 3e6; i++) s = (s + i * 2) | 0; text(s)",
    "garbage collections": (
        "let a = []; for (let i = 0; i < 5e5; i++) { a.push({ x: i, y: [i] }); if (a.length > 1e5) a = [] } text(a.length)"
    ),
    "weak references": (
        "const w = new WeakRef({}); const m = new WeakMap(); m.set({}, 1);"
        " for (let i = 0; i < 3e5; i++) ({ i }); await 0; text(typeof w.deref())"
    ),
    "regular expressions": "let n = 0; for (let i = 0; i < 2e4; i++) n += /(\\d+)-(\\w+)/u.exec(`x${i}-y`)[1].length; text(n)",
    "locales": (
        "text(['de', 'hi', 'ja', 'ar', 'sv'].map((l) => (1234.5).toLocaleString(l) + new Date(0).toLocaleDateString(l)"
        " + 'a'.localeCompare('ä', l)).join())"
    ),
    "strings": "let s = ''; for (let i = 0; i < 2e5; i++) s += String.fromCharCode(97 + (i % 26)); text(s.split('a').length)",
    "typed arrays": "const f = new Float64Array(1e5).map((_, i) => i ** 0.5).sort(); text(f[99999] | 0)",
    "many awaits": "let n = 0; for (let i = 0; i < 20000; i++) n += await 1; text(n)",
    "recursion": "function r() { return 1 + r() } try { r() } catch (e) { text(e instanceof RangeError) }",
    "generated code": "let n = 0; for (let i = 0; i < 300; i++) n += new Function('x', `return x + ${i}`)(i); text(n)",
}
SAID = {
    "an optimised loop": "2040514880",
    "garbage collections": "99996",
    "regular expressions": "88890",
    "strings": "7694",
    "typed arrays": "316",
    "many awaits": "20000",
    "recursion": "true",
    "generated code": "89700",
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("work", WORK)
def test_a_forked_engine_does_real_work(cells_by_mode: Callable[[str], Any], mode: str, work: str) -> None:
    ran = cells_by_mode(mode)(WORK[work])
    assert ran.died is None
    assert ran.error is None
    assert len(ran.items) == 1
    if work in SAID:
        assert ran.items == [SAID[work]]


@pytest.mark.parametrize("mode", MODES)
def test_jobs_run_in_the_order_of_the_specification(cells_by_mode: Callable[[str], Any], mode: str) -> None:
    ran = cells_by_mode(mode)(
        """
        const log = [];
        const thenable = { then(resolve) { log.push("then"); resolve("t"); } };
        (async () => { log.push("a1"); await null; log.push("a2"); await thenable; log.push("a3"); })();
        Promise.resolve().then(() => log.push("p1")).then(() => log.push("p2")).then(() => log.push("p3"));
        new Promise((resolve) => resolve(Promise.resolve())).then(() => log.push("nested"));
        (async () => { try { await Promise.reject(Symbol()); } catch { log.push("caught"); } })();
        setTimeout(() => log.push("timer"), 0);
        log.push("sync");
        await tools.echo(1); log.push("tool");
        await new Promise((resolve) => setTimeout(resolve, 1));
        text(log.join(" "));"""
    )
    assert ran.items == ["a1 sync a2 p1 caught then p2 a3 p3 nested tool timer"]


def test_the_engine_is_alone_in_its_process(cells_by_mode: Callable[[str], Any]) -> None:
    facts = cells_by_mode("own").facts
    assert facts["single_threaded"] is True
    assert facts["native_jobs"] is True
    assert facts["threads"] == 1
    assert not [name for name in facts["modules"] if name.startswith(("pythonmonkey.", "asyncio", "inspect"))]


@pytest.mark.skipif(not LOOP_WORKS, reason="PythonMonkey finds no event loop on this Python")
def test_pythonmonkeys_queue_keeps_nothing_of_what_was_awaited(cells_by_mode: Callable[[str], Any]) -> None:
    facts = cells_by_mode("loop").facts
    assert (facts["single_threaded"], facts["native_jobs"]) == (True, False)
    ran = cells_by_mode("loop")("for (let i = 0; i < 4000; i++) await new Uint8Array(1e6); text('done')")
    assert ran.items == ["done"]


def in_a_process(script: str) -> str:
    """Run Python in a fresh isolated interpreter; what it wrote."""
    preamble = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]\nfrom codemode_host.runtimes.engine import loading as engine\n"
    )
    # PythonMonkey does not survive the end of the interpreter.
    ending = "\nimport os; sys.stdout.flush(); os._exit(0)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", preamble + script + ending],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(LOOP_WORKS, reason="PythonMonkey finds its event loop on this Python")
def test_no_queue_at_all_is_a_clear_error() -> None:
    said = in_a_process(
        "try: engine.load(engine.EngineOptions(native_jobs=False))\nexcept engine.EngineError as error: print(error)"
    )
    assert "finds no event loop on Python 3.13" in said


def test_an_unknown_library_is_not_made_single_threaded() -> None:
    assert in_a_process("engine._EXTRA_THREADS = 'nowhere'; print(engine.load().single_threaded)") == "False"


@pytest.mark.skipif(not LOOP_WORKS, reason="PythonMonkey finds no event loop on this Python")
def test_an_unknown_extension_gets_pythonmonkeys_queue() -> None:
    assert in_a_process("engine._INIT = 'nowhere'; print(engine.load().native_jobs)") == "False"


def test_threads_are_seen_when_they_were_not_forbidden() -> None:
    script = "loaded = engine.load(engine.EngineOptions(single_threaded=False)); engine.self_check(loaded)"
    assert in_a_process(script + "; print(loaded.single_threaded, loaded.native_jobs)") == "False True"


def test_an_engine_is_loaded_once_a_process() -> None:
    script = "engine.preload(); engine.load()\ntry: engine.load()\nexcept engine.EngineError as error: print(error)"
    assert in_a_process(script) == "the engine of this process is loaded already"


@pytest.mark.parametrize(
    ("tampering", "complaint"),
    [
        ("loaded.run_jobs = lambda: None", "a module's promise was not fulfilled"),
        ("loaded.interface.collect = lambda: None", "a rooted object was not followed when it moved"),
        ("loaded.interface.compile_options = lambda _: type(loaded.interface).compile_options(loaded.interface, 'x')",
         "a module noted a,b,c,d,x:"),
        ("loaded.interface.call = lambda *_: True", "arguments arrived changed"),
        ("import threading, time; threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
         "the engine started a thread"),
    ],
)  # fmt: skip
def test_the_self_check_names_what_does_not_hold(tampering: str, complaint: str) -> None:
    said = in_a_process(
        f"loaded = engine.load()\n{tampering}\n"
        "try: engine.self_check(loaded)\nexcept engine.EngineError as error: print(error)"
    )
    assert complaint in said


@pytest.mark.parametrize(
    ("tampering", "complaint"),
    [
        ("engine._EXTENSION = 'nowhere.so'", "is not installed in full: "),
        ("engine.preload(); engine._mapping.extension_path = '/nowhere.so'", "PythonMonkey's extension module does not load: "),
        ("engine.preload(); engine._mapping.extension = ctypes.PyDLL(None)", "GLOBAL_CX"),
        ("spidermonkey._FUNCTIONS['x'] = ('nowhere', None, ())", "the engine's library does not export nowhere"),
        ("exhaustion._FUNCTIONS = ('nowhere',)", "could not be told from a crash: the engine's library does not export nowhere"),
        ("os.uname = lambda: os.uname_result(['Linux', '', '', '', 'riscv64'])", "from a crash: no machine code for riscv64"),
        ("exhaustion.open = exhaustion._overwrite_pages = lambda *_: os.close(-1)", "from a crash: [Errno 9] Bad file descriptor"),
        ("exhaustion.open = lambda *_: os.close(-1); exhaustion._overwrite_pages = print", "the engine's code cannot be changed"),
        ("exhaustion.MachineCode = lambda _: argparse.Namespace(address=None)", "from a crash: the kernel allows no machine code"),
        ("engine._FLATTEN = 'nowhere'", "from a crash: PythonMonkey does not call JS_EnsureLinearString where it should"),
    ],
)  # fmt: skip
def test_an_engine_that_is_not_the_one_it_should_be_is_refused_with_what_is_missing(
    tampering: str, complaint: str
) -> None:
    said = in_a_process(
        "import argparse, ctypes, os\nfrom codemode_host.runtimes.engine import exhaustion, spidermonkey\n"
        f"{tampering}\ntry: engine.load()\nexcept engine.EngineError as error: print(error)"
    )
    assert complaint in said


def test_code_that_may_not_be_written_to_is_an_error_and_no_crash() -> None:
    said = in_a_process(
        "from codemode_host.runtimes.engine import exhaustion\n"
        "try: exhaustion._overwrite_pages(1 << 46, bytes(8))\n"
        "except exhaustion.ExhaustionError as error: print(error)"
    )
    assert said == "the engine's code cannot be changed: Cannot allocate memory"


def test_the_self_check_leaves_nothing_behind() -> None:
    names = "loaded.evaluate('Object.getOwnPropertyNames(globalThis).sort().join()', 'x.js')"
    said = in_a_process(
        f"loaded = engine.load(); before = str({names}); engine.self_check(loaded); print(before == str({names}))"
    )
    assert said == "True"


def test_a_missing_pythonmonkey_is_a_clear_error() -> None:
    script = "sys.path[:] = [sys.path[0]]\ntry: engine.preload()\nexcept engine.EngineError as error: print(error)"
    assert in_a_process(script) == "pythonmonkey is not installed in this environment"


def test_symbols_are_found_only_where_they_are() -> None:
    directory = Path(engine_directory()) / "pythonmonkey"
    with Library(str(directory / "libmozjs-136a1.so")) as library:
        assert library.variable("_ZN2js19gCanUseExtraThreadsE", 1)
        assert library.variable("_ZN2js19gCanUseExtraThreadsE", 8) is None
        assert library.variable("_ZN2js20UseInternalJobQueuesEP9JSContext", 1) is None
        assert library.variable("gCanUseExtraThreads", 1) is None
    with Library(str(directory / "pythonmonkey.so")) as library:
        assert library.slot("PyErr_SetString")
        assert library.slot("PyInit_pythonmonkey") is None
        assert library.slot("nowhere") is None


def test_what_is_no_library_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no library at all, but long enough to look at")
    (tmp_path / "cut").write_bytes(Path(sys.executable).read_bytes()[:80])
    for name in ("text", "cut"):
        with pytest.raises(ElfError):
            Library(str(tmp_path / name))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"MZ" + bytes(100), "is no 64-bit little-endian ELF file"),
        (b"\x7fELF\x02\x01" + b"\1" * 100, "has no readable section"),
    ],
)
def test_a_file_that_is_no_library_is_an_error_with_its_name(tmp_path: Path, content: bytes, complaint: str) -> None:
    file = tmp_path / "library.so"
    file.write_bytes(content)
    with pytest.raises(ElfError, match=f"library.so {complaint}"):
        Library(str(file))
