"""Loads SpiderMonkey through PythonMonkey's extension module. Only this module knows PythonMonkey's internals.

Change with care. Everything here holds for ``pythonmonkey==1.4.1`` and is checked at start, by `self_check` and during
loading; what cannot be checked has a fallback that is slower, never wrong:

1. *The extension alone.* The package around it takes seven times as long to import and gives JavaScript Python's
   `eval`. Loading the extension module by its file avoids the package.
2. *One thread.* A fork loses all other threads, and an engine without its helper threads hangs in its next garbage
   collection. The engine starts none if `js::gCanUseExtraThreads` is false before its initialisation. The variable is
   not exported, so it is looked up in ``.symtab``. Checked: it is a one-byte variable that is true, and afterwards the
   process has one thread. Fallback: `Engine.single_threaded` is False, and a process must fork before it loads.
3. *The engine's own job queue.* It must be selected (`js::UseInternalJobQueues`) before `JS::InitSelfHostedCode`, and
   PythonMonkey's initialisation leaves no time between. Its call of `JS::InitSelfHostedCode` goes through a relocation
   slot, which is pointed to a function of ours meanwhile. Checked: the slot held the address that the loader gives for
   that symbol, our function was called, and a promise job runs when `js::RunJobs` is called. Fallback:
   `Engine.native_jobs` is False, and PythonMonkey's queue is used (`jobs`).
4. *No rejection tracker.* PythonMonkey's crashes on reasons such as a Symbol. It is removed by an exported setter.
5. *Out of memory is a status.* See `exhaustion`. It has no fallback.
6. *No asyncio.* PythonMonkey's initialisation imports it, for one `asyncio.Event` that only its own job queue and
   `wait` use: three quarters of the initialisation's time. It gets a stand-in for these two names. Checked: if it used
   any other, the initialisation would fail with an AttributeError, and so would the self-check.
"""

from __future__ import annotations

import ctypes
import os
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder

from codemode_host.runtimes.engine.elf import ElfError, Library
from codemode_host.runtimes.engine.exhaustion import ExhaustionError, exit_when_exhausted
from codemode_host.runtimes.engine.spidermonkey import FULFILLED, Interface, MissingSymbol
from codemode_host.runtimes.link import EXIT_OUT_OF_MEMORY

TYPE_CHECKING = False  # importing typing takes 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LIBRARY = "libmozjs-136a1.so"
_EXTENSION = "pythonmonkey.so"
_EXTRA_THREADS = "_ZN2js19gCanUseExtraThreadsE"
_INIT = "_ZN2JS18InitSelfHostedCodeEP9JSContextN7mozilla4SpanIKhLm18446744073709551615EEEPFbS1_S5_E"
_USE_INTERNAL_QUEUES = "_ZN2js20UseInternalJobQueuesEP9JSContext"
_PAGE = 4096


class EngineError(RuntimeError):
    """The engine cannot be used on this machine; the message says why."""


class EngineOptions:
    """The options of the engine. False forces the fallback of the trick."""

    __slots__ = ("native_jobs", "single_threaded")

    def __init__(self, single_threaded: bool = True, native_jobs: bool = True) -> None:
        self.single_threaded: bool = single_threaded
        self.native_jobs: bool = native_jobs


class Engine:
    """The only engine of this process."""

    def __init__(
        self, module: Any, interface: Interface, single_threaded: bool, run_jobs: Callable[[], None] | None
    ) -> None:
        self.interface = interface
        self.single_threaded = single_threaded
        """The engine has started no threads, so that this process may be forked."""
        self.native_jobs: bool = run_jobs is None
        """Promise jobs are in the engine's own queue."""
        self.run_jobs: Callable[[], None] = run_jobs or interface.run_jobs
        """Run promise jobs until there are none."""
        self._module = module

    def evaluate(self, script: str, filename: str) -> Any:
        """Evaluate one of our own scripts. Strings and functions are returned as PythonMonkey's wrappers."""
        return self._module.eval(script, {"filename": filename})


