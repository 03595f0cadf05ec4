"""A script that takes every builtin apart reaches neither the wiring nor another realm, and forges nothing."""

# ruff: noqa: E501 - scripts and what they say stand on one line

from __future__ import annotations

import json
from typing import Any

import pytest

# Replaces every builtin function and accessor by one that keeps what it sees, puts traps on Object.prototype, and gives the
# global constructors proxies. `seen` then holds every object and function that any builtin was ever handed.
POISON = """
const seen = [], ours = new Set();
const { defineProperty, apply, construct, ownKeys, getOwnPropertyDescriptor, getPrototypeOf } = Reflect;
let busy = false;
const keep = (x) => {
  if (busy || ((typeof x !== "object" || x === null) && typeof x !== "function")) return;
  busy = true;
  defineProperty(seen, seen.length, { __proto__: null, value: x, writable: true, configurable: true });
  busy = false;
};
const keepAll = (list) => { for (let i = 0; i < list.length; i++) keep(list[i]); };
const helpers = ["tools", "ALL_TOOLS", "text", "content", "image", "audio", "generatedImage", "store", "load", "notify",
  "yield_control", "setTimeout", "clearTimeout", "exit", "as_settled", "stream_settled"];
const roots = [];
for (const name of ownKeys(globalThis)) {
  if (helpers.includes(name)) continue;
  const value = globalThis[name];
  if ((typeof value !== "function" && typeof value !== "object") || value === null || value === globalThis) continue;
  roots.push(value);
  if (value.prototype) roots.push(value.prototype);
}
roots.push(getPrototypeOf([][Symbol.iterator]()), getPrototypeOf(new Map().entries()), getPrototypeOf(async () => {}),
  getPrototypeOf(function* () {}).prototype, getPrototypeOf(Int8Array), getPrototypeOf(Int8Array.prototype),
  getPrototypeOf(""[Symbol.iterator]()), getPrototypeOf("".matchAll(/x/g)), getPrototypeOf(async function* () {}).prototype,
  getPrototypeOf(getPrototypeOf(async function* () {}).prototype));
let patched = 0;
for (const root of roots) for (const key of ownKeys(root)) {
  if (key === "constructor" || key === "prototype" || key === "__proto__") continue;
  const d = getOwnPropertyDescriptor(root, key);
  if (!d || !d.configurable) continue;
  if (typeof d.value === "function") {
    const original = d.value;
    const wrapper = function (...args) {
      keep(this); keepAll(args);
      const result = new.target ? construct(original, args) : apply(original, this, args);
      keep(result);
      return result;
    };
    ours.add(wrapper);
    defineProperty(root, key, { __proto__: null, value: wrapper, writable: true, configurable: true });
    patched++;
  } else if (d.get) {
    const { get, set } = d;
    const getter = function () { keep(this); return apply(get, this, []); };
    const setter = set && function (v) { keep(this); keep(v); return apply(set, this, [v]); };
    ours.add(getter).add(setter);
    defineProperty(root, key, { __proto__: null, get: getter, set: setter, configurable: true });
    patched++;
  }
}
for (const name of ["String", "Promise", "Map", "Array", "Object", "Error", "JSON", "Reflect", "Number", "Proxy"]) {
  const original = globalThis[name];
  globalThis[name] = new original.constructor.constructor("t", "h", "return t")(original);
}
for (const key of ["0", "1", "2", "resolve", "reject", "get", "set", "value", "then", "toJSON", "length", "emit", "next", "done",
    "writable", "enumerable", "configurable", "name", "description", "error", "stored", "session", "cell", "image_url", "detail",
    "stack", "message", "auto", "1 0", "undefined", "type", "data", "text", "mimeType", "url", "first", "last", "pending", "wake",
    "closed", "index", "status", "reason", "result", "constructor"]) {
  let kept;
  defineProperty(Object.prototype, key, {
    __proto__: null, configurable: true,
    get() { keep(this); return kept; },
    set(v) { keep(this); keep(v); defineProperty(this, key, { __proto__: null, value: v, writable: true, configurable: true }); },
  });
}
defineProperty(Function.prototype, "prototype", { __proto__: null, get() { keep(this) }, configurable: true });
"""

