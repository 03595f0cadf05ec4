"""SpiderMonkey 136's exported C++ interface for modules, roots and promises, called through ctypes.

Change with care: a wrong type here is memory corruption. It relies on a few layouts that are not exported (the tags of
a `JS::Value`, the head of a `JS::PersistentRooted`, the first field of `JS::CompileOptions`); `loading.self_check`
exercises all of them, including a moving garbage collection.

Everything is called through `ctypes.PyDLL`, which keeps the GIL, because any of these calls may run a job, a hook or a
callback in Python.
"""

from __future__ import annotations

import ctypes

TYPE_CHECKING = False  # importing typing takes 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_pointer = ctypes.c_void_p
_bool = ctypes.c_bool

# A JS::Value is a double or a 17-bit tag over a 47-bit payload.
_TAG_INT32 = 0x1FFF1 << 47
_TAG_STRING = 0x1FFF6 << 47
_TAG_OBJECT = 0x1FFFC << 47
_PAYLOAD = (1 << 47) - 1
UNDEFINED = 0x1FFF3 << 47
_ROOT_KIND_OBJECT = 3  # BaseShape, JitCode, Scope, Object: the order of JS_FOR_EACH_TRACEKIND
_GC_REASON_API = 0

PENDING, FULFILLED, REJECTED = range(3)
"""The results of `Interface.promise_state`."""

_CX = "P9JSContext"
_OBJECT = "NS_6HandleIP8JSObjectEE"
_VALUE = "NS_6HandleINS_5ValueEEE"
_OUT = "NS_13MutableHandleINS_5ValueEEE"
_PUBLIC_OBJECT = "N2JS6HandleIP8JSObjectEE"
_UTF8_SOURCE = "RKNS_22ReadOnlyCompileOptionsERNS_10SourceTextIN7mozilla8Utf8UnitEEE"

_FUNCTIONS: dict[str, tuple[str, Any, tuple[Any, ...]]] = {
    # Every reference and handle is a pointer; JS::Value in a return is its 64 bits.
    "get_runtime": (f"_Z13JS_GetRuntime{_CX}", _pointer, (_pointer,)),
    "current_global": (f"_ZN2JS19CurrentGlobalOrNullE{_CX}", _pointer, (_pointer,)),
    "collect": (f"_Z5JS_GC{_CX}N2JS8GCReasonE", None, (_pointer, ctypes.c_int)),
    "add_value_root": (
        f"_ZN2js15AddRawValueRootE{_CX}PN2JS5ValueEPKc",
        _bool,
        (_pointer, _pointer, ctypes.c_char_p),
    ),
    "add_object_root": (
        "_ZN2JS17AddPersistentRootEPNS_14RootingContextENS_8RootKindEPN2js20PersistentRootedBaseE",
        None,
        (_pointer, ctypes.c_int, _pointer),
    ),
    "new_plain_object": (f"_Z17JS_NewPlainObject{_CX}", _pointer, (_pointer,)),
    "new_string": (f"_Z21JS_NewStringCopyUTF8N{_CX}RKN2JS9UTF8CharsE", _pointer, (_pointer, _pointer)),
    "new_array_buffer": (
        f"_ZN2JS35NewArrayBufferWithUserOwnedContentsE{_CX}mPv",
        _pointer,
        (_pointer, ctypes.c_size_t, _pointer),
    ),
    "string_equals": (
        f"_Z20JS_StringEqualsAscii{_CX}P8JSStringPKcPb",
        _bool,
        (_pointer, _pointer, ctypes.c_char_p, _pointer),
    ),
    "get_property": (
        f"_Z14JS_GetProperty{_CX}{_PUBLIC_OBJECT}PKcNS1_13MutableHandleINS1_5ValueEEE",
        _bool,
        (_pointer, _pointer, ctypes.c_char_p, _pointer),
    ),
    "define_property": (
        f"_Z17JS_DefineProperty{_CX}{_PUBLIC_OBJECT}PKcNS2_INS1_5ValueEEEj",
        _bool,
        (_pointer, _pointer, ctypes.c_char_p, _pointer, ctypes.c_uint),
    ),
    "call": (
        f"_ZN2JS4CallE{_CX}{_VALUE}S4_RKNS_16HandleValueArrayENS_13MutableHandleIS3_EE",
        _bool,
        (_pointer, _pointer, _pointer, _pointer, _pointer),
    ),
    "exception_pending": (f"_Z21JS_IsExceptionPending{_CX}", _bool, (_pointer,)),
    "get_exception": (
        f"_Z22JS_GetPendingException{_CX}N2JS13MutableHandleINS1_5ValueEEE",
        _bool,
        (_pointer, _pointer),
    ),
    "clear_exception": (f"_Z24JS_ClearPendingException{_CX}", None, (_pointer,)),
    "report_error": (f"_Z18JS_ReportErrorUTF8{_CX}PKcz", None, (_pointer, ctypes.c_char_p)),
    "init_options": (f"_ZN2JS14CompileOptionsC1E{_CX}", None, (_pointer, _pointer)),
    "compile_module": (
        f"_ZN2JS13CompileModuleE{_CX}{_UTF8_SOURCE}",
        _pointer,
        (_pointer, _pointer, _pointer),
    ),
    "module_link": (f"_ZN2JS10ModuleLinkE{_CX}{_OBJECT}", _bool, (_pointer, _pointer)),
    "module_evaluate": (
        f"_ZN2JS14ModuleEvaluateE{_CX}{_OBJECT}{_OUT}",
        _bool,
        (_pointer, _pointer, _pointer),
    ),
    "request_specifier": (
        f"_ZN2JS25GetModuleRequestSpecifierE{_CX}{_OBJECT}",
        _pointer,
        (_pointer, _pointer),
    ),
    "is_promise": (f"_ZN2JS15IsPromiseObjectE{_OBJECT}", _bool, (_pointer,)),
    "promise_state": (f"_ZN2JS15GetPromiseStateE{_OBJECT}", ctypes.c_int, (_pointer,)),
    "promise_result": (f"_ZN2JS16GetPromiseResultE{_OBJECT}", ctypes.c_uint64, (_pointer,)),
    "reject_promise": (
        f"_ZN2JS13RejectPromiseE{_CX}{_OBJECT}NS2_INS_5ValueEEE",
        _bool,
        (_pointer, _pointer, _pointer),
    ),
    "set_resolve_hook": (
        "_ZN2JS20SetModuleResolveHookEP9JSRuntimePFP8JSObjectP9JSContextNS_6HandleINS_5ValueEEENS6_IS3_EEE",
        None,
        (_pointer, _pointer),
    ),
    "set_dynamic_import_hook": (
        "_ZN2JS26SetModuleDynamicImportHookEP9JSRuntimePFbP9JSContextNS_6HandleINS_5ValueEEENS4_IP8JSObjectEES9_E",
        None,
        (_pointer, _pointer),
    ),
    "set_metadata_hook": (
        "_ZN2JS21SetModuleMetadataHookEP9JSRuntimePFbP9JSContextNS_6HandleINS_5ValueEEENS4_IP8JSObjectEEE",
        None,
        (_pointer, _pointer),
    ),
    "set_rejection_tracker": (
        f"_ZN2JS34SetPromiseRejectionTrackerCallbackE{_CX}PFvS1_b{_OBJECT}NS_29PromiseRejectionHandlingStateEPvES7_",
        None,
        (_pointer, _pointer, _pointer),
    ),
    "run_jobs": (f"_ZN2js7RunJobsE{_CX}", None, (_pointer,)),
}