class _Mapping:
    """Both libraries in memory, before the engine is initialised."""

    def __init__(self) -> None:
        spec = PathFinder.find_spec("pythonmonkey")
        if spec is None or not spec.submodule_search_locations:
            raise EngineError("pythonmonkey is not installed in this environment")
        directory = next(iter(spec.submodule_search_locations))
        path = os.path.join(directory, _LIBRARY)
        self.extension_path = os.path.join(directory, _EXTENSION)
        try:
            # Global and before the extension, so that the extension binds to this copy.
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
            self.library = ctypes.PyDLL(path)
            self.extension = ctypes.PyDLL(self.extension_path)
        except OSError as error:
            raise EngineError(f"pythonmonkey 1.4.1 is not installed in full: {error}") from error
        try:
            with Library(path) as elf:
                self.threads_offset = elf.variable(_EXTRA_THREADS, 1)
            with Library(self.extension_path) as elf:
                self.slot_offset = elf.slot(_INIT)
        except (OSError, ElfError):
            self.threads_offset = self.slot_offset = None

    def forbid_threads(self) -> bool:
        """Apply trick 2. Return False, without a change, if the variable is not where it should be."""
        base = _base(ctypes.cast(self.library[_USE_INTERNAL_QUEUES], ctypes.c_void_p).value, _LIBRARY)
        if self.threads_offset is None or base is None:
            return False
        variable = ctypes.c_ubyte.from_address(base + self.threads_offset)
        if variable.value != 1:
            return False
        variable.value = 0
        return True

    def slot(self) -> ctypes.c_uint64 | None:
        """Make the relocation slot of trick 3 writable and return it; None if it is not where it should be."""
        start = getattr(self.extension, "PyInit_pythonmonkey", None)
        base = _base(ctypes.cast(start, ctypes.c_void_p).value, _EXTENSION) if start is not None else None
        if self.slot_offset is None or base is None:
            return None
        address = base + self.slot_offset
        page = address & ~(_PAGE - 1)
        # The linker protected the page after relocation. It stays writable, because other slots on it may have to be.
        if ctypes.CDLL(None).mprotect(ctypes.c_void_p(page), ctypes.c_size_t(_PAGE), 3) != 0:
            return None
        slot = ctypes.c_uint64.from_address(address)
        if slot.value != ctypes.cast(self.library[_INIT], ctypes.c_void_p).value:
            return None
        return slot


class _Event:
    """The methods of `asyncio.Event` that PythonMonkey uses outside of its `wait`."""

    def set(self) -> None: ...

    def clear(self) -> None: ...


class _NoAsyncio:
    """A stand-in for asyncio during PythonMonkey's initialisation, unless asyncio is already imported."""

    def __enter__(self) -> None:
        self._needed = "asyncio" not in sys.modules
        if self._needed:
            stand_in = type(sys)("asyncio")
            stand_in.__dict__["Event"] = _Event
            sys.modules["asyncio"] = stand_in

    def __exit__(self, *_: object) -> None:
        if self._needed:
            del sys.modules["asyncio"]


class _DlInfo(ctypes.Structure):
    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _base(address: int | None, name: str) -> int | None:
    """Return the load address of the library that contains `address`; None if it is not the library `name`."""
    info = _DlInfo()
    if not ctypes.CDLL(None).dladdr(ctypes.c_void_p(address), ctypes.byref(info)) or not info.file:
        return None
    return int(info.base) if os.path.basename(info.file).decode() == name else None


_mapping: _Mapping | None = None
_engine: Engine | None = None


def preload() -> None:
    """Map the libraries without initialising the engine; a child forked after this loads it in 14 ms.

    Raises:
        EngineError: PythonMonkey 1.4.1 is not installed.
    """
    global _mapping
    if _mapping is None:
        _mapping = _Mapping()