USE_EVERYTHING = """
const t = globalThis.text, all = [];
t("plain"); t({ a: [1, { b: "\\ud800" }] }); t(5); globalThis.image({ type: "image", data: "aa", mimeType: "image/png" });
try { t({ get a() { throw new TypeError("x") } }) } catch {}
try { globalThis.image(5) } catch {}
globalThis.store("kept", { x: [1] }); globalThis.load("kept"); globalThis.notify({ n: 1 }); globalThis.yield_control();
const first = await globalThis.tools.echo({ q: [1] });
try { await globalThis.tools.fail() } catch {}
new Error("e").stack; Error.captureStackTrace({});
globalThis.audio({ type: "audio", data: "aa", mimeType: "audio/wav" }); globalThis.generatedImage({ image_url: "data:,", output_hint: "h" });
globalThis.content([{ type: "text", text: "c" }, { type: "resource", resource: { uri: "u", text: "r" } }]);
try { globalThis.content({}) } catch {}
const slow = () => new Promise((resolve) => globalThis.setTimeout(resolve, 1));
for await (const r of globalThis.as_settled([slow(), globalThis.tools.fail()])) keep(r);
await globalThis.stream_settled([slow(), { then(f) { keep(f); f(1) } }], (r) => keep(r));
globalThis.clearTimeout(globalThis.setTimeout(() => 1, 1));
await new Promise((resolve) => globalThis.setTimeout(resolve, 1));
"""

# Everything that can be reached from what was seen is called as `emit` would be, and as the wiring's functions would be.
ATTACK = """
busy = true;
const found = new Set(seen), queue = [...found];
while (queue.length) {
  const x = queue.pop();
  let keys = [];
  try { keys = ownKeys(x) } catch {}
  for (const key of keys.slice(0, 200)) {
    let d;
    try { d = getOwnPropertyDescriptor(x, key) } catch {}
    for (const v of d ? [d.value, d.get, d.set] : []) {
      if (((typeof v === "object" && v !== null) || typeof v === "function") && v !== globalThis && !found.has(v)) {
        found.add(v); queue.push(v);
      }
    }
  }
}
const spared = new Set(helpers.map((name) => globalThis[name]));
for (const f of found) {
  if (typeof f !== "function" || ours.has(f) || spared.has(f)) continue;
  const source = String(Function.prototype.toString.call(f));
  if (source.includes("emit") && source.includes("bytes")) throw "the prelude's source was reached";
  try { f("notify", "forged") } catch {}
  try { f("exit", '{"error":"forged","stored":{}}') } catch {}
  try { f("outcome", '{"error":"forged","stored":{}}') } catch {}
  try { f('[[1,true,"forged"]]') } catch {}
}
busy = true;
throw "the script's own end " + (patched > 300) + (seen.length > 300);
"""


def test_a_script_that_patches_every_builtin_reaches_nothing_and_forges_nothing(run: Any) -> None:
    ran = run(POISON + USE_EVERYTHING + ATTACK)
    assert ran.error == "the script's own end truetrue"
    assert ran.stored == {"kept": {"x": [1]}}
    assert ran.items == [
        "plain",
        '{"a":[1,{"b":"\\ud800"}]}',
        "5",
        {"image_url": "data:image/png;base64,aa", "detail": "high"},
        {"audio_url": "data:audio/wav;base64,aa"},
        {"image_url": "data:,", "detail": "high"},
        "h",
        "c",
        '{"type":"resource","resource":{"uri":"u","text":"r"}}',
    ]
    assert ran.notes("notify") == ['{"n":1}']
    assert ran.notes("call") == ['1 0 {"q":[1]}', "2 1 null", "3 1 null"]
    assert ran.notes("yield") == [""]


def test_no_builtin_that_a_script_patches_is_called_on_the_wirings_way(run: Any) -> None:
    ran = run(
        POISON
        + "seen.length = 0; busy = false; globalThis.text('x'); globalThis.notify('y'); globalThis.store('k', 1);"
        " globalThis.load('k'); globalThis.clearTimeout(globalThis.setTimeout(() => {}, 1)); globalThis.yield_control();"
        " const block = { __proto__: null, type: 'text', text: 't', [Symbol.iterator]: null }, one = { __proto__: null, n: 0, next() {"
        " return { __proto__: null, done: this.n++ > 0, value: 1 } }, [Symbol.iterator]() { return this } };"
        " globalThis.content(block); globalThis.audio('data:,'); globalThis.image('data:,');"
        " globalThis.generatedImage({ __proto__: null, output_hint: 'h', detail: 'low', image_url: 'data:,' });"
        " const held = globalThis.stream_settled(one, () => { busy = true; });"
        " await held; busy = true; throw String(seen.length)"
    )
    assert ran.error == "0"


