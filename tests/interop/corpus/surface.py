"""Which globals there are, and what they look like from the outside."""

# ruff: noqa: E501 (a script, or the steps of a conversation, read best in one line)

from __future__ import annotations

from tests.interop.differential.cases import Tool, cell

ABSENT = (
    "console", "WebAssembly", "Atomics", "SharedArrayBuffer", "fetch", "setInterval", "queueMicrotask", "structuredClone", "URL",
    "TextEncoder", "TextDecoder", "atob", "crypto", "performance", "require", "module", "process", "Buffer", "global", "window", "self",
    "document", "navigator", "Deno", "Bun", "setImmediate", "clearInterval", "AbortController", "Event", "Worker", "python", "pmEval",
    "debuggerGlobal", "Debugger", "uneval", "gc", "print", "quit", "dump", "version", "InternalError", "ShadowRealm", "Temporal",
)  # fmt: skip

LANGUAGE = (
    "Object", "Function", "Array", "Number", "Boolean", "String", "Symbol", "BigInt", "Date", "Promise", "RegExp", "Error", "AggregateError",
    "EvalError", "RangeError", "ReferenceError", "SyntaxError", "TypeError", "URIError", "JSON", "Math", "Intl", "ArrayBuffer", "Uint8Array",
    "Int8Array", "Uint16Array", "Int16Array", "Uint32Array", "Int32Array", "Float16Array", "Float32Array", "Float64Array", "Uint8ClampedArray",
    "BigUint64Array", "BigInt64Array", "DataView", "Map", "Set", "WeakMap", "WeakSet", "WeakRef", "Proxy", "Reflect", "Iterator",
    "decodeURI", "decodeURIComponent", "encodeURI", "encodeURIComponent", "escape", "unescape", "eval", "isFinite", "isNaN", "parseFloat",
    "parseInt", "globalThis",
)  # fmt: skip

HELPERS = (
    "text",
    "image",
    "store",
    "load",
    "notify",
    "yield_control",
    "setTimeout",
    "clearTimeout",
    "exit",
    "tools",
    "ALL_TOOLS",
)
EXTRAS = ("content", "audio", "generatedImage", "as_settled", "stream_settled")

CASES = (
    *(cell(f"absent-{name}", f"text([typeof {name}, '{name}' in globalThis])") for name in ABSENT),
    cell("language", "text([" + ", ".join(f"typeof {name}" for name in LANGUAGE) + "])"),
    cell(
        "newest-language",
        "text([typeof FinalizationRegistry, typeof DisposableStack, typeof AsyncDisposableStack, typeof SuppressedError])",
    ),
    cell("global-names", "text(Object.getOwnPropertyNames(globalThis).sort())"),
    cell("global-symbols", "text(Object.getOwnPropertySymbols(globalThis).length)"),
    cell("enumerable-globals", "text(Object.keys(globalThis))"),
    cell(
        "global-object",
        "text([Object.prototype.toString.call(globalThis), Object.getPrototypeOf(globalThis) === Object.prototype])",
    ),
    *(
        cell(
            f"helper-{name}",
            f"const d = Object.getOwnPropertyDescriptor(globalThis, '{name}'); text([typeof {name}, d.writable, d.enumerable, d.configurable])",
        )
        for name in (*HELPERS, *EXTRAS)
    ),
    *(
        cell(
            f"function-{name}",
            f"text([{name}.name, {name}.length, 'prototype' in {name}, Object.getPrototypeOf({name}) === Function.prototype])",
        )
        for name in HELPERS[:9]
    ),
    cell(
        "helpers-show-no-source",
        "text([text, image, store, load, notify, exit, setTimeout].every(f => Function.prototype.toString.call(f).includes('[native code]')))",
    ),
    cell("tool-shows-no-source", "text(String(tools.t).includes('[native code]'))", tools=(Tool("t"),)),
    cell("no-caller", "text((() => { try { return String(text.caller); } catch (e) { return e.name; } })())"),
    cell("error-statics", "text(Object.getOwnPropertyNames(Error).includes('captureStackTrace'))"),
    cell(
        "error-own-names",
        "try { null.x; } catch (e) { text([Object.hasOwn(e, 'message'), Object.hasOwn(e, 'stack'), Object.keys(e)]); }",
    ),
    cell("stack-is-a-string", "text(typeof new Error('x').stack)"),
    cell(
        "function-constructor-reaches-nothing",
        "text(new Function('return typeof process + typeof require + typeof python')())",
    ),
    cell(
        "patched-helpers-path",
        "Array.prototype.push = String.prototype.split = Map.prototype.set = null; Object.prototype.__defineGetter__ = null; text({a: [1]}); store('k', [1]); text(load('k'))",
    ),
    cell(
        "patched-symbol-iterator",
        "delete Array.prototype[Symbol.iterator]; text([1, 2]); store('k', [1]); text(load('k'))",
    ),
    cell(
        "setters-on-object-prototype",
        "for (const k of ['name', 'type', 'text', 'id', 'then', 'value', 'detail', '0']) Object.defineProperty(Object.prototype, k, {set() { globalThis.seen = k; }, get() { return undefined; }, configurable: true}); text('a'); image('data:,'); store('k', 1); notify('n'); text(String(globalThis.seen))",
    ),
    cell("text-of-globals", "text(globalThis.globalThis === globalThis)"),
)