def load(options: EngineOptions | None = None) -> Engine:
    """Initialise the engine of this process, once. Raises EngineError."""
    global _engine
    if _engine is not None:
        raise EngineError("the engine of this process is loaded already")
    options = options or EngineOptions()
    preload()
    assert _mapping is not None
    threads_forbidden = options.single_threaded and _mapping.forbid_threads()
    slot = _mapping.slot() if options.native_jobs else None
    module, native_jobs = _initialise(_mapping, slot)
    try:
        context = ctypes.c_void_p.in_dll(_mapping.extension, "GLOBAL_CX").value
        if not context:
            raise EngineError("PythonMonkey has no context after its initialisation")
        interface = Interface(_mapping.library, context)
    except (ValueError, MissingSymbol) as error:
        raise EngineError(str(error)) from error
    try:
        exit_when_exhausted(_mapping.library, EXIT_OUT_OF_MEMORY)
    except (ExhaustionError, OSError, AttributeError) as error:
        raise EngineError(f"running out of memory could not be told from a crash: {error}") from error
    interface.clear_rejection_tracker()
    run_jobs = None
    if not native_jobs:
        from codemode_host.runtimes.engine import jobs

        run_jobs = jobs.install().run
        try:
            module.eval("Promise.resolve().then(() => {}); undefined")
            run_jobs()
        except RuntimeError as error:
            # PythonMonkey 1.4.1 cannot find CPython 3.13's running loop.
            raise EngineError(
                "the engine's own job queue cannot be had here, and PythonMonkey's finds no event loop on Python "
                f"{sys.version_info.major}.{sys.version_info.minor}: {error}"
            ) from error
    single_threaded = threads_forbidden and len(os.listdir("/proc/self/task")) == 1
    _engine = Engine(module, interface, single_threaded, run_jobs)
    return _engine


def _initialise(mapping: _Mapping, slot: ctypes.c_uint64 | None) -> tuple[Any, bool]:
    """Run the extension's initialisation; return the module and whether the engine has its own job queue."""
    loader = ExtensionFileLoader("pythonmonkey", mapping.extension_path)
    spec = ModuleSpec("pythonmonkey", loader, origin=mapping.extension_path)
    chosen, saved = False, 0
    if slot is not None:
        signature = ctypes.PYFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p)
        original = signature(slot.value)
        use_queues = mapping.library[_USE_INTERNAL_QUEUES]
        use_queues.restype, use_queues.argtypes = ctypes.c_bool, (ctypes.c_void_p,)

        def init_self_hosted_code(context: int, data: int, length: int, write: int) -> bool:
            nonlocal chosen
            chosen = bool(use_queues(context))
            return bool(original(context, data, length, write))

        ours, saved = signature(init_self_hosted_code), slot.value
        slot.value = ctypes.cast(ours, ctypes.c_void_p).value or saved
    try:
        with _NoAsyncio():
            module = loader.create_module(spec)
            loader.exec_module(module)
    except (ImportError, AttributeError) as error:
        raise EngineError(f"PythonMonkey's extension module does not load: {error}") from error
    finally:
        if slot is not None:
            slot.value = saved
    return module, chosen


def self_check(engine: Engine) -> None:
    """Test everything that `load` and `Interface` rely on, in a few milliseconds, without side effects.

    Call it in the process that loaded the engine, before any other code runs in it.

    Raises:
        EngineError: A check failed; the message names it.
    """
    interface = engine.interface

    def require(condition: object, what: str) -> None:
        if not condition:
            raise EngineError(f"the engine's self-check failed: {what}")

    engine.evaluate("globalThis.seen = []; globalThis.note = x => { seen.push(x) }; undefined", "check.js")
    try:
        # Roots: a young object moves when garbage is collected, and its root follows.
        root = interface.new_object_root()
        before = root.object
        interface.collect()
        require(before and root.object and root.object != before, "a rooted object was not followed when it moved")
        # Modules: compiled under their name, awaiting, with an order of jobs that the language prescribes.
        options = interface.compile_options("check.mjs")
        module, promise = interface.object_root(), interface.object_root()
        source = b"""
            Promise.resolve().then(() => note('b')); note('a'); await null; note('c'); await null; note('d');
            note(new Error().stack.split('@')[1].trim());"""
        require(interface.compile_module(options, source, module), "a module did not compile")
        require(interface.link(module), "a module did not link")
        require(interface.evaluate(module, promise), "a module did not run")
        engine.run_jobs()
        require(interface.promise_state(promise) == FULFILLED, "a module's promise was not fulfilled")
        seen = str(engine.evaluate("seen.join()", "check.js"))
        require(seen == "a,b,c,d,check.mjs:3:18", f"a module noted {seen}")
        # Calls with strings and numbers.
        note = interface.take("note")
        called = interface.call(note, "é".encode()) and interface.call_number(note, 7)
        require(called, "a function could not be called")
        require(str(engine.evaluate("seen.slice(5).join()", "check.js")) == "é,7", "arguments arrived changed")
    finally:
        engine.evaluate("delete globalThis.seen; delete globalThis.note; undefined", "check.js")
    if engine.single_threaded:
        require(len(os.listdir("/proc/self/task")) == 1, "the engine started a thread")