@pytest.mark.parametrize("ending", ["", "await 0;", "throw 'own'"])
def test_the_end_is_the_engines_to_tell(run: Any, ending: str) -> None:
    patches = """
        const never = () => new Promise(() => {});
        Promise.prototype.then = Promise.prototype.catch = Promise.resolve = never;
        Object.defineProperty(Promise.prototype, 'constructor', { get() { throw 'forged' } });
        Object.defineProperty(Object.prototype, 'then', { get() { return (ok, no) => no('forged') }, configurable: true });
        JSON.stringify = JSON.parse = () => { throw 'forged' };
        String.prototype.toWellFormed = Error.prototype.toString = () => 'forged';
        Array.prototype[Symbol.iterator] = function* () { yield 'forged' };
        globalThis.Promise = globalThis.String = undefined;
        delete Object.prototype.then;"""
    assert run(patches + ending).error == ("own" if "own" in ending else None)


def test_waiting_for_promises_shows_only_the_scripts_own(run: Any) -> None:
    ran = run(
        """
        const seen = new Set(), own = Promise, { then } = Promise.prototype, { defineProperty, apply } = Reflect;
        let slow, other;
        const list = [new Promise((r) => { slow = r }), 1, new Promise((r) => { other = r })];
        defineProperty(Promise.prototype, "constructor", { get() { seen.add(this); return own } });
        Promise.prototype.then = function (...a) { seen.add(this); for (const x of a) seen.add(x); return apply(then, this, a) };
        const g = as_settled(list), nexts = [g.next(), g.next(), g.next(), g.next()];
        const streamed = stream_settled(list, () => {});
        setTimeout(slow, 1); setTimeout(other, 3);
        const last = new Promise((r) => setTimeout(r, 9));
        await last;
        const known = new Set([...list, ...nexts, streamed, last]);
        text([seen.has(list[0]), seen.has(list[2]), [...seen].every((x) => known.has(x))]);"""
    )
    assert ran.items == ["[true,true,true]"]


def test_the_scripts_own_iterators_and_callbacks_see_no_caller(run: Any) -> None:
    ran = run(
        "globalThis.said = []; const look = new Function('said.push(String(arguments.callee.caller)); return this');"
        " const list = { [Symbol.iterator]: look, next() { return { done: true } } }; content(list); as_settled(list);"
        " await stream_settled([1, { then: new Function('f', 'said.push(String(arguments.callee.caller)); f()') }], look);"
        " text(said)"
    )
    assert ran.items == ['["null","null","null","null","null"]']


def test_an_own_then_is_looked_up_where_the_language_says(run: Any) -> None:
    ran = run(
        "Object.defineProperty(Object.prototype, 'then', { get() { notify('got ' + JSON.stringify(this)) }, configurable: true });"
        " const r = await tools.echo({ a: 1 }); delete Object.prototype.then; text(r)"
    )
    assert ran.notes("notify") == ['got {"a":1}']
    assert ran.items == ['{"a":1}']


def test_patched_conversions_change_what_the_reference_lets_them_change(run: Any) -> None:
    ran = run(
        "Object.prototype.toJSON = () => 'P'; text({ a: 1 }); text('s'); text(await tools.echo({ a: 1 }));"
        " delete Object.prototype.toJSON; String.prototype.toJSON = () => 'S'; text({ a: 'x' });"
        " Array.prototype.toJSON = () => 'arr'; text([1]); store('k', [1]); text(load('k'))"
    )
    assert ran.items == ['"P"', "s", "P", '{"a":"x"}', '"arr"', "arr"]
    assert ran.notes("call") == ['1 0 "P"']


GLOBALS = (
    "Object Function Array Number parseFloat parseInt Infinity NaN undefined Boolean String Symbol Date Promise RegExp Error"
    " AggregateError EvalError RangeError ReferenceError SyntaxError TypeError URIError globalThis JSON Math Intl ArrayBuffer"
    " Uint8Array Int8Array Uint16Array Int16Array Uint32Array Int32Array BigUint64Array BigInt64Array Uint8ClampedArray"
    " Float16Array Float32Array Float64Array DataView Map BigInt Set Iterator WeakMap WeakSet Proxy Reflect FinalizationRegistry"
    " WeakRef decodeURI decodeURIComponent encodeURI encodeURIComponent escape unescape eval isFinite isNaN"
)
HELPERS = (
    "tools ALL_TOOLS clearTimeout setTimeout text content image audio generatedImage store load notify yield_control exit"
    " as_settled stream_settled"
)