_RESOLVE_HOOK = ctypes.PYFUNCTYPE(_pointer, _pointer, _pointer, _pointer)
_IMPORT_HOOK = ctypes.PYFUNCTYPE(_bool, _pointer, _pointer, _pointer, _pointer)
_METADATA_HOOK = ctypes.PYFUNCTYPE(_bool, _pointer, _pointer, _pointer)


class ObjectRoot(ctypes.Structure):
    """`JS::PersistentRooted<JSObject*>`: an element of a linked list, then the pointer."""

    _fields_ = (
        ("next", ctypes.c_uint64),
        ("previous", ctypes.c_uint64),
        ("is_sentinel", ctypes.c_uint64),
        ("object", ctypes.c_uint64),
    )


class _Text(ctypes.Structure):
    """`JS::SourceText<Utf8Unit>` over our memory."""

    _fields_ = (("units", ctypes.c_char_p), ("length", ctypes.c_uint32), ("owns", _bool))


class _Characters(ctypes.Structure):
    """`JS::UTF8Chars`: two pointers."""

    _fields_ = (("start", _pointer), ("end", _pointer))


class _Arguments(ctypes.Structure):
    """`JS::HandleValueArray`."""

    _fields_ = (("length", ctypes.c_size_t), ("values", _pointer))


class MissingSymbol(LookupError):
    """The library does not export a required function."""