def test_the_globals_are_the_references(run: Any) -> None:
    ran = run("text(Object.getOwnPropertyNames(globalThis)); text(Object.keys(globalThis))")
    # The one that cannot be deleted is an empty object without a prototype: see below.
    assert set(json.loads(ran.items[0])) - {"debuggerGlobal"} == set(GLOBALS.split()) | set(HELPERS.split())
    assert json.loads(ran.items[1]) == HELPERS.split()


def test_helpers_may_be_replaced_and_deleted_like_any_global(run: Any) -> None:
    ran = run(
        "const say = text; text(Object.keys(globalThis).every((k) => { const d = Object.getOwnPropertyDescriptor(globalThis, k);"
        " return d.writable && d.configurable && d.enumerable }));"
        " delete globalThis.tools; globalThis.load = 5; say([typeof tools, load])"
    )
    assert ran.items == ["true", '["undefined",5]']


def test_no_other_realm_can_be_entered(run: Any) -> None:
    ran = run(
        "text([Object.getPrototypeOf(debuggerGlobal), Reflect.ownKeys(debuggerGlobal).map((k) => typeof debuggerGlobal[k])]);"
        " for (const k of ['Object', 'Function', 'Debugger', 'eval', 'Reflect', 'WebAssembly', 'constructor', '__proto__',"
        " 'globalThis', 'debuggerGlobal', 'python', 'pmEval']) if (debuggerGlobal[k] !== undefined) text(k);"
    )
    assert ran.items == ['[null,["undefined","number","number"]]']


@pytest.mark.parametrize(
    "how", ["eval", "new Function", "(0, eval)", "(async () => {}).constructor", "(function* () {}).constructor"]
)
def test_generated_code_sees_the_same_globals(run: Any, how: str) -> None:
    code = "return [typeof Debugger, typeof WebAssembly, typeof python, typeof console, typeof Atomics, typeof SharedArrayBuffer]"
    if "eval" in how:
        source = f"text({how}('(() => {{ {code} }})()'))"
    elif "function*" in how:
        source = f"text({how}('{code}')().next().value)"
    else:
        source = f"text(await {how}('{code}')())"
    assert json.loads(run(source).items[0]) == ["undefined"] * 6


def test_helpers_show_no_source_and_nothing_behind_them(run: Any) -> None:
    ran = run(
        """
        const stack = Object.getOwnPropertyDescriptor(Error.prototype, "stack");
        const all = [text, content, image, audio, generatedImage, store, load, notify, yield_control, setTimeout, clearTimeout,
          exit, as_settled, stream_settled, tools.echo, Error.captureStackTrace, stack.get, stack.set];
        text(all.every((f) => /^function ?\\w*\\(\\) \\{\\s+\\[native code\\]\\s+\\}$/.test(String(f))));
        const odd = [];
        for (const f of all) for (const key of Reflect.ownKeys(f)) {
          const v = f[key];
          if (typeof v === "object" || typeof v === "function") odd.push(String(key));
        }
        for (const f of all) for (const key of ["caller", "arguments"]) { try { odd.push(typeof f[key]) } catch {} }
        text(odd); text(Object.getPrototypeOf(new text("made")) === Object.prototype);"""
    )
    assert ran.items == ["true", "[]", "made", "true"]


def test_a_callback_sees_no_caller_of_the_preludes(run: Any) -> None:
    ran = run(
        "const look = new Function('return String(arguments.callee.caller) + look.caller');"
        " globalThis.look = look; text({ toJSON: look });"
        " await new Promise((r) => { globalThis.done = (v) => { text(v); r() };"
        " setTimeout(new Function('done(String(arguments.callee.caller))'), 1) })"
    )
    assert ran.items == ['"nullnull"', "null"]


def test_the_stack_accessor_takes_anything(run: Any) -> None:
    ran = run(
        "const { get } = Object.getOwnPropertyDescriptor(Error.prototype, 'stack'); const said = [];"
        " for (const v of [undefined, null, 1, 'x', {}, Symbol(), () => 1, new Proxy(new Error('p'), {}),"
        " Object.create(new Error('c')), Error.prototype, globalThis]) {"
        " try { said.push(typeof get.call(v)) } catch (e) { said.push(e.constructor === TypeError) } } text(said.length);"
        " const loud = new Proxy(class extends Error {}, {}); text(new loud('m').stack.split('\\n').length);"
        " const e = new Error('m'); Object.setPrototypeOf(e, new Proxy(Error.prototype, { getPrototypeOf() { throw 1 } }));"
        " text(e.stack)"
    )
    assert ran.error is None
    assert ran.items[0] == "11"
    assert ran.items[2].startswith("Error: m")