class Interface:
    """The functions above, bound to one context. Roots last as long as the process.

    Functions that return False have left an exception pending, or the called JavaScript function threw.
    """

    def __init__(self, library: ctypes.PyDLL, context: int) -> None:
        self._cx = context
        self._keep: list[object] = []
        self._raw: dict[str, Callable[..., Any]] = {}
        for name, (symbol, result, arguments) in _FUNCTIONS.items():
            try:
                function = library[symbol]
            except AttributeError as error:
                raise MissingSymbol(f"the engine's library does not export {symbol}") from error
            function.restype, function.argtypes = result, arguments
            self._raw[name] = function
        self._values = (ctypes.c_uint64 * 32)(*[UNDEFINED] * 32)
        self._used = 0
        self._base = ctypes.addressof(self._values)
        self._undefined = self.value_root()
        self._result = self.value_root()
        self._argument = self.value_root()
        self._exception = self.value_root()
        self.unresolved: int = self.value_root()
        self._arguments = _Arguments(1, self._argument)
        self._global = self.object_root()
        self._global.object = self._raw["current_global"](context)
        self._call = self._raw["call"]
        self._new_string = self._raw["new_string"]
        self._promise_state = self._raw["promise_state"]
        self._run_jobs = self._raw["run_jobs"]

    # Roots: pointers that the garbage collector follows, and updates when it moves objects.

    def value_root(self) -> int:
        """Return the address of a new rooted `JS::Value`, which is undefined."""
        address = self._base + 8 * self._used
        self._used += 1
        if self._used > len(self._values) or not self._raw["add_value_root"](self._cx, address, b"codemode"):
            raise MemoryError("no room for another root")
        return address

    def object_root(self) -> ObjectRoot:
        """Return a new rooted `JSObject*`, which is null; a handle to it is the address of its `object`."""
        root = ObjectRoot()
        root.next = root.previous = ctypes.addressof(root)
        self._keep.append(root)
        self._raw["add_object_root"](self._cx, _ROOT_KIND_OBJECT, ctypes.addressof(root))
        return root

    # Values

    def set_property(self, name: str, address: int) -> None:
        """Define an ordinary property of the global object from the value at `address`."""
        if not self._raw["define_property"](self._cx, _handle(self._global), name.encode(), address, 0):
            raise MemoryError(f"cannot define {name}")

    def take(self, name: str, holder: ObjectRoot | None = None) -> int:
        """Return the address of a new root for the value of a property of `holder`, by default the global object."""
        address = self.value_root()
        if not self._raw["get_property"](self._cx, _handle(holder or self._global), name.encode(), address):
            raise MemoryError(f"cannot read {name}")
        return address

    def take_object(self, name: str) -> ObjectRoot:
        """Return a new root for the object in a property of the global object."""
        value = ctypes.c_uint64.from_address(self.take(name)).value
        if value & ~_PAYLOAD != _TAG_OBJECT:
            raise TypeError(f"{name} is no object")
        root = self.object_root()
        root.object = value & _PAYLOAD
        return root

    def string(self, text: str) -> int:
        """Return the address of a new root for a string."""
        address = self.value_root()
        made = self._make_string(text.encode())
        if not made:
            raise MemoryError("cannot make a string")
        ctypes.c_uint64.from_address(address).value = _TAG_STRING | made
        return address

    def array_buffer(self, memory: memoryview) -> int:
        """Return the address of a rooted ArrayBuffer over `memory`, which the engine neither copies nor frees."""
        pinned = (ctypes.c_char * len(memory)).from_buffer(memory)
        self._keep.append(pinned)
        made = self._raw["new_array_buffer"](self._cx, len(memory), ctypes.addressof(pinned))
        if not made:
            raise MemoryError("cannot make an ArrayBuffer")
        address = self.value_root()
        ctypes.c_uint64.from_address(address).value = _TAG_OBJECT | made
        return address

    def _make_string(self, text: bytes) -> int | None:
        start = ctypes.cast(ctypes.c_char_p(text), _pointer).value or 0
        made: int | None = self._new_string(self._cx, ctypes.byref(_Characters(start, start + len(text))))
        return made

    def call(self, function: int, text: bytes) -> bool:
        """Call the function rooted at `function` with one string, given in UTF-8."""
        made = self._make_string(text)
        if not made:
            return False
        self._values[2] = _TAG_STRING | made
        done = self._call(self._cx, self._undefined, function, ctypes.byref(self._arguments), self._result)
        self._values[2] = self._values[1] = UNDEFINED
        return bool(done)

    def call_with(self, function: int, value: int) -> bool:
        """Call the function rooted at `function` with the value rooted at `value`."""
        arguments = _Arguments(1, value)
        done = self._call(self._cx, self._undefined, function, ctypes.byref(arguments), self._result)
        self._values[1] = UNDEFINED
        return bool(done)

    def call_number(self, function: int, number: int) -> bool:
        """Call the function rooted at `function` with an integer from 0 to 2**31 - 1."""
        self._values[2] = _TAG_INT32 | number
        done = self._call(self._cx, self._undefined, function, ctypes.byref(self._arguments), self._result)
        self._values[1] = UNDEFINED
        return bool(done)

    def take_exception(self) -> int | None:
        """Clear the pending exception and return the address of its root; None if the engine ran out of memory."""
        if not self._raw["exception_pending"](self._cx):
            return None
        taken = self._raw["get_exception"](self._cx, self._exception)
        self._raw["clear_exception"](self._cx)
        return self._exception if taken else None

    def clear_rejection_tracker(self) -> None:
        """Remove PythonMonkey's handler of unhandled rejections."""
        self._raw["set_rejection_tracker"](self._cx, None, None)

    def run_jobs(self) -> None:
        """Run the jobs of the engine's own queue until it is empty."""
        self._run_jobs(self._cx)

    def collect(self) -> None:
        """Run a full garbage collection, which moves young objects."""
        self._raw["collect"](self._cx, _GC_REASON_API)

    def new_object_root(self) -> ObjectRoot:
        """Return a root for a new, young plain object. For checks."""
        root = self.object_root()
        root.object = self._raw["new_plain_object"](self._cx)
        return root

    # Modules

    def compile_options(self, filename: str) -> object:
        """Return options for a source named `filename`, whose lines and columns count from 1."""
        name = ctypes.create_string_buffer(filename.encode())
        options = (ctypes.c_uint64 * 128)()  # several times the size of JS::CompileOptions
        self._raw["init_options"](options, self._cx)
        options[0] = ctypes.addressof(name)  # JS::CompileOptions begins with the pointer to the file name
        self._keep += (name, options)
        return options

    def compile_module(self, options: object, source: bytes, module: ObjectRoot) -> bool:
        """Compile UTF-8 `source` into `module`."""
        made = self._raw["compile_module"](self._cx, options, ctypes.byref(_Text(source, len(source))))
        module.object = made or 0
        return bool(made)

    def link(self, module: ObjectRoot) -> bool:
        """Resolve the imports."""
        return bool(self._raw["module_link"](self._cx, _handle(module)))

    def evaluate(self, module: ObjectRoot, promise: ObjectRoot) -> bool:
        """Run the module up to its first await, and store its promise in `promise`."""
        done = self._raw["module_evaluate"](self._cx, _handle(module), self._result)
        value, self._values[1] = self._values[1], UNDEFINED
        if done and value & ~_PAYLOAD == _TAG_OBJECT:
            promise.object = value & _PAYLOAD
        return bool(done and promise.object and self._raw["is_promise"](_handle(promise)))

    def promise_state(self, promise: ObjectRoot) -> int:
        """Return PENDING, FULFILLED or REJECTED. JavaScript cannot observe or change this."""
        return int(self._promise_state(_handle(promise)))

    def promise_result(self, promise: ObjectRoot) -> int:
        """Return the address of a root for the reason of a rejected promise."""
        ctypes.c_uint64.from_address(self._exception).value = self._raw["promise_result"](_handle(promise))
        return self._exception

    def set_module_hooks(self, resolve: Callable[[Callable[[str], bool]], ObjectRoot | None], refusal: int) -> None:
        """Set how imports are resolved. `import.meta` is an empty object.

        Args:
            resolve: Gets a function that compares the specifier with an ASCII string; returns the module, or None to
                fail: then the root at `unresolved` holds the specifier. It must not raise.
            refusal: The root of the value with which dynamic imports are rejected.
        """
        equal = _bool()

        def on_resolve(cx: int, _private: int, request: int) -> int | None:
            specifier = self._raw["request_specifier"](cx, request)

            def is_named(name: str) -> bool:
                return bool(
                    self._raw["string_equals"](cx, specifier, name.encode(), ctypes.byref(equal)) and equal.value
                )

            module = resolve(is_named)
            if module is not None:
                return int(module.object)
            if not self._raw["exception_pending"](cx):
                ctypes.c_uint64.from_address(self.unresolved).value = _TAG_STRING | specifier
                self._raw["report_error"](cx, b"unresolved import")
            return None

        def on_import(cx: int, _private: int, _request: int, promise: int) -> bool:
            return bool(self._raw["reject_promise"](cx, promise, refusal))

        def on_metadata(_cx: int, _private: int, _meta: int) -> bool:
            return True

        hooks = _RESOLVE_HOOK(on_resolve), _IMPORT_HOOK(on_import), _METADATA_HOOK(on_metadata)
        self._keep.append(hooks)
        runtime = self._raw["get_runtime"](self._cx)
        self._raw["set_resolve_hook"](runtime, ctypes.cast(hooks[0], _pointer))
        self._raw["set_dynamic_import_hook"](runtime, ctypes.cast(hooks[1], _pointer))
        self._raw["set_metadata_hook"](runtime, ctypes.cast(hooks[2], _pointer))


def _handle(root: ObjectRoot) -> int:
    return ctypes.addressof(root) + ObjectRoot.object.offset
